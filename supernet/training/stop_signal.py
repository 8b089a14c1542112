"""SIGTERM, by which schedulers say that a job must end soon: a training then ends its step, saves and leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Yield what says whether SIGTERM came; while the context lasts the signal ends nothing by itself.

    Threads other than the main one cannot watch for signals; there the system's way with it stays.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.set())
    try:
        yield came.is_set
    finally:
        # None where it was not Python that had set it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
