"""WebDataset shards: tar files in which files with the same name before the first dot are one example."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import cached_property
from functools import partial
from pathlib import Path

from subdit.core.errors import DataError
from supernet.data.folder import decode_caption
from supernet.data.source import MAX_TEXT_BYTES
from supernet.data.source import PICTURE_SUFFIXES
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.source import file_fingerprint
from supernet.data.source import inner_path
from supernet.data.source import json_columns
from supernet.data.source import one_line
from supernet.data.splits import SplitRule

CAPTION_SUFFIXES = (".txt", ".caption", ".text")


class WebDatasetSource:
    """Examples of tar files, in the order in which they lie; one header at a time is in memory."""

    kind = "webdataset"
    default_split = SplitRule()
    licence_column: str | None = None

    def __init__(self, path: Path, files: tuple[Path, ...], *, caption_column: str) -> None:
        self.path = path
        self.files = files
        self.caption_column = caption_column

    def count(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return sum(1 for file in self.files for _ in _groups(file))

    def fingerprint(self) -> str:
        return file_fingerprint((self._name(file), file) for file in self.files)

    def examples(self, start: int = 0) -> Iterator[Example]:
        number = 0
        for file in self.files:
            for key, members in _groups(file):
                if number >= start:
                    yield self._example(file, key, members)
                number += 1
        if not number:
            raise DataError(f"There are no examples in {self.path}; put pictures and captions into its .tar files.")

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix() if self.path.is_dir() else file.name

    def _example(self, file: Path, key: str, members: dict[str, tarfile.TarInfo]) -> Example:
        identity = f"{self._name(file)}/{key}"
        pictures = [member for suffix, member in members.items() if suffix in PICTURE_SUFFIXES]
        columns: dict[str, str] = {}
        rejection = None
        texts = [members[suffix] for suffix in (".json", *CAPTION_SUFFIXES) if suffix in members]
        if long := [member for member in texts if member.size > MAX_TEXT_BYTES]:
            rejection = Rejection("caption too long", f"{long[0].size:,} bytes")
            return Example(identity, bytes, 0, rejection=rejection)
        if ".json" in members:
            try:
                columns = json_columns(_read(file, members[".json"]))
            except (ValueError, RecursionError) as error:
                rejection = Rejection("damaged metadata", str(error))
        caption = columns.pop(self.caption_column, "")
        for suffix in CAPTION_SUFFIXES:
            if suffix in members:
                caption, undecoded = decode_caption(_read(file, members[suffix]))
                rejection = rejection or undecoded
                break
        if len(pictures) != 1:
            kind = "several pictures" if pictures else "no picture format"
            return Example(identity, bytes, 0, rejection=Rejection(kind, ", ".join(sorted(members))))
        (picture,) = pictures
        return Example(identity, partial(_read, file, picture), picture.size, one_line(caption), columns, rejection)


def _groups(file: Path) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Runs of members with one key, by suffix; raises `DataError` on members that a data set has no use for."""
    key, members = "", dict[str, tarfile.TarInfo]()
    seen = set[str]()
    try:
        # Compressed files are refused: their members cannot be read out of order.
        with tarfile.open(file, mode="r:") as opened:
            while (member := opened.next()) is not None:
                # Kept by tarfile, all headers would be in memory.
                opened.members.clear()  # type: ignore[attr-defined]
                if member.isdir():
                    continue
                _check(member, file)
                path = inner_path(member.name, source=file)
                stem, dot, suffix = path.name.partition(".")
                this = (path.parent / stem).as_posix()
                suffix = (dot + suffix).lower()
                if this != key and members:
                    yield key, members
                    members = {}
                if this != key and this in seen:
                    raise DataError(
                        f"{file} holds files of {this!r} in two places; make it again with those of an example one "
                        "after the other, as tar --sort=name does."
                    )
                key = this
                seen.add(this)
                if suffix in members:
                    raise DataError(f"{file} holds {member.name!r} twice; give each example a name of its own.")
                members[suffix] = member
            # tarfile takes a damaged header, or the end of a file that is cut off between members, for the end.
            fileobj, offset = opened.fileobj, opened.offset
            fileobj.seek(offset)
            if fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise DataError(f"{file} is cut off or damaged at byte {offset:,}; make it again.")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{file} cannot be read as a plain tar file ({error}); make it again, uncompressed.") from error
    if members:
        yield key, members


def _check(member: tarfile.TarInfo, file: Path) -> None:
    if member.issym() or member.islnk():
        raise DataError(f"{file} holds the link {member.name!r}; make it again with plain files alone.")
    if not member.isreg() or member.issparse():
        raise DataError(f"{file} holds {member.name!r}, which is no plain file; make it again with plain files alone.")


def _read(file: Path, member: tarfile.TarInfo) -> bytes:
    # By its place, so that several threads can read at once.
    with file.open("rb") as opened:
        opened.seek(member.offset_data)
        data = opened.read(member.size)
    if len(data) < member.size:
        raise DataError(f"{file} is cut off within {member.name!r}; make it again.")
    return data
