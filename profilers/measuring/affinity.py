"""Which cores measuring may use, and how warm they get meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from subdit.core.errors import ProfileError

_ZONES = Path("/sys/class/thermal")
# Types of thermal zones that are the processor's: Intel's, AMD's and ARM's drivers.
_PROCESSOR = re.compile(r"cpu|x86_pkg|k10temp|soc|cluster", re.IGNORECASE)


def read_cpus(text: str) -> tuple[int, ...]:
    """Numbers of cores out of a list such as "0,2-3"; raises `ProfileError` where it is none."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ProfileError(f"{text!r} is no list of cores; write one such as 0,2-3.")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


def cpus_text(cpus: tuple[int, ...] | None) -> str:
    """Numbers of cores as `read_cpus` reads them; empty where there is no choice."""
    return ",".join(map(str, cpus or ()))


@contextlib.contextmanager
def pinned(cpus: tuple[int, ...] | None) -> Iterator[None]:
    """Run this thread, and every one that it starts, on these cores only; raises `ProfileError` where it cannot."""
    if cpus is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ProfileError("This system does not pin programs to cores; leave --pin out.")
    before = os.sched_getaffinity(0)
    if missing := sorted(set(cpus) - before):
        usable = ", ".join(map(str, sorted(before)))
        raise ProfileError(f"Core {missing[0]} cannot be used here; choose from {usable}.")
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def temperature_c() -> float | None:
    """The hottest of the processor's sensors, or of all where none is named so; None where none can be read."""
    read: list[tuple[bool, float]] = []
    for zone in sorted(_ZONES.glob("thermal_zone*")):
        with contextlib.suppress(OSError, ValueError):
            kind = (zone / "type").read_text(encoding="utf-8").strip()
            value = int((zone / "temp").read_text(encoding="ascii")) / 1000
            # Sensors that are off say zero, or less.
            if 0 < value < 150:
                read.append((_PROCESSOR.search(kind) is not None, value))
    return max(read)[1] if read else None
