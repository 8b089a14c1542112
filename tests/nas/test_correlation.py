"""Rank correlations of many samples at once, and their intervals, against scipy's of one after another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

import device_profiles
from nas.proxy_benchmark._correlation import Correlation
from nas.proxy_benchmark._correlation import Floats
from nas.proxy_benchmark._correlation import agreement
from nas.proxy_benchmark._correlation import expected_agreement
from nas.proxy_benchmark._correlation import kendall_tau
from nas.proxy_benchmark._correlation import spearman_rho

Reference = Callable[[Floats, Floats], float]
PAIRS = [(kendall_tau, device_profiles.kendall_tau), (spearman_rho, device_profiles.spearman_rho)]


@pytest.mark.parametrize(("measure", "reference"), PAIRS)
@pytest.mark.parametrize(("count", "distinct"), [(2, 2), (5, 2), (24, 6), (24, 10**6), (100, 30)])
def test_many_samples_correlate_as_each_does(
    measure: Correlation, reference: Reference, count: int, distinct: int
) -> None:
    rng = np.random.default_rng(4)
    first, second = (rng.integers(0, distinct, (60, count)).astype(np.float64) for _ in range(2))
    # What is constant ranks nothing, and what is infinite ranks last.
    first[0], second[1], first[2, :2] = 3.0, 3.0, np.inf
    expected = [reference(one, other) for one, other in zip(first, second, strict=True)]
    np.testing.assert_allclose(measure(first, second), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("measure", "reference"), PAIRS)
@pytest.mark.parametrize("count", [8, 24, 300])
def test_an_interval_is_that_of_one_resample_after_another(
    measure: Correlation, reference: Reference, count: int
) -> None:
    """Of 300 values not all resamples are looked at together."""
    rng = np.random.default_rng(3)
    first = rng.standard_normal(count)
    second = np.round(first + rng.standard_normal(count), 1)
    found = agreement(measure, first, second, seed=7, draws=150)
    expected = stats.bootstrap(
        (first, second),
        reference,
        paired=True,
        vectorized=False,
        n_resamples=150,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert (found.value, found.low, found.high) == pytest.approx((reference(first, second), *expected), abs=1e-12)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    # Of two normal variables with correlation rho, tau is 2/pi asin(rho).
    rho, held = 0.8, 0
    for seed in range(60):
        first = rng.standard_normal(40)
        second = rho * first + np.sqrt(1 - rho**2) * rng.standard_normal(40)
        found = agreement(kendall_tau, first, second, seed=seed, draws=200)
        assert found.low <= found.value <= found.high and found.count == 40
        held += found.low <= 2 / np.pi * np.arcsin(rho) <= found.high
    assert held >= 50


@pytest.mark.parametrize("noise", [0.2, 0.5, 1.0])
def test_what_is_expected_agrees_better_with_a_look_than_two_looks_do(noise: float) -> None:
    rng = np.random.default_rng(2)
    quality = rng.standard_normal(20_000)
    looks = [quality + noise * rng.standard_normal(len(quality)) for _ in range(2)]
    between, with_expected = (stats.kendalltau(one, looks[0]).statistic for one in (looks[1], quality))
    assert with_expected > between + 0.05
    assert expected_agreement(between) == pytest.approx(with_expected, abs=0.01)
    assert expected_agreement(1.0) == pytest.approx(1.0) and expected_agreement(-0.3) == 0.0
