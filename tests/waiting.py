"""Waiting for what another process or thread does: for the thing itself, never for a time in which it should be."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable

DEADLINE_S = 1200.0
"""After so long it hangs. A machine with much else to do may take minutes for what takes seconds elsewhere."""


def wait_until(what: Callable[[], object], instead: Callable[[], object] = str, *, every_s: float = 0.02) -> None:
    """Return as soon as `what` is true; fail with what `instead` says where that never comes."""
    end = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end, instead()
        time.sleep(every_s)


def free_port() -> int:
    """A port at which nobody listens here, for a program that must be told one beforehand.

    None of those that a system gives to whoever connects, or asks for any: such a one is soon another's.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 1000):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port is taken")
