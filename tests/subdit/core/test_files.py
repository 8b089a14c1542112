"""Files that are written whole or not at all: what is told where they cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from subdit.core.errors import RunError
from subdit.core.errors import reason
from subdit.core.files import read_json
from subdit.core.files import replacing
from subdit.core.files import write_atomic

ROOT = Path(__file__).parents[3]

FULL = """
import resource, sys
from pathlib import Path
from subdit.core.files import replacing, write_atomic
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for write in (lambda: write_atomic(path, b"x" * 10_000), lambda: parts()):
    def parts():
        with replacing(path) as temporary, temporary.open("wb") as file:
            for _ in range(10_000):
                file.write(b"x")
    try:
        write()
    except OSError as error:
        print("TOLD", error.filename, error.strerror)
"""


def test_a_disk_that_is_full_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    """And the old content stays, without what was begun."""
    path = write_atomic(tmp_path / "it.json", "old")
    ran = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.splitlines() == [f"TOLD {path} File too large"] * 2, ran.stderr
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["it.json"]


def test_what_cannot_be_replaced_is_named_and_another_file_too(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomic(tmp_path / "folder", "x")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "folder"), None)
    with pytest.raises(FileNotFoundError) as missing, replacing(tmp_path / "it"):
        (tmp_path / "other").read_bytes()
    assert missing.value.filename == str(tmp_path / "other")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_json_that_is_nested_without_end_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match="The record at .* is damaged"):
        read_json(tmp_path / "it.json", "record")


def test_the_reason_of_an_error_is_a_part_of_a_sentence() -> None:
    assert reason(ValueError("one\n  two. ")) == "one two"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("word " * 1000))) <= 200
