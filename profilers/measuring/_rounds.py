"""The measurement protocol: interleaved rounds over everything that is measured, with a reference kernel in between.

A shared machine changes its speed from second to second, by tens of per cent. Measuring one model after another turns
that into differences between models; so every round times every model once, in an order of its own, and a reference
kernel every few milliseconds says how fast the machine was just then. A timing of a short model is the quickest of
batches of its runs, taken until they get no quicker. Models of seconds take part in fewer rounds, for their own length
averages what a short run catches or misses; and those that do not fit into memory together (`SessionPool`) are timed
several times when they are loaded, and then not in the next rounds.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from profilers._sessions import SessionPool
from profilers.runtimes import Session
from profilers.runtimes import Timing
from profilers.runtimes import time_runs
from subdit.core.files import write_atomic
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

REFERENCE = "reference"
"""Name of the reference kernel among the timings."""

BATCH_MS = 0.5
"""A batch of runs takes at least about this long: the resolution of the clock stays below a per mille."""

SHORT_MS = 4.0
"""What takes less per run is run in batches until they get no quicker.

Sampling runs one model many times in a row, so its weights lie in the nearest cache that holds them, but they get there
slowly: on a shared third-level cache, after another model's runs, a model of some megabytes gets quicker from run to
run for a while, which no sum of small parts would predict.
"""

STEADY_BATCHES = 4
"""A timing ends after so many batches in a row that were not quicker by `QUICKER` than all before them."""

QUICKER = 0.01
VISIT_MS = 30.0
"""It ends after so long, too."""

LONG_MS = 250.0
"""What takes longer per run is not run untimed before a timing: its weights and tokens fill any cache in a hundredth of
that, and in a whole sub-DiT they come from memory too."""

FULL_ROUNDS = 20
"""A measurement has at least so many rounds, and models of up to `EVERY_ROUND_MS` a timing in each of them."""

EVERY_ROUND_MS = 100.0
FEWEST_TIMINGS = 5
"""A model that takes longer has fewer timings in `FULL_ROUNDS` rounds, by the root of its length, but so many."""

VISIT_TIMINGS = 4
"""Timings in a row of a model that had to be loaded for them, if it has as many in all."""

FIRST_LONGER = 2.0
"""By how much the first run of a session takes longer than others, at most, where it takes about `LONG_MS`."""

MAX_RUNS = 1000
REFERENCE_EVERY_MS = 16.0
# After a run of more than so many milliseconds there are so many timings of the reference kernel.
REFERENCE_LONG_MS = 100.0
REFERENCE_AROUND = 2

# How often the interval is computed while measuring, in rounds; and how often raw timings reach the disk, in seconds.
_CHECK_EVERY = 5
_FLUSH_EVERY_S = 0.5
# Within a round, progress is reported so often, in seconds.
_REPORT_EVERY_S = 1.0


@dataclass(frozen=True)
class Runs:
    """Runs in a row of one timing.

    Attributes:
        untimed: before it.
        timed: of a batch.
        steady: batches in a row that must be no quicker; 0 for a single batch.
    """

    untimed: int
    timed: int
    steady: int = 0


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


def pooled(attempts: Sequence[Timings]) -> Timings:
    """All timings of several attempts, one after another."""
    return Timings(
        [name for one in attempts for name in one.names],
        [wall_ms for one in attempts for wall_ms in one.wall_ms],
        [cpu_ms for one in attempts for cpu_ms in one.cpu_ms],
        sum(one.rounds for one in attempts),
        sum(one.seconds for one in attempts),
    )


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
        lines, is_whole = ([], True) if restart else _whole_lines(path)
        if not lines or lines[0] != dict(header):
            lines, is_whole = [dict(header)], False
        if not is_whole:
            write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines))
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
        """Note that nothing more is to come, for the profile is saved; closes the log, or comes after that."""
        self.close()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps("finished") + "\n")

    def close(self) -> None:
        self._file.close()


def is_finished(path: Path, header: Mapping[str, Any]) -> bool:
    """Whether a log of this header is there and nothing more is to come; changes nothing."""
    lines, _ = _whole_lines(path)
    return bool(lines) and lines[0] == dict(header) and "finished" in lines


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
        sessions: by name; none may be named `REFERENCE`. In a `SessionPool` they need not all fit into memory.
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
    pool = sessions if isinstance(sessions, SessionPool) else SessionPool.holding(sessions)
    taking = _Taking(pool, reference, timings, log, attempt)
    names = list(pool)
    check = True

    def done_s(rounds: float) -> float:
        """Both the rounds and the budget must be over, unless it was enough before."""
        return min(timings.seconds, budget_s, budget_s * rounds / max(min_rounds, 1))

    while True:
        # Killed within a round, it goes on with the rest of that round.
        if not any(taking.is_due(name) for name in names):
            if timings.rounds >= min_rounds and (timings.seconds >= budget_s or (check and is_enough(timings))):
                break
            timings.rounds += 1
        drawn = np.random.default_rng([seed, attempt, timings.rounds]).permutation(len(names))
        due = [names[at] for at in drawn if taking.is_due(names[at])]
        taking.begin_round()
        # What is in memory comes first: what makes room for the others was timed then.
        for at, name in enumerate(sorted(due, key=lambda name: not pool.is_loaded(name))):
            taking.visit(name)
            if timings.seconds - taking.reported_s > _REPORT_EVERY_S:
                taking.reported_s = timings.seconds
                progress(done_s(timings.rounds - 1 + at / len(due)), budget_s, f"round {timings.rounds}, {name}")
        taking.take(REFERENCE, reference)
        progress(done_s(timings.rounds), budget_s, f"round {timings.rounds}")
        check = timings.rounds % _CHECK_EVERY == 0
    return timings


class _Taking:
    """Takes timings, with the reference kernel in between."""

    def __init__(
        self, pool: SessionPool, reference: Session, timings: Timings, log: TimingLog | None, attempt: int
    ) -> None:
        self._pool, self._reference, self._timings, self._log, self._attempt = pool, reference, timings, log, attempt
        self._runs = {REFERENCE: plan_runs(reference)}
        self._counts = Counter(timings.names)
        self._quickest_ms: dict[str, float] = {}
        for name, wall_ms in zip(timings.names, timings.wall_ms, strict=True):
            self._quickest_ms[name] = min(wall_ms, self._quickest_ms.get(name, np.inf))
        self._began, self._before_s = time.monotonic(), timings.seconds
        self._since_reference_ms = np.inf
        self.reported_s = timings.seconds

    def is_due(self, name: str) -> bool:
        """Whether it has fewer timings than it should have in this round."""
        each = timings_of_full_rounds(self._quickest_ms.get(name, 0.0))
        return self._counts[name] < each * self._timings.rounds / FULL_ROUNDS

    def begin_round(self) -> None:
        """The reference kernel comes first."""
        self._since_reference_ms = np.inf

    def visit(self, name: str) -> None:
        """Time a model once, or a few times if it had to be loaded."""
        was_loaded = self._pool.is_loaded(name)
        session = self._pool[name]
        if name not in self._runs:
            self._runs[name] = plan_runs(session, first_ms=self._pool.first_ms.get(name))
        each = timings_of_full_rounds(self._quickest_ms.get(name, self._pool.first_ms.get(name, 0.0)))
        for _ in range(1 if was_loaded else max(1, min(VISIT_TIMINGS, each // 2))):
            if self._since_reference_ms > REFERENCE_EVERY_MS:
                # A long run has the machine's speed just before and after it, not that of the run before last.
                for _ in range(REFERENCE_AROUND if REFERENCE_LONG_MS < self._since_reference_ms < np.inf else 1):
                    self.take(REFERENCE, self._reference)
                self._since_reference_ms = 0.0
            self._since_reference_ms += self.take(name, session)

    def take(self, name: str, session: Session) -> float:
        """One timing; returns the milliseconds that all of its runs took."""
        runs = self._runs[name]
        began = time.perf_counter()
        session.run(runs.untimed)
        timing = quickest(lambda: time_runs(session, runs.timed), runs)
        spent_ms = 1e3 * (time.perf_counter() - began)
        self._timings.seconds = self._before_s + time.monotonic() - self._began
        self._timings.add(name, timing)
        self._counts[name] += 1
        self._quickest_ms[name] = min(timing.wall_ms, self._quickest_ms.get(name, np.inf))
        if self._log is not None:
            self._log.write(self._attempt, self._timings, name, timing)
        return spent_ms


def timings_of_full_rounds(run_ms: float) -> int:
    """Timings in `FULL_ROUNDS` rounds of a model whose run takes so long."""
    return int(np.clip(round(FULL_ROUNDS * np.sqrt(EVERY_ROUND_MS / max(run_ms, 1e-6))), FEWEST_TIMINGS, FULL_ROUNDS))


def plan_runs(session: Session, *, first_ms: float | None = None) -> Runs:
    """How often to run for one timing; warms the session up. `first_ms` is what its very first run took."""
    if first_ms is not None and first_ms > FIRST_LONGER * LONG_MS:
        # In its second run ONNX Runtime takes the memory whose layout it found in the first.
        session.run(1)
        return Runs(untimed=0, timed=1)
    session.run(2)
    run_ms = min(time_runs(session, 1).wall_ms for _ in range(3))
    if run_ms > SHORT_MS:
        return Runs(untimed=0 if run_ms > LONG_MS else 1, timed=1)
    timed = int(np.clip(np.ceil(BATCH_MS / max(run_ms, 1e-6)), 1, MAX_RUNS))
    return Runs(untimed=0, timed=timed, steady=STEADY_BATCHES)


def quickest(time_batch: Callable[[], Timing], runs: Runs) -> Timing:
    """The quickest of batches that are timed until `runs.steady` in a row were no quicker, or `VISIT_MS` are over."""
    best = time_batch()
    spent_ms, steady = best.wall_ms * runs.timed, 0
    while steady < runs.steady and spent_ms < VISIT_MS:
        batch = time_batch()
        spent_ms += batch.wall_ms * runs.timed
        steady = 0 if batch.wall_ms < (1 - QUICKER) * best.wall_ms else steady + 1
        best = min(best, batch, key=lambda timing: timing.wall_ms)
    return best


def _whole_lines(path: Path) -> tuple[list[Any], bool]:
    """Values of all lines that were written whole, up to the first that was not, and whether there is none such."""
    if not path.exists():
        return [], True
    values: list[Any] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            value = json.loads(line)
        except ValueError:
            return values, False
        if not line.endswith("\n") or (values and not _is_timing(value)):
            return values, False
        values.append(value)
    return values, True


def _is_timing(value: Any) -> bool:
    if value == "finished":
        return True
    kinds: Sequence[Any] = (int, int, (int, float), str, (int, float), (int, float))
    return (
        isinstance(value, list)
        and len(value) == len(kinds)
        and all(isinstance(entry, kind) for entry, kind in zip(value, kinds, strict=True))
    )
