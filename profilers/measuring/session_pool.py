"""`SessionPool`: sessions that need not all fit into memory at once."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from profilers.runtimes import Session
from profilers.runtimes import time_runs

# Fraction of the memory that is available when measuring begins; the rest is for other programs, and for what runs add.
_FRACTION = 0.65


class SessionPool(Mapping[str, Session]):
    """Sessions by name, loaded when they are asked for; those unused for longest go when memory is short.

    What a session takes is how much the process grew when it was first loaded and run, or the size that was stated,
    whichever is more: memory that was freed before is taken again without growth. Runtimes take more as they run, and
    keep it, so the pool holds no more than the process has grown by in all, either.
    """

    def __init__(
        self,
        loaders: Mapping[str, Callable[[], Session]],
        sizes_bytes: Mapping[str, int] | None = None,
        *,
        limit_bytes: int | None = None,
    ) -> None:
        """A pool that holds `limit_bytes` of sessions at most, by default 65 % of the memory that is free; or one."""
        self._loaders = dict(loaders)
        self._stated = dict(sizes_bytes or {})
        self._limit = _available_bytes() * _FRACTION if limit_bytes is None else limit_bytes
        self._loaded: dict[str, Session] = {}
        self._taken: dict[str, float] = {}
        self._before = _resident_bytes()
        self.first_ms: dict[str, float] = {}
        """What the first run of a session took, after it was first loaded."""

    @classmethod
    def holding(cls, sessions: Mapping[str, Session]) -> SessionPool:
        """A pool of sessions that are loaded already, and stay so."""
        pool = cls({name: partial(sessions.__getitem__, name) for name in sessions}, limit_bytes=0)
        pool._loaded = dict(sessions)
        return pool

    def __getitem__(self, name: str) -> Session:
        """The session of that name, run once where it had to be loaded."""
        if name in self._loaded:
            # The order of the dictionary is that of use.
            self._loaded[name] = session = self._loaded.pop(name)
            return session
        self._make_room(self._taken.get(name, self._stated.get(name, 0)))
        before = _resident_bytes()
        self._loaded[name] = session = self._loaders[name]()
        timing = time_runs(session, 1)
        self.first_ms.setdefault(name, timing.wall_ms)
        grown = _resident_bytes() - before
        self._taken[name] = max(grown, self._taken.get(name, 0), self._stated.get(name, 0))
        return session

    def add(self, name: str, loader: Callable[[], Session]) -> None:
        """One more, loaded when it is asked for."""
        self._loaders[name] = loader

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)

    def is_loaded(self, name: str) -> bool:
        return name in self._loaded

    def _make_room(self, wanted: float) -> None:
        while self._loaded and sum(self._taken[name] for name in self._loaded) + wanted > self._limit:
            self._drop()
        while self._loaded and (grown := _resident_bytes() - self._before) + wanted > self._limit:
            self._drop()
            if _resident_bytes() - self._before >= grown:
                # What the process holds is not the sessions'.
                break

    def _drop(self) -> None:
        del self._loaded[next(iter(self._loaded))]
        _give_back()


def _give_back() -> None:
    """Let the system have what was freed; glibc keeps it otherwise, and the process looks as large as before."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _available_bytes() -> float:
    """Memory that could be had without swapping; infinite where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):
        return float("inf")


def _resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0
