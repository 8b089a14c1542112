"""What is known before the first trial."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas._costs import CHUNK
from nas._costs import exact_cost
from nas._feasible_region import find_feasible_region
from nas._feasible_region import round_up
from subdit.core.errors import InfeasibleError
from tests.nas import analytic


def test_reach_is_what_a_look_at_all_at_once_finds() -> None:
    limits = {"latency_ms": 1.5, "params": 90_000}
    tables = analytic.tables(limits)
    space = tables.space
    assert space.size > 2 * CHUNK
    encoded = space.enumerate()
    latency_ms = analytic.Latency(space).estimate(encoded).latency_ms
    params = analytic.params(space, encoded)
    kept = np.flatnonzero((latency_ms <= 1.5) & (params <= 90_000))

    reach = find_feasible_region(tables)
    assert (reach.size, reach.feasible) == (space.size, len(kept))
    assert 0 < len(kept) < space.size
    assert reach.fastest.latency_ms == latency_ms[kept].min()
    assert reach.slowest.latency_ms == latency_ms[kept].max()
    assert reach.smallest.params == params[kept].min()
    assert reach.largest.params == params[kept].max()
    assert reach.tightest["latency_ms"].latency_ms == latency_ms.min()
    for extreme in (reach.fastest, reach.slowest, reach.smallest, reach.largest):
        known = tables.look_up(space.encode([extreme.spec]))
        assert (known.latency_ms[0], known.params[0]) == (extreme.latency_ms, extreme.params)


@pytest.mark.parametrize("limits", [{"latency_ms": 0.2}, {"latency_ms": 0.2, "params": 10**9}])
def test_impossible_latency_names_the_tightest_and_its_spec(limits: dict[str, float]) -> None:
    free = find_feasible_region(analytic.tables()).fastest
    with pytest.raises(InfeasibleError) as caught:
        find_feasible_region(analytic.tables(limits))
    assert "0.2 ms" in str(caught.value)
    assert round_up(free.latency_ms) + " ms" in str(caught.value)
    assert free.spec.hash in str(caught.value) and str(free.spec) in str(caught.value)
    # The printed figure works.
    printed = {"latency_ms": float(round_up(free.latency_ms))}
    assert find_feasible_region(analytic.tables(printed)).feasible >= 1


def test_impossible_size_names_the_smallest() -> None:
    smallest = find_feasible_region(analytic.tables()).smallest
    with pytest.raises(InfeasibleError, match=f"fewest are {smallest.params:,}"):
        find_feasible_region(analytic.tables({"params": smallest.params - 1}))
    assert find_feasible_region(analytic.tables({"params": smallest.params})).feasible >= 1


def test_limits_that_only_exclude_each_other_say_so() -> None:
    # Fewer parameters are faster here, so turn one table round.
    class Slowed(analytic.Latency):
        def estimate(self, encoded):  # type: ignore[no-untyped-def]
            estimate = super().estimate(encoded)
            estimate.latency_ms = 10.0 - estimate.latency_ms
            return estimate

    tables = analytic.tables()
    limits = {"latency_ms": 7.0, "params": int(find_feasible_region(tables).smallest.params * 1.01)}
    slowed = type(tables)(tables.space, Slowed(tables.space), tables.count_params, limits)
    with pytest.raises(InfeasibleError, match="keeps both limits"):
        find_feasible_region(slowed)


@given(st.floats(1e-3, 1e5))
def test_rounding_up_never_tightens(latency_ms: float) -> None:
    shown = float(round_up(latency_ms))
    assert latency_ms <= shown <= latency_ms * 1.002


def test_three_limits_of_which_two_exclude_each_other_name_the_two() -> None:
    space = analytic.tables().space
    file_mb = exact_cost("file_mb", space, "fp32")
    least = float(file_mb(space.enumerate()).values.min())

    def upside_down(encoded):  # type: ignore[no-untyped-def]
        found = file_mb(encoded)
        return dataclasses.replace(found, values=10 - found.values)

    limits = {"latency_ms": 100.0, "file_mb": 1.05 * least, "memory_mb": 10 - 2 * least}
    tables = dataclasses.replace(
        analytic.tables(limits),
        functions={"file_mb": file_mb, "memory_mb": upside_down},
        latencies=analytic.Latency(space),
    )
    with pytest.raises(InfeasibleError) as caught:
        find_feasible_region(tables)
    said = str(caught.value)
    assert "keeps all 3 limits together" in said and "latency" not in said
    assert said.count("the tightest reachable") == 2 and "file size" in said and "peak memory" in said
    # Each figure that is named can be kept with the other limit: loosen one to it and the search may begin.
    tightest = float(re.search(r"tightest reachable file size is ([0-9.]+) MB", said)[1])  # type: ignore[index]
    loosened = limits | {"file_mb": tightest}
    assert find_feasible_region(dataclasses.replace(tables, constraints=loosened)).feasible >= 1


def test_what_a_profile_does_not_cover_is_never_feasible() -> None:
    class Partial(analytic.Latency):
        def estimate(self, encoded):  # type: ignore[no-untyped-def]
            estimate = super().estimate(encoded)
            outside = analytic.columns(self.space, encoded)["width"] > 64
            for name in ("latency_ms", "low_ms", "high_ms"):
                setattr(estimate, name, np.where(outside, np.inf, getattr(estimate, name)))
            return estimate

    tables = analytic.tables()
    partial = dataclasses.replace(tables, latencies=Partial(tables.space))
    reach = find_feasible_region(partial)
    assert reach.feasible == tables.space.size // 2
    assert np.isfinite(reach.slowest.latency_ms) and reach.largest.spec.width == 64


def test_limits_that_each_fail_alone_are_all_named() -> None:
    with pytest.raises(InfeasibleError, match="runs within 0.1 ms.*; and none has at most 10 parameters") as caught:
        find_feasible_region(analytic.tables({"latency_ms": 0.1, "params": 10}))
    assert str(caught.value).count("(") == 2


def test_file_size_is_that_of_the_weights() -> None:
    from subdit.space import PRECISIONS
    from subdit.space import component_weights
    from subdit.space import components

    space = analytic.tables().space
    encoded = space.sample(np.random.default_rng(0), 20)
    for precision in PRECISIONS:
        found = exact_cost("file_mb", space, precision)(encoded).values
        for spec, value in zip(space.decode(encoded), found, strict=True):
            parts = [component_weights(space, part) * count for part, count in components(space, spec).items()]
            whole = parts[0]
            for part in parts[1:]:
                whole = whole + part
            assert round(1e6 * value) == whole.bytes(precision)
