"""Sources of each kind with the same seven pictures, and what a source says of its examples."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import pytest

from supernet.data.source import Source
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
