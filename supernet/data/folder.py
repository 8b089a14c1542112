"""A folder of pictures: captions in a .txt file beside each, or in metadata.jsonl or metadata.csv.

The metadata files are those of Hugging Face's imagefolder: a column `file_name`, relative to the metadata file, and a
column for the caption. A row of metadata goes before a .txt file. Two metadata files that list one picture are refused;
two rows of one file are two captions of it, and so two examples.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from subdit.core.errors import DataError
from supernet.data.source import MAX_TEXT_BYTES
from supernet.data.source import PICTURE_SUFFIXES
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.source import file_fingerprint
from supernet.data.source import first_double
from supernet.data.source import inner_path
from supernet.data.source import json_columns
from supernet.data.source import one_line
from supernet.data.splits import SplitRule

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
    default_split = SplitRule()
    licence_column: str | None = None

    def __init__(self, path: Path, files: Sequence[str], *, caption_column: str) -> None:
        self.path = path
        self.files = files
        self.caption_column = caption_column

    def count(self) -> int:
        return len(self._entries)

    def fingerprint(self) -> str:
        files = ((name, self.path / name) for name in self.files if (self.path / name).is_file())
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
        if not file.is_file():
            return Example(entry.id, file.read_bytes, 0, rejection=Rejection("missing file"))
        return Example(entry.id, file.read_bytes, file.stat().st_size, one_line(caption), row, rejection)

    @cached_property
    def _entries(self) -> list[_Entry]:
        listed: list[_Entry] = []
        covered: dict[str, str] = {}
        for name in self.files:
            if name.rpartition("/")[2] not in METADATA:
                continue
            for entry in self._rows(name):
                if covered.setdefault(entry.path, name) != name:
                    first = self.path / covered[entry.path]
                    raise DataError(
                        f"Both {first} and {self.path / name} list {entry.path!r}; keep one, or list each picture once."
                    )
                listed.append(entry)
        for name in self.files:
            path = self.path / name
            suffix = path.suffix.lower()
            if name in covered or name.rpartition("/")[2] in METADATA or suffix == ".txt":
                continue
            if path.is_dir():
                listed.append(_Entry(name, name, rejection=Rejection("linked folder", "not followed")))
            elif not path.is_file():
                listed.append(_Entry(name, name, rejection=Rejection("no plain file", "a pipe or a link to nothing")))
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
        # A pipe would be waited for.
        if not file.is_file():
            raise DataError(f"The metadata {file} is no plain file; make it one, or take it away.")
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
    file = picture.with_suffix(".txt")
    # A pipe would be waited for.
    if not file.is_file():
        return "", None
    if file.stat().st_size > MAX_TEXT_BYTES:
        return "", Rejection("caption too long", f"{file.stat().st_size:,} bytes")
    return decode_caption(file.read_bytes())


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
                if (double := first_double(reader.fieldnames or ())) is not None:
                    raise DataError(f"{file} has the column {double!r} twice; keep one.")
                for row in reader:
                    number = reader.line_num
                    if None in row:
                        raise DataError(f"Line {number} of {file} has more values than there are columns; mend it.")
                    yield number, {key: value or "" for key, value in row.items()}
            else:
                for number, line in enumerate(opened, start=1):
                    if line.strip():
                        yield number, json_columns(line)
    except UnicodeDecodeError as error:
        raise DataError(f"The captions in {file} are not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"Line {number} of {file} cannot be read ({error}); mend it.") from error
