"""WebDataset: members that are no plain files inside, files that are cut off, examples without one picture."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from subdit.core.errors import DataError
from supernet.data.sources import open_source
from tests.supernet.data.source_cases import add
from tests.supernet.data.source_cases import picture
from tests.supernet.data.source_cases import rejected
from tests.supernet.data.source_cases import with_tars


@pytest.mark.parametrize(
    ("name", "facts", "said"),
    [
        ("a.png", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "holds the link"),
        ("a.png", {"type": tarfile.LNKTYPE, "linkname": "0000.png"}, "holds the link"),
        ("/etc/cron.d/a.png", {}, "lies outside it"),
        ("../a.png", {}, "lies outside it"),
        ("a.png", {"type": tarfile.CHRTYPE}, "no plain file"),
        ("a.png", {"type": tarfile.FIFOTYPE}, "no plain file"),
    ],
)
def test_tar_members_that_are_no_plain_files_inside_are_refused(
    name: str, facts: dict[str, object], said: str, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "0000.png", picture(0))
        add(tar, "0000.txt", b"x")
        add(tar, name, **facts)
    with pytest.raises(DataError, match=said):
        list(open_source(tmp_path / "a.tar").examples())


def test_tar_files_that_are_cut_off_or_compressed_are_refused(tmp_path: Path) -> None:
    with_tars(tmp_path / "source")
    data = (tmp_path / "source" / "000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[: 512 + len(picture(0)) // 2])
    with pytest.raises(DataError, match="cut.tar"):
        for example in open_source(tmp_path / "cut.tar").examples():
            example.read()
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        add(tar, "0000.png", picture(0))
    with pytest.raises(DataError, match="uncompressed"):
        open_source(tmp_path / "packed.tar").count()


@pytest.mark.parametrize("damage", ["cut", "header"])
def test_tar_files_that_end_between_members_are_refused(damage: str, tmp_path: Path) -> None:
    with_tars(tmp_path / "source")
    data = (tmp_path / "source" / "000.tar").read_bytes()
    with tarfile.open(tmp_path / "source" / "000.tar") as tar:
        offset = tar.getmembers()[4].offset
    end = b"" if damage == "cut" else b"x" * 512 + data[offset + 512 :]
    (tmp_path / "a.tar").write_bytes(data[:offset] + end)
    with pytest.raises(DataError, match=f"a.tar is cut off or damaged at byte {offset:,}"):
        open_source(tmp_path / "a.tar").count()


def test_tar_examples_without_one_picture_are_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "0.txt", b"no picture")
        add(tar, "1.png", picture(1))
        add(tar, "1.jpg", picture(1))
        add(tar, "2.png", picture(2))
        add(tar, "2.txt", b"caf\xe9")
        add(tar, "3.png", picture(2))
        add(tar, "3.json", b"{")
        add(tar, "4.png", picture(2))
        add(tar, "4.txt", b"a" * (1 << 20) + b"a")
        add(tar, "5.png", picture(2))
        add(tar, "5.json", b'{"text": "x", "text": "y"}')
        add(tar, "6.png", picture(2))
        add(tar, "6.json", b"[]")
    assert rejected(open_source(tmp_path / "a.tar")) == {
        "a.tar/0": "no picture format",
        "a.tar/1": "several pictures",
        "a.tar/2": "caption not UTF-8",
        "a.tar/3": "damaged metadata",
        "a.tar/4": "caption too long",
        "a.tar/5": "damaged metadata",
        "a.tar/6": "damaged metadata",
    }


def test_tar_examples_whose_files_lie_apart_are_refused(tmp_path: Path) -> None:
    """Read one after the other, a picture would have no caption, and a caption no picture."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("0.png", "1.png", "0.txt", "1.txt"):
            add(tar, name, picture(0))
    with pytest.raises(DataError, match="files of '0' in two places"):
        open_source(tmp_path / "a.tar").count()


def test_a_tar_without_examples_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    with pytest.raises(DataError, match="no examples"):
        list(open_source(tmp_path / "a.tar").examples())
