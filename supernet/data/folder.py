"""A folder of pictures: captions in a .txt file beside each, or in metadata.jsonl or metadata.csv.

The metadata files are those of Hugging Face's imagefolder: a column `file_name`, relative to the metadata file, and a
column for the caption. A row of metadata goes before a .txt file.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from subdit.core.errors import DataError
from supernet.data.source import PICTURE_SUFFIXES
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.source import file_fingerprint
from supernet.data.source import inner_path
from supernet.data.source import one_line

METADATA = ("metadata.jsonl", "metadata.csv")
FILE_NAME = "file_name"


@dataclass(frozen=True)
class _Entry:
    """A picture, or a file that might have been one, by its path below the folder; `row` is its line of metadata."""

    id: str
    path: str
    row: Mapping[str, str] | None = None
    rejection: Rejection | None = None


class FolderSource:
    """Pictures below a folder in the order of their paths. Names and metadata are held in memory, pictures are not."""

    kind = "folder"

    def __init__(self, path: Path, *, caption_column: str) -> None:
        self.path = path
        self.caption_column = caption_column

    def count(self) -> int:
        return len(self._entries)

    def fingerprint(self) -> str:
        files = ((name, self.path / name) for name in self._files if (self.path / name).is_file())
        return file_fingerprint(files)

    def examples(self, start: int = 0) -> Iterator[Example]:
        for entry in self._entries[start:]:
            yield self._example(entry)

    def _example(self, entry: _Entry) -> Example:
        file = self.path / entry.path
        if entry.rejection is not None:
            return Example(entry.id, file.read_bytes, 0, rejection=entry.rejection)
        row = dict(entry.row or {})
        rejection = None
        if entry.row is not None:
            caption = row.pop(self.caption_column, "")
        else:
            caption, rejection = _caption_beside(file)
        try:
            size_bytes = file.stat().st_size
        except OSError as error:
            return Example(entry.id, file.read_bytes, 0, rejection=Rejection("missing file", error.strerror or ""))
        return Example(entry.id, file.read_bytes, size_bytes, one_line(caption), row, rejection)

    @cached_property
    def _files(self) -> list[str]:
        """All files below the folder but hidden ones, by sorted relative path."""
        found = []
        for parent, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(parent).relative_to(self.path)
            found += [(below / name).as_posix() for name in names if not name.startswith(".")]
            # Walked into, a link to a folder above would never end.
            found += [(below / name).as_posix() for name in folders if (Path(parent) / name).is_symlink()]
        return sorted(found)

    @cached_property
    def _entries(self) -> list[_Entry]:
        listed: list[_Entry] = []
        for name in self._files:
            if name.rpartition("/")[2] in METADATA:
                listed += self._rows(name)
        covered = {entry.path for entry in listed}
        for name in self._files:
            path = self.path / name
            suffix = path.suffix.lower()
            if name in covered or name.rpartition("/")[2] in METADATA or suffix == ".txt":
                continue
            if path.is_dir():
                listed.append(_Entry(name, name, rejection=Rejection("linked folder", "not followed")))
            elif suffix in PICTURE_SUFFIXES:
                listed.append(_Entry(name, name))
            else:
                listed.append(_Entry(name, name, rejection=Rejection("no picture format", suffix or "no suffix")))
        if not any(entry.rejection is None for entry in listed):
            raise DataError(
                f"There are no pictures in {self.path}; put pictures there, such as .png or .jpg files, with captions."
            )
        return sorted(listed, key=lambda entry: entry.id)

    def _rows(self, name: str) -> Iterator[_Entry]:
        file = self.path / name
        seen: dict[str, int] = {}
        for number, row in _metadata(file):
            if FILE_NAME not in row or self.caption_column not in row:
                lacks = FILE_NAME if FILE_NAME not in row else self.caption_column
                raise DataError(
                    f"Line {number} of {file} has no {lacks!r}; give each picture a file_name and its caption, or name "
                    "the caption's column with --caption-column."
                )
            path = (Path(name).parent / inner_path(row.pop(FILE_NAME), source=file)).as_posix()
            seen[path] = seen.get(path, 0) + 1
            # Several captions of one picture are examples of their own.
            yield _Entry(path if seen[path] == 1 else f"{path}#{seen[path]}", path, row)


def _caption_beside(picture: Path) -> tuple[str, Rejection | None]:
    try:
        data = picture.with_suffix(".txt").read_bytes()
    except OSError:
        return "", None
    return decode_caption(data)


def decode_caption(data: bytes) -> tuple[str, Rejection | None]:
    """The caption in a text file, and why it cannot be used where it is no UTF-8."""
    try:
        return one_line(data.decode("utf-8-sig")), None
    except UnicodeDecodeError as error:
        return "", Rejection("caption not UTF-8", f"byte {error.start}")


def _metadata(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a metadata file, values as text; raises `DataError`."""
    number = 1
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            if file.suffix == ".csv":
                reader = csv.DictReader(opened, strict=True)
                for row in reader:
                    number = reader.line_num
                    if None in row:
                        raise DataError(f"Line {number} of {file} has more values than there are columns; mend it.")
                    yield number, {key: value or "" for key, value in row.items()}
            else:
                for number, line in enumerate(opened, start=1):
                    if line.strip():
                        yield number, as_columns(json.loads(line), f"Line {number} of {file}")
    except UnicodeDecodeError as error:
        raise DataError(f"The captions in {file} are not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"Line {number} of {file} cannot be read ({error}); mend it.") from error


def as_columns(value: Any, where: str) -> dict[str, str]:
    """A JSON object's plain values as text, others left out; raises `DataError` where it is no object."""
    if not isinstance(value, dict):
        raise DataError(f"{where} is no JSON object; write one object with file_name and caption.")
    return {key: str(item) for key, item in value.items() if isinstance(item, str | int | float)}
