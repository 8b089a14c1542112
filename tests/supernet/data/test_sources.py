"""Sources of captioned pictures: what each finds, that it finds it again from any place on, and which one a path is."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from subdit.core.errors import DataError
from supernet.data.sources import open_source
from tests.supernet.data.encoding_cases import ROOT
from tests.supernet.data.pictures import draw
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.source_cases import COUNT
from tests.supernet.data.source_cases import MAKERS
from tests.supernet.data.source_cases import captions
from tests.supernet.data.source_cases import picture
from tests.supernet.data.source_cases import with_tars


@pytest.mark.parametrize("make", MAKERS)
def test_every_picture_comes_with_its_own_caption(make: Callable[[Path], Path], tmp_path: Path) -> None:
    source = open_source(make(tmp_path / "source"))
    examples = list(source.examples())
    assert source.count() == len(examples) == COUNT
    for number, example in enumerate(examples):
        assert example.rejection is None
        assert example.read() == picture(number)
        assert example.size_bytes == len(picture(number))
        assert example.caption == draw(number)[1]
    assert len({example.id for example in examples}) == COUNT


@pytest.mark.parametrize("make", MAKERS)
def test_examples_go_on_from_any_place(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path / "source")
    whole = [(example.id, example.caption, example.columns) for example in open_source(path).examples()]
    for start in range(COUNT + 1):
        rest = [(example.id, example.caption, example.columns) for example in open_source(path).examples(start)]
        assert rest == whole[start:]


@pytest.mark.parametrize("make", MAKERS)
def test_a_source_that_lies_elsewhere_is_the_same(make: Callable[[Path], Path], tmp_path: Path) -> None:
    first, second = make(tmp_path / "one"), make(tmp_path / "another")
    assert captions(open_source(first)) == captions(open_source(second))


@pytest.mark.parametrize("make", MAKERS)
def test_the_fingerprint_tells_a_changed_file(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path / "source")
    before = open_source(path).fingerprint()
    assert open_source(path).fingerprint() == before
    file = next(file for file in sorted(path.rglob("*")) if file.is_file())
    file.write_bytes(file.read_bytes() + b" ")
    assert open_source(path).fingerprint() != before


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.tar", "b.parquet"), ("a.png", "deep/b.tar"), ("deep/a.JPG", "b.parquet"), ("a.png", "B.TAR")],
)
def test_a_folder_with_two_kinds_of_files_is_refused(first: str, second: str, tmp_path: Path) -> None:
    """Read as either, it would lose the other ones without a word."""
    (tmp_path / "deep").mkdir()
    (tmp_path / first).touch()
    (tmp_path / second).touch()
    with pytest.raises(DataError, match="name a folder with one of them") as caught:
        open_source(tmp_path)
    assert f"{first!r}" in str(caught.value) and f"{second!r}" in str(caught.value)


def test_what_stands_beside_shards_and_is_not_read_is_refused(tmp_path: Path) -> None:
    with_tars(tmp_path / "source")
    (tmp_path / "source" / "README.md").touch()
    hidden = tmp_path / "source" / ".cache"
    hidden.mkdir()
    (hidden / "a.png").touch()
    assert open_source(tmp_path / "source").count() == COUNT
    (tmp_path / "source" / "more.tar.gz").touch()
    with pytest.raises(DataError, match="holds 'more.tar.gz', which is not read"):
        open_source(tmp_path / "source")
    (tmp_path / "source" / "more.tar.gz").unlink()
    with_tars(tmp_path / "elsewhere")
    (tmp_path / "source" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(DataError, match="holds the linked folder 'more'"):
        open_source(tmp_path / "source")


def test_hidden_shards_do_not_make_a_folder_of_pictures_another_source(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.tar").touch()
    assert open_source(tmp_path).count() == 2


UNREADABLE = """
import os, sys
from pathlib import Path
from subdit.core.errors import DataError
from supernet.data.sources import open_source
if os.getuid() == 0:
    os.seteuid(65534)
try:
    print("FOUND", open_source(Path(sys.argv[1])).count())
except DataError as error:
    print("REFUSED", error)
"""


def test_a_folder_that_cannot_be_read_is_not_passed_over() -> None:
    # Not in `tmp_path`, to which others than its owner have no way.
    with tempfile.TemporaryDirectory() as folder:
        source = write_folder(Path(folder) / "source", 2)
        closed = write_folder(source / "closed", 2)
        Path(folder).chmod(0o755)
        closed.chmod(0)
        ran = subprocess.run([sys.executable, "-c", UNREADABLE, str(source)], capture_output=True, text=True, cwd=ROOT)
        closed.chmod(0o755)
    assert ran.stdout.startswith(f"REFUSED The folder {closed} cannot be read (Permission denied)"), ran.stderr
