"""Who may write into a search's folder: one process alone, or workers together; and one at a time to prepare it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

from subdit.core.errors import RunError


@contextlib.contextmanager
def lock_folder(folder: Path, *, shared: bool, force: bool) -> Iterator[Callable[[], None]]:
    """Hold a search's folder: alone, or together with other workers once it is prepared; vanishes with the process.

    Begins as preparation, which others wait for; what is yielded ends it. A worker that may have to replace what is
    there, because it was told to or because there is no search yet, is alone until then. Raises `RunError` where others
    are at work who cannot be joined.
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
                # The system lets go before it takes anew; nobody comes in between, for they stand at the door.
                fcntl.flock(file, fcntl.LOCK_SH)
            fcntl.flock(door, fcntl.LOCK_UN)

        yield prepared
