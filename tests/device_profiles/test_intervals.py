"""95 % intervals: each figure joins them as what it is, and they hold what was measured 90 to 98 times in 100."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from scipy.stats import t as student

from benchmarks import interval_coverage
from device_profiles import ASSUMED
from device_profiles import DeviceProfile
from device_profiles import LatencyEstimator
from device_profiles import PlainSums
from device_profiles import half_apart_ms
from device_profiles import t_95
from device_profiles._cross_validation import prediction_interval
from nas._costs import LATENCY
from nas._costs import CostTable
from nas.verification._verify import correct
from subdit.space import component_counts
from subdit.space import count_params
from tests.device_profiles.made_up import NOISE
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import component_ms
from tests.device_profiles.made_up import made_up_profile
from tests.device_profiles.made_up import whole_profile

UNSEEN = SPACE.sample(np.random.default_rng(5), 60)


def noisy(profile: DeviceProfile, split: float) -> DeviceProfile:
    return dataclasses.replace(profile, noise=dataclasses.replace(NOISE, split=split))


def half_of(profile: DeviceProfile) -> np.ndarray:
    """Half the interval over the latency, of sub-DiTs that no fit has seen."""
    estimate = LatencyEstimator(profile, SPACE).estimate(UNSEEN)
    return (estimate.high_ms - estimate.low_ms) / 2 / estimate.latency_ms


def test_students_t_is_scipys() -> None:
    degrees = np.arange(1, 300)
    np.testing.assert_allclose([t_95(each) for each in degrees.tolist()], student.ppf(0.975, degrees), rtol=1e-9)
    with pytest.raises(ValueError, match="at least 1 degree"):
        t_95(0)


def test_what_had_to_be_extrapolated_to_tells_of_what_is_beyond_and_of_nothing_else() -> None:
    measured = np.asarray([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    errors = np.asarray([0.09, 0.01, -0.02, 0.02, -0.01, 0.05])
    found = prediction_interval(measured * (1 + errors), measured, measured)
    inside = np.sqrt(np.mean(np.square(errors[1:5])))
    assert found.std == pytest.approx(inside) and found.inside == pytest.approx(student.ppf(0.975, 4) * inside)
    assert found.outside == pytest.approx(student.ppf(0.975, 2) * np.sqrt((0.09**2 + 0.05**2) / 2))
    halves = [found.inside, found.inside, found.outside, found.outside]
    np.testing.assert_array_equal(found.half(np.asarray([1.0, 6.0, 0.9, 6.1])), halves)
    # Left out together with the smallest, the second smallest has to be extrapolated to as well.
    pairs = prediction_interval(measured * (1 + errors), measured, measured, fold=np.asarray([0, 0, 1, 1, 2, 3]))
    assert pairs.std == pytest.approx(np.sqrt(np.mean(np.square(errors[2:5]))))
    with pytest.raises(ValueError, match="3 sub-DiTs between others, not 2"):
        prediction_interval(measured[:4], measured[:4], measured[:4])


@pytest.mark.parametrize("profile", [made_up_profile(), whole_profile(20)], ids=["calibrated", "fitted"])
def test_the_halves_of_the_rounds_join_as_a_standard_deviation_and_once(profile: DeviceProfile) -> None:
    """A split of one standard deviation s makes 1.96 s, less what the errors left out have of it already."""
    quiet = half_of(noisy(profile, 0.0))
    # All of so small a split may be noise of each model's own, which is in the errors left out.
    np.testing.assert_allclose(half_of(noisy(profile, 0.001)), quiet)
    # In fits to whole sub-DiTs and in calibrations alike.
    loud = half_of(noisy(profile, 0.5))
    std = np.sqrt(0.5**2 - (np.square(loud) - np.square(quiet)) / 1.96**2)
    assert (std < 0.05).all() and np.ptp(std) < 1e-6
    apart = [half_apart_ms(LatencyEstimator(noisy(profile, s), SPACE).estimate(UNSEEN)) for s in (0.0, 0.5)]
    np.testing.assert_allclose(apart[1], apart[0])


def test_a_plain_sum_says_that_its_interval_is_assumed() -> None:
    assumed = PlainSums(mean=0.1, between=0.06, within=0.02, groups=9)
    profile = noisy(made_up_profile(calibrated=False), 0.03)
    estimate = LatencyEstimator(profile, SPACE, plain_sums=assumed).estimate(UNSEEN)
    assert estimate.assumed and not LatencyEstimator(made_up_profile(), SPACE).estimate(UNSEEN).assumed
    counts = component_counts(SPACE, UNSEEN).astype(float)
    noise = np.sqrt(np.square(counts) @ np.square(0.01 * component_ms())) / (counts @ component_ms())
    half = np.sqrt(student.ppf(0.975, 8) ** 2 * (0.06**2 * 10 / 9 + 0.02**2) + noise**2 + (1.96 * 0.03) ** 2)
    np.testing.assert_allclose(estimate.high_ms / estimate.latency_ms, np.exp(0.1 + half), rtol=1e-4)
    np.testing.assert_allclose(estimate.low_ms / estimate.latency_ms, np.exp(0.1 - half), rtol=1e-4)
    np.testing.assert_allclose(half_apart_ms(estimate) / estimate.latency_ms, np.hypot(noise, 1.96 * 0.02), rtol=1e-4)
    # However surely others' sums are too small, the estimate is within its own interval.
    sure = LatencyEstimator(profile, SPACE, plain_sums=PlainSums(0.5, 0.001, 0.001, 9)).estimate(UNSEEN)
    assert (sure.low_ms == sure.latency_ms).all()


def test_what_all_are_off_by_alike_makes_no_ties_and_goes_with_the_first_measurements() -> None:
    source = LatencyEstimator(made_up_profile(calibrated=False), SPACE)
    known = CostTable(SPACE, source, count_params).look_up(UNSEEN)
    assert (known.high_ms > 1.25 * known.latency_ms).all()
    assert (known.half_width[LATENCY] < 0.05 * known.latency_ms).all()
    few = UNSEEN[:6]
    corrected = correct(SPACE, source, few, 1.2 * source.estimate(few).latency_ms).estimate(UNSEEN)
    truth = 1.2 * source.estimate(UNSEEN).latency_ms
    assert (np.abs(corrected.latency_ms / truth - 1) < 1e-6).all()
    assert (corrected.high_ms < 1.06 * truth).all() and (corrected.low_ms > 0.94 * truth).all()


@cache
def stored() -> tuple[interval_coverage.Stored, ...]:
    return tuple(interval_coverage.stored_timings())


def coverage_of(judged: list[interval_coverage.Judged]) -> float:
    return float(np.concatenate([one.held for one in judged]).mean())


def test_what_is_assumed_of_plain_sums_is_what_the_stored_timings_say() -> None:
    assert interval_coverage.assumed_of(stored()) == ASSUMED


def test_coverage_without_whole_measurements() -> None:
    """Of all held-out sub-DiTs together: what a profile's sums are off by, all of them are off by alike."""
    held_out = [one for one in stored() if one.kind == interval_coverage.HELD_OUT]
    assert 0.90 <= coverage_of([interval_coverage.without_whole(one, stored()) for one in held_out]) <= 0.98


def test_coverage_of_calibrated_tables() -> None:
    held_out = [one for one in stored() if one.kind == interval_coverage.HELD_OUT and one.profile.calibration]
    judged = [interval_coverage.with_whole(one) for one in held_out]
    assert len(judged) == 4 and 0.90 <= coverage_of([one for one in judged if one is not None]) <= 0.98


@pytest.mark.slow
def test_coverage_with_whole_measurements() -> None:
    judged = [interval_coverage.with_whole(one) for one in stored() if one.kind == interval_coverage.HELD_OUT]
    assert len(judged) == 6 and 0.90 <= coverage_of([one for one in judged if one is not None]) <= 0.98


def test_the_share_of_a_few_has_clopper_and_pearsons_interval() -> None:
    low, high = interval_coverage.binomial_interval(12, 12)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 12)), 1.0)
    assert interval_coverage.binomial_interval(0, 12) == (0.0, pytest.approx(1 - 0.025 ** (1 / 12)))
