"""The digest of weights that are too large to be read each time, and what carries a digest."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from subdit.core import weights
from subdit.core.errors import CheckpointError
from subdit.core.files import write_json
from subdit.core.origin import NO_PART
from subdit.core.origin import Freshness
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import set_aside
from subdit.core.run import Run
from subdit.core.weights import DIGEST_FILE
from subdit.core.weights import WEIGHTS
from subdit.core.weights import supernet_digest


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights, "KEPT_FROM_BYTES", 4)
    monkeypatch.setattr(weights, "_SETTLED_NS", -3_600_000_000_000)
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    return tmp_path


def plain(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:10]


def test_the_digest_of_large_weights_is_kept_and_is_that_of_their_bytes(large: Path) -> None:
    assert supernet_digest(large) == plain(large)
    kept = json.loads((large / DIGEST_FILE).read_text())
    assert kept["digest"] == plain(large)
    # It is what is answered with, as long as the files are the same.
    write_json(large / DIGEST_FILE, kept | {"digest": "feedfeed00"})
    assert supernet_digest(large) == "feedfeed00"


def test_changed_weights_are_read_again_whatever_their_size_and_time(large: Path) -> None:
    supernet_digest(large)
    facts = (large / WEIGHTS).stat()
    (large / WEIGHTS).unlink()
    (large / WEIGHTS).write_bytes(b"WEIGHTS")
    os.utime(large / WEIGHTS, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    now = (large / WEIGHTS).stat()
    assert (now.st_size, now.st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert now.st_ctime_ns != facts.st_ctime_ns
    assert supernet_digest(large) == plain(large)


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"digest": "feed", "files": []}', '{"digest": 3, "files": null}'])
def test_a_damaged_note_of_the_digest_counts_as_none(large: Path, kept: str) -> None:
    (large / DIGEST_FILE).write_text(kept)
    assert supernet_digest(large) == plain(large)


def test_weights_that_were_just_written_may_change_unseen_so_nothing_is_kept(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_SETTLED_NS", 3_600_000_000_000)
    supernet_digest(large)
    assert not (large / DIGEST_FILE).exists()


def test_small_weights_leave_nothing_beside_them(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    supernet_digest(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="no weights at"):
        supernet_digest(tmp_path)


@pytest.mark.parametrize(
    ("made_from", "digest", "expected"),
    [
        ("aaaa", "aaaa", Freshness.FRESH),
        ("aaaa", "bbbb", Freshness.STALE),
        (None, "bbbb", Freshness.UNKNOWN),
        (NO_PART, "bbbb", Freshness.FRESH),
        ("aaaa", None, Freshness.FRESH),
        (None, None, Freshness.FRESH),
    ],
)
def test_standing(made_from: str | None, digest: str | None, expected: Freshness) -> None:
    assert freshness(made_from, digest) is expected


@pytest.mark.parametrize("said", ["../../out", "a/b", 7, None, "\x1b[2J", "f" * 65, ["aaaa"], {"aaaa": 1}])
def test_what_is_no_digest_counts_as_none_and_names_no_folder(tmp_path: Path, said: object) -> None:
    run = Run(tmp_path / "run")
    figures = write_json(run.pick("0123") / "quality.json", {"supernet": said})
    assert origin(figures) is None
    set_aside(run, origin(figures), figures)
    assert [path for path in tmp_path.rglob("*.json")] == [run.path / "stale/unknown/picks/0123/quality.json"]


def test_what_is_set_aside_replaces_nothing_that_was_set_aside_before(tmp_path: Path) -> None:
    run = Run(tmp_path)
    teacher, figures = run.teacher / "lora", run.pick("0123") / "quality.json"
    for content in ("first", "second", "third"):
        for path in (teacher, figures):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        assert set_aside(run, "aaaa", run.teacher, tmp_path / "nothing", figures) == tmp_path / "stale/aaaa"
        assert not run.teacher.exists() and not figures.exists()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    kept = {str(path.relative_to(tmp_path / "stale/aaaa")): path.read_text() for path in files}
    assert kept == {
        "teacher/lora": "first",
        "teacher-2/lora": "second",
        "teacher-3/lora": "third",
        "picks/0123/quality.json": "first",
        "picks/0123/quality-2.json": "second",
        "picks/0123/quality-3.json": "third",
    }


@pytest.mark.parametrize(
    "name", ["samples.png", "report.html", "quality.json", "dit.onnx", "distilled", "kdmd_state.safetensors"]
)
def test_what_is_damaged_or_not_there_says_nothing(tmp_path: Path, name: str) -> None:
    assert origin(tmp_path / name) is None
    (tmp_path / name).write_bytes(b"\xff\x89PNG\r\n\x1a\n")
    assert origin(tmp_path / name) is None
