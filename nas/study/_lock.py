"""The lock of a search's folder: held by one process, or shared by workers, of which one at a time prepares it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

from subdit.core.errors import RunError


@contextlib.contextmanager
def lock_folder(folder: Path, *, shared: bool, force: bool) -> Iterator[Callable[[], None]]:
    """Hold a search's folder, exclusively or shared with other workers; the lock ends with the process.

    It starts with the preparation, for which other workers wait, and which the yielded function ends. A worker that may
    replace the search, because of `force` or because there is none yet, holds the folder exclusively until then. Raises
    `RunError` where another process holds it.
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
                # The system releases a lock before it takes the other kind; the door keeps others out meanwhile.
                fcntl.flock(file, fcntl.LOCK_SH)
            fcntl.flock(door, fcntl.LOCK_UN)

        yield prepared
