"""The measurement protocol: interleaved rounds over everything that is measured, with a reference kernel in between.

A shared machine changes its speed from second to second, by tens of per cent. Measuring one model after another turns
that into differences between models; so every round times every model once, in an order of its own, and a reference
kernel every few milliseconds says how fast the machine was just then. Models of seconds take part in fewer rounds, and
those that do not fit into memory together (`SessionPool`) are timed several times when they are loaded, and then not in
the next rounds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping

import numpy as np

from profilers.measuring.session_pool import SessionPool
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import TimingLog
from profilers.measuring.timings import Timings
from profilers.runtimes import Session
from profilers.runtimes import time_runs
from profilers.runtimes.timing import FULL_ROUNDS
from profilers.runtimes.timing import plan_runs
from profilers.runtimes.timing import quickest
from profilers.runtimes.timing import timings_of_full_rounds
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

VISIT_TIMINGS = 4
"""Timings in a row of a model that had to be loaded for them, if it has that many in all."""

REFERENCE_EVERY_MS = 16.0
REFERENCE_LONG_MS = 100.0
"""After a run of more than this there are `REFERENCE_AROUND` timings of the reference kernel."""

REFERENCE_AROUND = 2

# How often the interval is computed while measuring, in rounds.
_CHECK_EVERY = 5
# Within a round, progress is reported this often, in seconds.
_REPORT_EVERY_S = 1.0


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
    stopwatch = _Stopwatch(pool, reference, timings, log, attempt)
    names = list(pool)
    check = True

    def done_s(rounds: float) -> float:
        """Seconds of the budget that are done; both the rounds and the budget must be over, if not enough before."""
        return min(timings.seconds, budget_s, budget_s * rounds / max(min_rounds, 1))

    while True:
        # Killed within a round, it goes on with the rest of that round.
        if not any(stopwatch.is_due(name) for name in names):
            if timings.rounds >= min_rounds and (timings.seconds >= budget_s or (check and is_enough(timings))):
                break
            timings.rounds += 1
        drawn = np.random.default_rng([seed, attempt, timings.rounds]).permutation(len(names))
        due = [names[index] for index in drawn if stopwatch.is_due(names[index])]
        stopwatch.begin_round()
        # What is in memory comes first: what makes room for the others was timed then.
        for done, name in enumerate(sorted(due, key=lambda name: not pool.is_loaded(name))):
            stopwatch.visit(name)
            if timings.seconds - stopwatch.reported_s > _REPORT_EVERY_S:
                stopwatch.reported_s = timings.seconds
                progress(done_s(timings.rounds - 1 + done / len(due)), budget_s, f"round {timings.rounds}, {name}")
        stopwatch.take(REFERENCE, reference)
        progress(done_s(timings.rounds), budget_s, f"round {timings.rounds}")
        check = timings.rounds % _CHECK_EVERY == 0
    return timings


class _Stopwatch:
    """Takes timings of a round, with the reference kernel in between."""

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
        """Let the reference kernel come first."""
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
