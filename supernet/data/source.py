"""What sources of captioned pictures have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from pathlib import PurePosixPath
from typing import Protocol

from subdit.core.errors import DataError

DEFAULT_CAPTION_COLUMN = "text"
"""What Hugging Face's imagefolder calls the caption."""

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
        columns: whatever else the source says of the picture.
        rejection: why it cannot be used, where the source itself knows.
    """

    id: str
    read: Callable[[], bytes]
    size_bytes: int
    caption: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    rejection: Rejection | None = None


class Source(Protocol):
    """Captioned pictures in an order that is the same each time."""

    kind: str
    path: Path

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
    if out.resolve().is_relative_to(source.path.resolve()):
        raise DataError(f"The folder {out} lies in the source {source.path}; write to a place outside of it.")


def inner_path(name: str, *, source: Path) -> PurePosixPath:
    """A file name that a source gives, as a path inside it; raises `DataError` where it leads out of the source."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(f"{source} names the file {name!r}, which lies outside it; name files by relative paths.")
    return path


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
