"""What sources of captioned pictures have in common."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any
from typing import Protocol

from subdit.core.errors import DataError
from supernet.data.splits import SplitRule

DEFAULT_CAPTION_COLUMN = "text"
"""What Hugging Face's imagefolder calls the caption."""

MAX_TEXT_BYTES = 1 << 20
"""Largest file that is read as the caption or the metadata of one picture."""

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"}
)


@dataclass(frozen=True)
class Rejection:
    """Why a picture is not used: `kind` is counted, `detail` stands in the list of rejected pictures."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Example:
    """One picture of a source with its caption.

    Attributes:
        id: its place inside the source, unique there and the same each time.
        read: returns the bytes of the picture file; any thread may call it.
        size_bytes: of the picture file.
        caption: one line of text, empty where there is none.
        columns: further columns of the source.
        rejection: why it cannot be used, where the source itself knows.
    """

    id: str
    read: Callable[[], bytes]
    size_bytes: int
    caption: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    rejection: Rejection | None = None


class Source(Protocol):
    """Captioned pictures in an order that is the same each time.

    Attributes:
        kind: of source.
        path: where it lies.
        default_split: how its pictures are divided where nobody says it.
        licence_column: the column that says the licence of each picture, where the source has one of its own.
    """

    kind: str
    path: Path
    default_split: SplitRule
    licence_column: str | None

    def count(self) -> int:
        """Number of examples, those that cannot be used included."""
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digits that change where a file of the source does, found without reading pictures."""
        ...

    def examples(self, start: int = 0) -> Iterator[Example]:
        """Examples from number `start` on; raises `DataError` where the source cannot be read."""
        ...


def require_outside(out: Path, source: Source) -> None:
    """Raise `DataError` where a folder that is written lies in the source that is read."""
    # Of a link to itself, `Path.resolve` raises a RuntimeError.
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(source.path)):
        raise DataError(f"The folder {out} lies in the source {source.path}; write to a place outside of it.")


def inner_path(name: str, *, source: Path) -> PurePosixPath:
    """A file name that a source gives, as a path inside it; raises `DataError` where it leads out of the source."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(f"{source} names the file {name!r}, which lies outside it; name files by relative paths.")
    return path


def visible_files(folder: Path) -> list[str]:
    """Paths below a folder of all files but hidden ones, sorted; raises `DataError` where a part cannot be read.

    Links to folders stand among the files: walked into, one to a folder above would never end.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"The folder {error.filename} cannot be read ({error.strerror}); mend it.") from error

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(parent).relative_to(folder)
        found += [(below / name).as_posix() for name in names if not name.startswith(".")]
        found += [(below / name).as_posix() for name in folders if (Path(parent) / name).is_symlink()]
    return sorted(found)


def json_columns(text: str | bytes) -> dict[str, str]:
    """Plain values of a JSON object as text, others left out; raises `ValueError` on another value or double keys."""
    value = json.loads(text, object_pairs_hook=_distinct)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return {
        key: "" if item is None else str(item)
        for key, item in value.items()
        if item is None or isinstance(item, str | int | float)
    }


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if (double := first_double(key for key, _ in pairs)) is not None:
        raise ValueError(f"it has the key {double!r} twice")
    return dict(pairs)


def first_double(names: Iterable[str]) -> str | None:
    """The first name that was there before; of two values with one name readers take the last without a word."""
    seen = set[str]()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def one_line(text: str) -> str:
    """A caption with line breaks and runs of spaces made single spaces."""
    return " ".join(text.split())


def file_fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """Digest of names, sizes and times of change of files, in their order."""
    digest = hashlib.sha256()
    for name, file in files:
        facts = file.stat()
        digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
