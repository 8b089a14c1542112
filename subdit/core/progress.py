"""How long work tells what it is doing: a callback, so that no room knows a terminal."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[float, float, str], None]
"""Called with (done, total, note): both in any one unit, seconds or items; `note` is a short text, may be empty."""


def no_progress(done: float, total: float, note: str) -> None:
    """Say nothing."""
