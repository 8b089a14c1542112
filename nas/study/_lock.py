"""Locks of a search's folder: one process alone writes into it, or several workers, of which one prepares it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

from subdit.core.errors import RunError


@contextlib.contextmanager
def lock_folder(folder: Path, *, shared: bool, force: bool) -> Iterator[Callable[[], None]]:
    """Lock a search's folder, exclusively or shared with other workers; the lock ends with the process.

    The folder is being prepared until the yielded function is called, and other workers wait for that. A worker that
    replaces a search, or starts the first one, holds the lock exclusively while it prepares. Raises `RunError` where
    the folder is in use by a process that cannot be joined.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".door").open("a+") as door, (folder / ".lock").open("a+") as file:
        fcntl.flock(door, fcntl.LOCK_EX)
        alone = not shared or force or not (folder / "search.json").exists()
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError:
            how = "wait for it, or start it with --worker" if shared else "start it with --worker too"
            how = "wait for it before you replace it" if force else how
            raise RunError(f"The search at {folder} is in use by another subdit; {how}.") from None

        def prepared() -> None:
            if shared:
                # flock releases the lock before it takes the shared one; the lock on `door` keeps others out meanwhile.
                fcntl.flock(file, fcntl.LOCK_SH)
            fcntl.flock(door, fcntl.LOCK_UN)

        yield prepared
