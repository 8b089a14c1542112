"""What is known before the first trial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas._limits import CHUNK
from nas._limits import Limits
from nas._reach import find_reach
from nas._reach import round_up
from subdit.errors import InfeasibleError
from tests.nas import analytic


def test_reach_is_what_a_look_at_all_at_once_finds() -> None:
    limits = Limits(max_latency_ms=1.5, max_params=90_000)
    tables = analytic.tables(limits)
    space = tables.space
    assert space.size > 2 * CHUNK
    encoded = space.enumerate()
    latency_ms = analytic.Latency(space).estimate(encoded).latency_ms
    params = analytic.params(space, encoded)
    kept = np.flatnonzero((latency_ms <= 1.5) & (params <= 90_000))

    reach = find_reach(tables)
    assert (reach.size, reach.feasible) == (space.size, len(kept))
    assert 0 < len(kept) < space.size
    assert reach.fastest.latency_ms == latency_ms[kept].min()
    assert reach.slowest.latency_ms == latency_ms[kept].max()
    assert reach.smallest.params == params[kept].min()
    assert reach.largest.params == params[kept].max()
    assert reach.fastest_of_all.latency_ms == latency_ms.min()
    for extreme in (reach.fastest, reach.slowest, reach.smallest, reach.largest):
        known = tables.look_up(space.encode([extreme.spec]))
        assert (known.latency_ms[0], known.params[0]) == (extreme.latency_ms, extreme.params)


@pytest.mark.parametrize("limits", [Limits(max_latency_ms=0.2), Limits(max_latency_ms=0.2, max_params=10**9)])
def test_impossible_latency_names_the_tightest_and_its_spec(limits: Limits) -> None:
    free = find_reach(analytic.tables()).fastest
    with pytest.raises(InfeasibleError) as caught:
        find_reach(analytic.tables(limits))
    assert "0.2 ms" in str(caught.value)
    assert round_up(free.latency_ms) + " ms" in str(caught.value)
    assert free.spec.hash in str(caught.value) and str(free.spec) in str(caught.value)
    # The printed figure works.
    printed = Limits(max_latency_ms=float(round_up(free.latency_ms)))
    assert find_reach(analytic.tables(printed)).feasible >= 1


def test_impossible_size_names_the_smallest() -> None:
    smallest = find_reach(analytic.tables()).smallest
    with pytest.raises(InfeasibleError, match=f"fewest are {smallest.params:,}"):
        find_reach(analytic.tables(Limits(max_params=smallest.params - 1)))
    assert find_reach(analytic.tables(Limits(max_params=smallest.params))).feasible >= 1


def test_limits_that_only_exclude_each_other_say_so() -> None:
    # Fewer parameters are faster here, so turn one table round.
    class Slowed(analytic.Latency):
        def estimate(self, encoded):  # type: ignore[no-untyped-def]
            estimate = super().estimate(encoded)
            estimate.latency_ms = 10.0 - estimate.latency_ms
            return estimate

    tables = analytic.tables()
    limits = Limits(max_latency_ms=7.0, max_params=int(find_reach(tables).smallest.params * 1.01))
    slowed = type(tables)(tables.space, Slowed(tables.space), tables.count_params, limits)
    with pytest.raises(InfeasibleError, match="keeps both limits"):
        find_reach(slowed)


@given(st.floats(1e-3, 1e5))
def test_rounding_up_never_tightens(latency_ms: float) -> None:
    shown = float(round_up(latency_ms))
    assert latency_ms <= shown <= latency_ms * 1.002
