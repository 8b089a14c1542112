"""What stands for a kill: a training that stops in the middle of its progress."""

from __future__ import annotations

from collections.abc import Callable


class KilledError(Exception):
    """Stands for a kill: work stops in the middle."""


def stop_at(step: int) -> Callable[[float, float, str], None]:
    """Progress that stops a training after so many steps."""

    def stop(done: float, total: float, note: str) -> None:
        if done >= step:
            raise KilledError

    return stop


def stop_after(calls: int) -> Callable[..., None]:
    """Progress that stops at that call."""
    left = iter(range(calls - 1))

    def stop(*_: object) -> None:
        if next(left, None) is None:
            raise KilledError

    return stop
