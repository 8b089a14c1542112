"""The measurement protocol: interleaved rounds over everything that is measured, with a reference kernel in between.

A shared machine changes its speed from second to second, by tens of per cent. Measuring one model after another turns
that into differences between models; so every round times every model once, in an order of its own, and a reference
kernel every few milliseconds says how fast the machine was just then. Models of microseconds are run many times per
timing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from profilers._runtimes import Session
from profilers._runtimes import Timing
from profilers._runtimes import time_runs
from subdit.progress import ProgressCallback
from subdit.progress import no_progress

REFERENCE = "reference"
"""Name of the reference kernel among the timings."""

TIMING_MS = 2.0
"""A timing takes at least about this long: the resolution of clock and scheduler stays below a per cent."""

SHORT_MS = 4.0
"""What takes less per run is also timed for at least `SHORT_RUNS` runs, after as many as `SHORT_WARM_UPS` untimed ones.

Sampling runs one model many times in a row, so its weights lie in the nearest cache that holds them. A single run after
another model's is up to a third slower on models of a few megabytes, which no sum of parts would predict.
"""

SHORT_RUNS = 3
SHORT_WARM_UPS = 2
MAX_RUNS = 1000
REFERENCE_EVERY_MS = 8.0

# How often the interval is computed while measuring, in rounds; and how often raw timings reach the disk, in seconds.
_CHECK_EVERY = 5
_FLUSH_EVERY_S = 0.5


@dataclass(frozen=True)
class Runs:
    """Runs in a row of one timing."""

    untimed: int
    timed: int


@dataclass
class Timings:
    """Raw timings in the order in which they were taken; append-only."""

    names: list[str] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0

    def add(self, name: str, timing: Timing) -> None:
        self.names.append(name)
        self.wall_ms.append(timing.wall_ms)
        self.cpu_ms.append(timing.cpu_ms)


class TimingLog:
    """Timings in an append-only file, so that a killed measurement goes on where it was.

    One JSON value per line: first a header that says what was measured where, then per timing
    [attempt, round, seconds, name, wall_ms, cpu_ms]. A torn last line, as a kill leaves it, is cut off.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, restart: bool = False) -> None:
        """Open, or begin anew where the file is of something else (`header` differs), or where `restart` is set."""
        self.path = path
        self.attempts: list[Timings] = []
        self.finished = False
        lines = [] if restart else _whole_lines(path)
        if not lines or lines[0] != dict(header):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(dict(header)) + "\n", encoding="utf-8")
            lines = []
        else:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        for line in lines[1:]:
            if line == "finished":
                self.finished = True
                continue
            attempt, at_round, seconds, name, wall_ms, cpu_ms = line
            timings = self.attempt(attempt)
            timings.add(name, Timing(wall_ms, cpu_ms))
            timings.rounds, timings.seconds = at_round, seconds
        self._file = path.open("a", encoding="utf-8")
        self._flushed = time.monotonic()

    def attempt(self, number: int) -> Timings:
        """Timings of one attempt, empty where it has not begun."""
        while len(self.attempts) <= number:
            self.attempts.append(Timings())
        return self.attempts[number]

    def write(self, attempt: int, timings: Timings, name: str, timing: Timing) -> None:
        taken = [round(timings.seconds, 3), name, round(timing.wall_ms, 7), round(timing.cpu_ms, 7)]
        self._file.write(json.dumps([attempt, timings.rounds, *taken]) + "\n")
        if time.monotonic() - self._flushed > _FLUSH_EVERY_S:
            self._file.flush()
            self._flushed = time.monotonic()

    def flush(self) -> None:
        """See to it that all of it is on its way to the disk."""
        self._file.flush()

    def finish(self) -> None:
        """Note that nothing more is to come."""
        self._file.write(json.dumps("finished") + "\n")
        self.close()

    def close(self) -> None:
        self._file.close()


def measure_rounds(
    sessions: Mapping[str, Session],
    reference: Session,
    *,
    is_enough: Callable[[Timings], bool],
    budget_s: float,
    min_rounds: int,
    timings: Timings | None = None,
    log: TimingLog | None = None,
    attempt: int = 0,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Timings:
    """Time everything in interleaved rounds until `is_enough`, or until the budget is used up.

    Args:
        sessions: by name; none may be named `REFERENCE`.
        reference: the reference kernel.
        is_enough: asked every few rounds, after `min_rounds`.
        budget_s: seconds for this attempt, those of earlier, killed processes included; at least `min_rounds` are made.
        min_rounds: rounds that are made whatever the budget says.
        timings: earlier timings of this attempt to go on with.
        log: keeps every timing as it is taken.
        attempt: number of the attempt, for the log and the order of the rounds.
        seed: of the order within rounds.
        progress: reports seconds of the budget.

    Returns:
        All timings of the attempt.
    """
    timings = Timings() if timings is None else timings
    names = [REFERENCE, *sessions]
    every = {REFERENCE: reference, **sessions}
    runs = {name: plan_runs(session) for name, session in every.items()}
    began, before = time.monotonic(), timings.seconds

    def take(name: str) -> Timing:
        session = every[name]
        session.run(runs[name].untimed)
        timing = time_runs(session, runs[name].timed)
        timings.seconds = before + time.monotonic() - began
        timings.add(name, timing)
        if log is not None:
            log.write(attempt, timings, name, timing)
        return timing

    check = True
    while timings.rounds < min_rounds or timings.seconds < budget_s:
        if check and timings.rounds >= min_rounds and is_enough(timings):
            break
        timings.rounds += 1
        since_reference_ms = np.inf
        for at in np.random.default_rng([seed, attempt, timings.rounds]).permutation(len(names) - 1):
            name = names[at + 1]
            if since_reference_ms > REFERENCE_EVERY_MS:
                take(REFERENCE)
                since_reference_ms = 0.0
            since_reference_ms += take(name).wall_ms * (runs[name].untimed + runs[name].timed)
        take(REFERENCE)
        progress(min(timings.seconds, budget_s), budget_s, f"round {timings.rounds}")
        check = timings.rounds % _CHECK_EVERY == 0
    return timings


def plan_runs(session: Session) -> Runs:
    """How often to run for one timing; warms the session up."""
    session.run(SHORT_WARM_UPS)
    quickest = min(time_runs(session, 1).wall_ms for _ in range(3))
    short = quickest < SHORT_MS
    timed = int(np.clip(np.ceil(TIMING_MS / max(quickest, 1e-6)), SHORT_RUNS if short else 1, MAX_RUNS))
    return Runs(untimed=SHORT_WARM_UPS if short else 1, timed=timed)


def _whole_lines(path: Path) -> list[Any]:
    """Values of all lines that were written whole, up to the first that was not."""
    if not path.exists():
        return []
    values: list[Any] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            value = json.loads(line)
        except ValueError:
            break
        if not line.endswith("\n") or (values and not _is_timing(value)):
            break
        values.append(value)
    return values


def _is_timing(value: Any) -> bool:
    if value == "finished":
        return True
    kinds: Sequence[Any] = (int, int, (int, float), str, (int, float), (int, float))
    return (
        isinstance(value, list)
        and len(value) == len(kinds)
        and all(isinstance(entry, kind) for entry, kind in zip(value, kinds, strict=True))
    )
