"""Folders of pictures: captions and metadata, and what is refused or told of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from subdit.core.errors import DataError
from supernet.data.picture import PictureRule
from supernet.data.preparation import prepare
from supernet.data.source import Rejection
from supernet.data.sources import open_source
from supernet.data.splits import SplitRule
from tests.supernet.data.pictures import draw
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.source_cases import captions
from tests.supernet.data.source_cases import picture
from tests.supernet.data.source_cases import rejected
from tests.supernet.data.source_cases import with_jsonl


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


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("metadata.csv", "metadata.jsonl"),
        ("metadata.csv", "deep/metadata.csv"),
        ("metadata.jsonl", "deep/metadata.csv"),
    ],
)
def test_a_picture_that_two_metadata_files_list_is_refused(first: str, second: str, tmp_path: Path) -> None:
    """However its path is written; files that list different pictures are one source."""
    write_folder(tmp_path / "deep", 3)

    def write(name: str, number: int) -> None:
        picture = f"00000{number}.png"[-9:]
        row = {"file_name": f"./{picture}" if name.startswith("deep/") else f"deep//{picture}", "text": name}
        text = json.dumps(row) if name.endswith("jsonl") else "\n".join(map(",".join, (row, row.values())))
        (tmp_path / name).write_text(text)

    write(first, 0)
    write(second, 1)
    assert captions(open_source(tmp_path)) == {
        "deep/00000.png": first,
        "deep/00001.png": second,
        "deep/00002.png": draw(2)[1],
    }
    write(second, 0)
    with pytest.raises(DataError, match="list 'deep/00000.png'; keep one") as caught:
        open_source(tmp_path).count()
    assert str(tmp_path / first) in str(caught.value) and str(tmp_path / second) in str(caught.value)


def test_metadata_that_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    os.mkfifo(tmp_path / "metadata.jsonl")
    with pytest.raises(DataError, match="no plain file"):
        open_source(tmp_path).count()


def test_a_caption_that_is_null_is_none(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "00000.png", "text": null}')
    assert captions(open_source(tmp_path)) == {"00000.png": ""}


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
        ("metadata.csv", b"file_name,text,text\n00000.png,x,y\n", "has the column 'text' twice"),
        ("metadata.jsonl", b'{"file_name": "00000.png", "text": "x", "text": "y"}', "the key 'text' twice"),
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
