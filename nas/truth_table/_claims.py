"""Who does which job, among processes on any machines that share a folder: by files that only one can create.

A claim on a job is the file JOB.N. Only one process can create it, on network file systems too. While it works, the
process appends a byte to it now and then. Others watch the file's length by their own clocks, so clocks need not agree.
One that has stood still for too long is stale, and the job goes to whoever creates JOB.N+1. No claim of another is ever
deleted, so none can be deleted by mistake. If a slow process was taken for a dead one, the job is done twice, to the
same end.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_BEATS = 6
"""Signs of life in the time after which a claim is stale."""


class Claims:
    """One process's view of the claims in a folder; `stale_s` are seconds without a sign of life."""

    def __init__(self, folder: Path, *, stale_s: float) -> None:
        self._folder = folder
        self._stale_s = stale_s
        self._watched: dict[Path, tuple[int, float]] = {}

    def take(self, job: str) -> Path | None:
        """The claim on a job, now this process's; None where another one works on it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        known = self._last(job)
        if known is not None and not self._is_stale(self._folder / f"{job}.{known}"):
            return None
        claim = self._folder / f"{job}.{0 if known is None else known + 1}"
        worker = {"host": socket.gethostname(), "pid": os.getpid()}
        try:
            with claim.open("xb") as file:
                file.write(json.dumps(worker).encode() + b"\n")
        except FileExistsError:
            return None
        return claim

    @contextlib.contextmanager
    def working(self, claim: Path) -> Iterator[None]:
        """Show signs of life meanwhile; where the work fails, others may take the job at once."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(self._stale_s / _BEATS):
                # A folder that is unreachable for a while must not end the work.
                with contextlib.suppress(OSError), claim.open("ab") as file:
                    file.write(b".")

        thread = threading.Thread(target=beat, name="claim", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                claim.unlink()
            raise
        finally:
            stop.set()
            thread.join()

    def _last(self, job: str) -> int | None:
        numbers = [path.suffix[1:] for path in self._folder.glob(f"{job}.*")]
        return max((int(number) for number in numbers if number.isdigit()), default=None)

    def _is_stale(self, claim: Path) -> bool:
        """Whether nobody works on it: its process is gone from this machine, or has been silent for too long."""
        try:
            size = claim.stat().st_size
            if _died_here(claim):
                return True
        except FileNotFoundError:
            # Its work failed a moment ago.
            return True
        now = time.monotonic()
        seen = self._watched.get(claim)
        if seen is None or seen[0] != size:
            self._watched[claim] = (size, now)
            return False
        return now - seen[1] > self._stale_s


def _died_here(claim: Path) -> bool:
    """Whether a process of this machine made the claim and is no more."""
    try:
        worker = json.loads(claim.read_bytes().split(b"\n")[0])
        if worker["host"] != socket.gethostname():
            return False
        os.kill(int(worker["pid"]), 0)
    except ProcessLookupError:
        return True
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        # Half written, or a process of another user.
        return False
    return False
