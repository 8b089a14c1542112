"""Models that do not fit into memory together, long ones, and rounds that a kill cut short."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from profilers.measuring.affinity import pinned
from profilers.measuring.affinity import read_cpus
from profilers.measuring.rounds import measure_rounds
from profilers.measuring.session_pool import SessionPool
from profilers.measuring.statistics import latency_of
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import TimingLog
from profilers.measuring.timings import Timings
from profilers.runtimes.timing import FEWEST_TIMINGS
from profilers.runtimes.timing import FULL_ROUNDS
from profilers.runtimes.timing import timings_of_full_rounds
from subdit.core.errors import ProfileError
from tests.profilers.small import Doubling

NAMES = "abcdefgh"


class Loading:
    """Loads sessions that take a stated size, and counts how often."""

    def __init__(self, names: str = NAMES) -> None:
        self.loads: Counter[str] = Counter()
        self.loaders = {name: lambda name=name: self.load(name) for name in names}

    def load(self, name: str) -> Doubling:
        self.loads[name] += 1
        return Doubling()


def pool_of(loading: Loading, fitting: int) -> SessionPool:
    """As no process grows by a session of these tests, what is stated counts."""
    size = 2**40
    return SessionPool(loading.loaders, dict.fromkeys(loading.loaders, size), limit_bytes=fitting * size)


def test_sessions_unused_for_longest_make_room_for_others() -> None:
    loading = Loading()
    pool = pool_of(loading, 3)
    for name in "abca":
        pool[name]
    assert loading.loads == {"a": 1, "b": 1, "c": 1}
    pool["d"]
    assert [name for name in NAMES if pool.is_loaded(name)] == ["a", "c", "d"]
    alone = pool_of(loading, 0)
    assert alone["a"] is alone["a"] and alone["b"] is not None and not alone.is_loaded("a")


class Process:
    """The memory of a process in which sessions take little when they are loaded and more as they run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sessions: weakref.WeakSet[Growing] = weakref.WeakSet()
        self.other = 7
        monkeypatch.setattr("profilers.measuring.session_pool._resident_bytes", self.resident)

    def resident(self) -> int:
        return self.other + sum(session.bytes for session in self.sessions)

    def pool(self, limit_bytes: int) -> SessionPool:
        def load() -> Growing:
            session = Growing()
            self.sessions.add(session)
            return session

        return SessionPool(dict.fromkeys(NAMES, load), limit_bytes=limit_bytes)


class Growing(Doubling):
    bytes = 1


def test_sessions_that_grow_after_they_were_loaded_make_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    pool = process.pool(10)
    for name in "abc":
        pool[name].bytes = 4  # type: ignore[attr-defined]
    assert process.resident() - 7 == 12
    pool["d"]
    assert [name for name in NAMES if pool.is_loaded(name)] == ["b", "c", "d"]
    assert process.resident() - 7 <= 10


def test_memory_that_is_not_the_sessions_drops_no_more_than_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    pool = process.pool(10)
    for name in "abc":
        pool[name].bytes = 0  # type: ignore[attr-defined]
    process.other = 100
    pool["d"]
    assert [name for name in NAMES if pool.is_loaded(name)] == ["b", "c", "d"]


@pytest.mark.parametrize("fitting", [1, 3, 8])
def test_every_model_has_its_timings_however_few_fit_into_memory(fitting: int) -> None:
    loading = Loading()
    pool = pool_of(loading, fitting)
    timings = measure_rounds(pool, Doubling(), is_enough=lambda _: True, budget_s=0.0, min_rounds=FULL_ROUNDS)
    counts = Counter(timings.names)
    assert all(FULL_ROUNDS <= counts[name] < FULL_ROUNDS + 4 for name in NAMES)
    if fitting == len(NAMES):
        assert set(loading.loads.values()) == {1}
    else:
        # Loaded a few times each, not once per timing.
        assert max(loading.loads.values()) <= 1 + FULL_ROUNDS / 4


def test_long_models_have_fewer_timings_but_never_too_few() -> None:
    lengths_ms = [0.01, 50.0, 100.0, 400.0, 1000.0, 12_000.0, 1e6]
    planned = [timings_of_full_rounds(length) for length in lengths_ms]
    assert planned[:3] == [FULL_ROUNDS] * 3 and planned == sorted(planned, reverse=True)
    assert planned[3] == FULL_ROUNDS // 2 and planned[-1] == FEWEST_TIMINGS


def test_a_round_that_was_cut_short_goes_on_where_it_was(tmp_path: Path) -> None:
    sessions = {name: Doubling() for name in NAMES}

    def measure(rounds: int, timings: Timings, log: TimingLog) -> Timings:
        return measure_rounds(
            sessions, Doubling(), is_enough=lambda _: False, budget_s=0.0, min_rounds=rounds, timings=timings, log=log
        )

    path = tmp_path / "log.jsonl"
    first = TimingLog(path, {})
    measure(3, first.attempt(0), first)
    first.close()
    lines = path.read_text().splitlines(keepends=True)
    third = next(at for at, line in enumerate(lines) if line.startswith("[0, 3,"))
    path.write_text("".join(lines[: third + 5]))
    again = TimingLog(path, {})
    kept = Counter(again.attempt(0).names)
    assert set(kept[name] for name in NAMES) == {2, 3}
    whole = measure(3, again.attempt(0), again)
    again.close()
    assert {Counter(whole.names)[name] for name in NAMES} == {3}
    assert path.read_text().startswith("".join(lines[: third + 5]))
    assert whole.names[-1] == REFERENCE


@pytest.mark.parametrize("count", [3, 5, 8, 10])
def test_the_interval_of_few_timings_holds_the_quartile(count: int) -> None:
    """Order statistics alone would hold it in 1 - .75^n - .25^n of the cases: 76 % for five."""
    rng = np.random.default_rng(count)
    drawn = 2.0 + 0.05 * rng.standard_normal((1500, count))
    true_quartile = 2.0 + 0.05 * -0.6744898
    found = [latency_of(row) for row in drawn]
    assert np.mean([one.low_ms <= true_quartile <= one.high_ms for one in found]) >= 0.93
    assert all(one.low_ms <= one.latency_ms <= one.high_ms for one in found)


def test_a_single_timing_says_nothing_of_its_spread() -> None:
    assert latency_of(np.asarray([3.0])).relative_ci >= 1.0


def test_cores_are_read_and_given_back() -> None:
    import os

    assert read_cpus("0,2-4") == (0, 2, 3, 4)
    for text in ("", "a", "3-1", "1,,2", "-1"):
        with pytest.raises(ProfileError, match="no list of cores"):
            read_cpus(text)
    before = os.sched_getaffinity(0)
    one = min(before)
    with pinned((one,)):
        assert os.sched_getaffinity(0) == {one}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(ProfileError, match="Core 9999 cannot be used"), pinned((9999,)):
        pass
