"""How one session is timed: batches of runs in a row, how many of them, and in how many rounds.

A timing of a short model is the quickest of batches of its runs, taken until they get no quicker. Models of seconds
have fewer timings, for their own length averages what a short run catches or misses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from profilers.runtimes._runtime import Session

BATCH_MS = 0.5
"""A batch of runs takes at least about this long: the resolution of the clock stays below a per mille."""

SHORT_MS = 4.0
"""What takes less per run is run in batches until they get no quicker.

Sampling runs one model many times in a row, so its weights lie in the nearest cache that holds them, but they get there
slowly: on a shared third-level cache, after another model's runs, a model of some megabytes gets quicker from run to
run for a while, which no sum of small parts would predict.
"""

STEADY_BATCHES = 4
"""A timing ends after this number of batches in a row that were not quicker by `QUICKER` than all before them."""

QUICKER = 0.01
VISIT_MS = 30.0
"""A timing ends after this long, too."""

LONG_MS = 250.0
"""What takes longer per run is not run untimed before a timing: its weights and tokens fill any cache in a hundredth of
that, and in a whole sub-DiT they come from memory too."""

FULL_ROUNDS = 20
"""A measurement has at least this number of rounds, and models of up to `EVERY_ROUND_MS` a timing in each of them."""

EVERY_ROUND_MS = 100.0
FEWEST_TIMINGS = 5
"""A model that takes longer has fewer timings in `FULL_ROUNDS` rounds, by the root of its length, but not fewer."""

FIRST_LONGER = 2.0
"""By how much the first run of a session takes longer than others, at most, where it takes about `LONG_MS`."""

MAX_RUNS = 1000


@dataclass(frozen=True)
class Timing:
    """One timing of some runs in a row, per run; `cpu_ms` is the time the calling thread really had a core."""

    wall_ms: float
    cpu_ms: float


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


def time_runs(session: Session, times: int) -> Timing:
    """Time runs in a row. The processor time tells a run that was interrupted from one that was slow."""
    cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
    session.run(times)
    wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
    return Timing(wall_ms=wall / times / 1e6, cpu_ms=cpu / times / 1e6)


def timings_of_full_rounds(run_ms: float) -> int:
    """Timings in `FULL_ROUNDS` rounds of a model whose run takes `run_ms`."""
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
