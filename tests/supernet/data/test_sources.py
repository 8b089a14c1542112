"""Sources of captioned pictures: what each finds, that it finds it again from any place on, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from subdit.core.errors import DataError
from supernet.data.picture import PictureRule
from supernet.data.preparation import prepare
from supernet.data.source import Rejection
from supernet.data.source import Source
from supernet.data.sources import open_source
from supernet.data.splits import SplitRule
from tests.supernet.data.pictures import draw
from tests.supernet.data.pictures import encode_file
from tests.supernet.data.pictures import write_folder

COUNT = 7


def captions(source: Source) -> dict[str, str]:
    return {example.id: example.caption for example in source.examples()}


def rejected(source: Source) -> dict[str, str]:
    return {example.id: example.rejection.kind for example in source.examples() if example.rejection}


def picture(number: int) -> bytes:
    return encode_file(draw(number)[0])


def with_text_files(path: Path) -> Path:
    return write_folder(path, COUNT)


def with_jsonl(path: Path) -> Path:
    path.mkdir()
    lines = []
    for number in range(COUNT):
        (path / f"{number}.png").write_bytes(picture(number))
        lines.append(json.dumps({"file_name": f"{number}.png", "text": draw(number)[1], "artist": "x"}))
    (path / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return path


def with_csv(path: Path) -> Path:
    (path / "train").mkdir(parents=True)
    with (path / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text", "artist"])
        for number in range(COUNT):
            (path / "train" / f"{number}.png").write_bytes(picture(number))
            writer.writerow([f"train/{number}.png", draw(number)[1], "x"])
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **facts: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in facts.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data))


def with_tars(path: Path) -> Path:
    path.mkdir()
    for shard, numbers in enumerate((range(4), range(4, COUNT))):
        with tarfile.open(path / f"{shard:03d}.tar", "w") as tar:
            for number in numbers:
                add(tar, f"{number:04d}.png", picture(number))
                if number % 2:
                    add(tar, f"{number:04d}.txt", draw(number)[1].encode())
                else:
                    add(tar, f"{number:04d}.json", json.dumps({"text": draw(number)[1], "artist": "x"}).encode())
    return path


def with_parquet(path: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (path / "data").mkdir(parents=True)
    for file, numbers in enumerate((range(5), range(5, COUNT))):
        columns = {
            "image": [{"bytes": picture(number), "path": f"{number}.png"} for number in numbers],
            "text": [draw(number)[1] for number in numbers],
            "likes": list(numbers),
        }
        parquet.write_table(pyarrow.table(columns), path / "data" / f"train-{file}.parquet", row_group_size=2)
    return path


MAKERS = (with_text_files, with_jsonl, with_csv, with_tars, with_parquet)


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


# Folders --------------------------------------------------------------------------------------------------------------


def test_a_folder_says_of_each_file_why_it_is_not_used(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    (tmp_path / "00001.txt").write_bytes(b"caf\xe9")
    (tmp_path / "notes.md").write_text("notes")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "long.png").write_bytes(picture(0))
    (tmp_path / "long.txt").write_bytes(b"a" * (1 << 20) + b"a")
    source = open_source(tmp_path)
    assert rejected(source) == {
        "00001.png": "caption not UTF-8",
        "again": "linked folder",
        "gone.png": "no plain file",
        "long.png": "caption too long",
        "pipe.png": "no plain file",
        "notes.md": "no picture format",
    }


def test_a_caption_is_one_line_without_a_byte_order_mark(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    (tmp_path / "00000.txt").write_bytes(b"\xef\xbb\xbf a red\r\n\tsquare ")
    assert captions(open_source(tmp_path)) == {"00000.png": "a red square"}


def test_metadata_tells_what_is_missing_and_what_stands_twice(tmp_path: Path) -> None:
    with_jsonl(tmp_path / "source")
    path = tmp_path / "source"
    (path / "unlisted.png").write_bytes(picture(0))
    with (path / "metadata.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"file_name": "gone.png", "text": "gone"}\n{"file_name": "0.png", "text": "another"}\n')
    source = open_source(path)
    assert rejected(source) == {"gone.png": "missing file"}
    found = captions(source)
    assert found["unlisted.png"] == ""
    assert (found["0.png"], found["0.png#2"]) == (draw(0)[1], "another")
    examples = {example.id: example for example in source.examples()}
    assert examples["1.png"].columns == {"artist": "x"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.png", "a/../../b.png", "..\\b.png", ""])
def test_metadata_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": name, "text": "x"}))
    with pytest.raises(DataError, match="lies outside it"):
        open_source(tmp_path).count()


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("metadata.csv", b"file_name,text\n00000.png,caf\xe9\n", "not UTF-8"),
        ("metadata.jsonl", b'{"file_name": "00000.png", "text": "caf\xe9"}', "not UTF-8"),
        ("metadata.jsonl", b'{"file_name": "00000.png", "text": "x"}\n{"file', "Line 2 of .* cannot be read"),
        ("metadata.jsonl", b'["00000.png"]', "no JSON object"),
        ("metadata.jsonl", b"[" * 100_000, "cannot be read"),
        ("metadata.csv", b"file_name,caption\n00000.png,x\n", "no 'text'.*--caption-column"),
        ("metadata.csv", b"file_name,text\n00000.png,x,y,z\n", "more values than there are columns"),
    ],
)
def test_metadata_that_cannot_be_read_is_refused(file: str, data: bytes, said: str, tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    (tmp_path / file).write_bytes(data)
    with pytest.raises(DataError, match=said):
        open_source(tmp_path).count()


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures at"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "file.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="is no source"):
        open_source(tmp_path / "file.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures in"):
        open_source(tmp_path / "empty").count()


@pytest.mark.parametrize(("column", "kind"), [("text", "caption not UTF-8"), ("artist", "group not UTF-8")])
def test_half_a_character_is_a_rejection(column: str, kind: str, tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    row = {"file_name": "00000.png", "text": "a cat", "artist": "x"} | {column: "cat \ud83d"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    (example,) = open_source(tmp_path).examples()
    outcome = prepare(example, PictureRule(size=16, channels=3), SplitRule(group_by="artist"))
    assert isinstance(outcome, Rejection) and outcome.kind == kind


# WebDataset -----------------------------------------------------------------------------------------------------------


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
    assert rejected(open_source(tmp_path / "a.tar")) == {
        "a.tar/0": "no picture format",
        "a.tar/1": "several pictures",
        "a.tar/2": "caption not UTF-8",
        "a.tar/3": "damaged metadata",
        "a.tar/4": "caption too long",
    }


def test_a_tar_without_examples_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    with pytest.raises(DataError, match="no examples"):
        list(open_source(tmp_path / "a.tar").examples())


# Parquet --------------------------------------------------------------------------------------------------------------


def test_parquet_keeps_plain_columns_and_tells_rows_without_a_picture(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"image": [picture(0), None], "title": ["x", "y"], "likes": [3, None], "tags": [["a"], []]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", caption_column="title")
    first, second = source.examples()
    assert (first.caption, first.columns, first.read()) == ("x", {"likes": "3"}, picture(0))
    assert second.rejection is not None and second.rejection.kind == "missing file"


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"text": ["x"]}, "no column 'image'"), ({"image": [b"x"], "text": [["x"]]}, "no column 'text' of text")],
)
def test_parquet_without_pictures_or_captions_is_refused(
    columns: dict[str, list[object]], said: str, tmp_path: Path
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=said):
        list(open_source(tmp_path / "a.parquet").examples())


def test_parquet_with_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    latin = pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"image": [picture(0)], "text": latin}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="is damaged"):
        list(open_source(tmp_path / "a.parquet").examples())


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_source(tmp_path / "a.parquet").count()


def test_a_folder_with_two_kinds_of_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    (tmp_path / "b.parquet").touch()
    with pytest.raises(DataError, match="one of them"):
        open_source(tmp_path)
