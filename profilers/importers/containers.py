"""The logs that a path stands for: one file, packed or not, an archive of several, or a folder of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from pathlib import PurePosixPath
from typing import IO

from profilers.importers.log import MAX_BYTES
from profilers.importers.log import Log
from profilers.importers.log import make_log
from profilers.importers.log import read_bytes
from profilers.importers.session import PLACEMENT
from profilers.importers.session import RESULTS
from subdit.core.errors import ImportLogError

MAX_LOGS = 5_000
"""An archive or a folder of more files is refused."""

_PACKED: dict[bytes, Callable[[IO[bytes]], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_SUFFIXES = (".gz", ".bz2", ".xz")
# What systems add to folders and archives.
_NO_LOGS = ("__MACOSX", "Thumbs.db", "desktop.ini")


def open_logs(path: Path) -> Iterator[tuple[Path, Log]]:
    """Every log at a path, each with a path that names it.

    Raises:
        ImportLogError: a file is missing, empty, cut or too large, or a folder or archive holds none.
    """
    if path.is_dir():
        yield from _in_folder(path)
        return
    data = read_bytes(path)
    name = path
    if packed := next((opener for head, opener in _PACKED.items() if data.startswith(head)), None):
        data, name = _unpacked(path, data, packed), _without_suffix(path)
    if zipfile.is_zipfile(io.BytesIO(data)) and data.startswith(b"PK"):
        yield from _in_zip(path, data)
    elif data[257:262] == b"ustar":
        yield from _in_tar(path, data)
    else:
        yield name, make_log(data, name.name)


def may_hold_logs(folder: Path) -> bool:
    """Whether a folder within one is neither hidden nor a link, which might lead round in a circle."""
    return not folder.is_symlink() and _may_be_log(folder.name)


def _in_folder(folder: Path) -> Iterator[tuple[Path, Log]]:
    inside = sorted(one for one in folder.iterdir() if _may_be_log(one.name) and one.is_file())
    if not inside:
        raise ImportLogError(f"{folder} is a folder without logs; name the folder or the files that hold them.")
    if len(inside) > MAX_LOGS:
        raise ImportLogError(f"{folder} holds more than {MAX_LOGS:,} files; name those that are logs.")
    for one in inside:
        yield from open_logs(one)


def _in_zip(path: Path, data: bytes) -> Iterator[tuple[Path, Log]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and _may_be_log(one.filename)]
            _check_members(path, [one.filename for one in members])
            for one in members:
                with archive.open(one) as file:
                    yield _member(path, one.filename, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise _damaged(path, error) from None


def _in_tar(path: Path, data: bytes) -> Iterator[tuple[Path, Log]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [one for one in archive.getmembers() if one.isfile() and _may_be_log(one.name)]
            _check_members(path, [one.name for one in members])
            for one in members:
                file = archive.extractfile(one)
                if file is not None:
                    yield _member(path, one.name, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _damaged(path, error) from None


def _member(path: Path, name: str, file: IO[bytes]) -> tuple[Path, Log]:
    inside = PurePosixPath(name).name or name
    return path / inside, make_log(_limited(path, file), f"{path.name}/{inside}")


def _check_members(path: Path, names: list[str]) -> None:
    if not names:
        raise ImportLogError(f"{path} is an archive without logs; give the files that the tools wrote.")
    if len(names) > MAX_LOGS:
        raise ImportLogError(f"{path} holds more than {MAX_LOGS:,} files; give those that are logs.")
    # What a job wrote is one measurement in several files.
    if any(PurePosixPath(name).name in (RESULTS, PLACEMENT) for name in names):
        raise ImportLogError(f"{path} holds the session of a rented phone; unpack it and give its folder.")


def _unpacked(path: Path, data: bytes, opener: Callable[[IO[bytes]], io.BufferedIOBase]) -> bytes:
    try:
        with opener(io.BytesIO(data)) as file:
            return _limited(path, file)
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(path, error) from None


def _limited(path: Path, file: IO[bytes] | io.BufferedIOBase) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ImportLogError(f"{path} holds more than {MAX_BYTES:,} bytes unpacked; give the log of one model.")
    return data


def _damaged(path: Path, error: Exception) -> ImportLogError:
    return ImportLogError(f"{path} cannot be unpacked ({error}); it may be cut or locked: unpack it and give the logs.")


def _may_be_log(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return bool(parts) and not any(part.startswith(".") or part in _NO_LOGS for part in parts)


def _without_suffix(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in _SUFFIXES else path
