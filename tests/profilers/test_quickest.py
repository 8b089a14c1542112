"""A timing of a short model is the quickest of batches that are taken until they get no quicker."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilers.runtimes import Timing
from profilers.runtimes.timing import BATCH_MS
from profilers.runtimes.timing import LONG_MS
from profilers.runtimes.timing import QUICKER
from profilers.runtimes.timing import SHORT_MS
from profilers.runtimes.timing import STEADY_BATCHES
from profilers.runtimes.timing import VISIT_MS
from profilers.runtimes.timing import Runs
from profilers.runtimes.timing import plan_runs
from profilers.runtimes.timing import quickest

SHORT = Runs(untimed=0, timed=1, steady=STEADY_BATCHES)
# Made up, in milliseconds: runs that get quicker while weights come into a cache, and then no more.
FILLING_A_CACHE = (2.58, 2.14, 1.88, 1.75, 1.61, 1.48, 1.34, 1.31, 1.28, 1.21, 1.22, 1.21, 1.21, 1.22)


class Batches:
    """Gives the timings out one by one, the last one for ever."""

    def __init__(self, wall_ms: Iterable[float]) -> None:
        self.wall_ms = list(wall_ms)
        self.taken = 0

    def __call__(self) -> Timing:
        wall_ms = self.wall_ms[min(self.taken, len(self.wall_ms) - 1)]
        self.taken += 1
        return Timing(wall_ms, wall_ms)


def test_a_model_is_timed_with_its_weights_in_the_cache() -> None:
    batches = Batches(FILLING_A_CACHE)
    assert quickest(batches, SHORT).wall_ms == 1.21
    assert batches.taken == len(FILLING_A_CACHE)


def test_an_interrupted_batch_neither_counts_nor_ends_it() -> None:
    batches = Batches([1.5, 9.0, 1.2, 1.2, 8.0, 1.1, 1.1])
    assert quickest(batches, SHORT).wall_ms == 1.1


def test_what_never_settles_is_left_after_a_while() -> None:
    batches = Batches(3.9 * 0.98**at for at in range(1000))
    found = quickest(batches, SHORT)
    spent_ms = sum(batches.wall_ms[: batches.taken])
    assert spent_ms - found.wall_ms < VISIT_MS <= spent_ms


def test_a_long_model_is_run_once() -> None:
    batches = Batches([30.0, 20.0])
    assert quickest(batches, Runs(untimed=1, timed=1)).wall_ms == 30.0 and batches.taken == 1


@given(st.lists(st.floats(0.01, 3.9), min_size=1, max_size=60))
def test_it_is_the_smallest_seen_and_nothing_after_it_was_quicker(wall_ms: list[float]) -> None:
    batches = Batches(wall_ms)
    found = quickest(batches, SHORT)
    seen = [batches.wall_ms[min(at, len(wall_ms) - 1)] for at in range(batches.taken)]
    assert found.wall_ms == min(seen)
    if sum(seen) < VISIT_MS:
        before = seen[:-STEADY_BATCHES]
        assert before and min(seen[-STEADY_BATCHES:]) >= (1 - QUICKER) ** STEADY_BATCHES * min(before)


class Sleepless:
    """A session whose runs take a time that is given, not waited for."""

    def __init__(self, run_ms: float) -> None:
        self.run_ms = run_ms

    def run(self, times: int) -> None:
        pass


@pytest.mark.parametrize(
    ("run_ms", "expected"),
    [
        (0.01, Runs(0, 50, STEADY_BATCHES)),
        (SHORT_MS, Runs(0, 1, STEADY_BATCHES)),
        (SHORT_MS + 1, Runs(1, 1)),
        (LONG_MS + 1, Runs(0, 1)),
    ],
)
def test_how_often_a_model_runs_follows_from_its_length(
    run_ms: float, expected: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "profilers.runtimes.timing.time_runs", lambda session, times: Timing(session.run_ms, session.run_ms)
    )
    assert plan_runs(Sleepless(run_ms)) == expected  # type: ignore[arg-type]
    assert expected.timed * run_ms >= BATCH_MS * 0.999
