"""Files that a kill at any moment leaves whole: written beside their place, then moved there in one step."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from subdit.core.errors import RunError


def write_atomic(path: Path, data: str | bytes) -> Path:
    """Write a file so that a reader, or a process killed at any moment, sees the old content or the new, never half."""
    with replacing(path) as temporary:
        if isinstance(data, str):
            temporary.write_text(data, encoding="utf-8")
        else:
            temporary.write_bytes(data)
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes otherwise.

    An `OSError`, as of a full disk, names `path`.
    """
    try:
        with _temporary(path) as temporary:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    except OSError as error:
        # A full disk names no file, and what else cannot be written the temporary one, which nobody knows.
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith(f".{path.name}."):
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """An empty file beside a path, which is gone at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    # mkstemp makes files that only their owner reads; give this one what any new file gets.
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete what processes that were killed while `replacing` a file have left; the caller holds a lock on it."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> Path:
    """`write_atomic` of readable JSON; refuses NaN and infinity, which are not JSON."""
    return write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read JSON; raises `RunError` naming `what` where the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"There is no {what} at {path}; make it first.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"The {what} at {path} is damaged ({error}); delete it and make it again.") from error


def append_line(path: Path, entry: Mapping[str, object]) -> None:
    """Append a JSON object as a line, whole or not at all, and flush it to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        drop_torn_line(file.fileno())
        file.write(json.dumps(entry, separators=(",", ":"), allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def drop_torn_line(descriptor: int) -> None:
    """Cut off what follows the file's last line end; the caller holds its lock and has it open for reading too."""
    end = os.fstat(descriptor).st_size
    offset = end
    while offset:
        start = max(0, offset - 65536)
        found = os.pread(descriptor, offset - start, start).rfind(b"\n")
        if found >= 0:
            offset = start + found + 1
            break
        offset = start
    if offset < end:
        os.ftruncate(descriptor, offset)
