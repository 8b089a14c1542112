"""Silences libraries that print to the terminal past Python."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silence_libraries() -> Iterator[None]:
    """Silence the process's stderr while libraries load: they print greetings, and errors that they raise as well.

    Such output does not pass through Python, and would break a progress bar.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed, as in a daemon.
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
