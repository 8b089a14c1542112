"""Latencies from whole sub-DiTs: near the truth, as sure as they say, refused where there is too little."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from device_profiles import MIN_WHOLE_ROWS
from device_profiles import DeviceProfile
from device_profiles import LatencyEstimator
from device_profiles import check_plausibility
from device_profiles import fit_whole_model
from device_profiles import noise_floor
from device_profiles import profile_from_dict
from device_profiles import save_profile
from device_profiles import summarize_errors
from subdit.cli import group
from subdit.core.errors import ProfileError
from subdit.space import component_terms
from subdit.space import components_up_to
from subdit.space import count_params
from subdit.space import sum_components
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import lifelike_ms
from tests.device_profiles.made_up import true_whole_ms
from tests.device_profiles.made_up import whole_profile

UNSEEN = SPACE.sample(np.random.default_rng(77), 400)


def errors_of(profile: DeviceProfile) -> tuple[float, float]:
    """Mean error on unseen sub-DiTs, and the share of them within the interval."""
    estimate, truth = LatencyEstimator(profile, SPACE).estimate(UNSEEN), true_whole_ms(UNSEEN)
    covered = np.mean((estimate.low_ms <= truth) & (truth <= estimate.high_ms))
    return summarize_errors(estimate.latency_ms, truth).mean, float(covered)


def test_with_parts_what_no_sum_has_is_learned() -> None:
    """The calibrated sums alone are off by what the cache does to wide sub-DiTs."""
    profile = whole_profile()
    estimator = LatencyEstimator(profile, SPACE)
    assert estimator.error is not None and estimator.plain_error is not None
    mean, covered = errors_of(profile)
    assert mean < 0.008
    assert covered > 0.9
    assert estimator.error.mean < 0.6 * estimator.plain_error.mean
    assert estimator.whole_model is not None and estimator.whole_model.fit.form == "parts"


def test_without_parts_flops_and_weights_are_what_is_expected() -> None:
    profile = whole_profile(60, parts=False)
    mean, covered = errors_of(profile)
    assert mean < 0.04
    assert covered > 0.9
    with pytest.raises(ProfileError, match="no table of components"):
        LatencyEstimator(profile, SPACE).estimate_uncalibrated(UNSEEN)


def test_errors_are_of_sub_dits_that_were_left_out() -> None:
    """Of rows that are nothing but noise, a fit on all could say little wrong of itself."""
    rng = np.random.default_rng(3)
    profile = whole_profile(40)
    shuffled = tuple(
        dataclasses.replace(entry, latency=profile.whole[at].latency)
        for entry, at in zip(profile.whole, rng.permutation(40), strict=True)
    )
    model = fit_whole_model(SPACE, shuffled, parts_ms=lifelike_ms())
    spread = np.std(np.log([entry.latency.latency_ms for entry in shuffled]))
    assert model.error.mean > 0.5 * spread
    assert abs(model.error.kendall_tau) < 0.4
    assert any(finding.rule == "whole" for finding in check_plausibility(dataclasses.replace(profile, whole=shuffled)))


def test_same_profile_same_estimates_also_from_its_file() -> None:
    profile = whole_profile(20)
    again = profile_from_dict(profile.to_dict(), "kettle.json")
    assert again == profile
    fresh = fit_whole_model(SPACE, again.whole, parts_ms=lifelike_ms(), split=0.01)
    estimate = LatencyEstimator(profile, SPACE).estimate(UNSEEN)
    np.testing.assert_array_equal(estimate.latency_ms, fresh.predict(UNSEEN))
    assert check_plausibility(profile) == ()


def test_too_few_whole_sub_dits_and_no_table_are_refused() -> None:
    profile = whole_profile(MIN_WHOLE_ROWS - 1, parts=False)
    with pytest.raises(ProfileError, match=f"no table of components and {MIN_WHOLE_ROWS - 1} whole sub-DiTs"):
        LatencyEstimator(profile, SPACE)
    assert [finding.rule for finding in check_plausibility(profile)] == ["whole"]
    reported = dataclasses.replace(profile, provenance="reported", noise=None, source="a paper")
    assert check_plausibility(reported) == ()


def test_what_a_restricted_table_does_not_cover_is_infinite() -> None:
    profile = whole_profile(12)
    limit = int(np.median(count_params(SPACE, UNSEEN)))
    kept = {component.name for component in components_up_to(SPACE, limit)}
    table = {name: latency for name, latency in profile.components.items() if name in kept}
    small = dataclasses.replace(profile, components=table, max_params=limit, whole=())
    assert len(table) < len(profile.components)
    estimate = LatencyEstimator(small, SPACE).estimate(UNSEEN)
    covered = LatencyEstimator(small, SPACE).covers(UNSEEN)
    full = LatencyEstimator(dataclasses.replace(profile, whole=()), SPACE).estimate(UNSEEN)
    np.testing.assert_array_equal(np.isfinite(estimate.latency_ms), covered)
    np.testing.assert_allclose(estimate.high_ms[covered], full.high_ms[covered])
    assert covered[count_params(SPACE, UNSEEN) <= limit].all() and not covered.all()
    assert np.isinf(estimate.low_ms[~covered]).all() and np.isinf(estimate.high_ms[~covered]).all()
    # The same table is full of gaps where nothing excuses them.
    with pytest.raises(ProfileError, match="lacks"):
        LatencyEstimator(dataclasses.replace(small, max_params=None), SPACE)
    assert not [finding for finding in check_plausibility(small) if finding.rule == "gap"]


def test_whole_sub_dits_above_the_limit_are_found() -> None:
    profile = whole_profile(20)
    limit = int(count_params(SPACE, SPACE.encode([entry.spec for entry in profile.whole])).max()) - 1
    found = check_plausibility(dataclasses.replace(profile, max_params=limit))
    assert any("the profile covers at most" in finding.message for finding in found)


def test_the_noise_floor_is_the_mean_of_a_normal_error() -> None:
    rng = np.random.default_rng(0)
    assert noise_floor([0.0196], 0.001) == pytest.approx(np.abs(rng.normal(0, 0.01, 200_000)).mean(), rel=0.01)
    assert noise_floor([0.001, 0.001], [0.02, 0.02]) == pytest.approx(0.02 * np.sqrt(2 / np.pi))


def test_sums_over_places_are_sums_over_counts() -> None:
    from subdit.space import component_counts

    counts = component_counts(SPACE, UNSEEN).astype(np.float64)
    terms = component_terms(SPACE, UNSEEN)
    each = np.random.default_rng(1).uniform(1, 2, (counts.shape[1], 3))
    np.testing.assert_allclose(sum_components(terms, each), counts @ each, rtol=1e-12)
    np.testing.assert_allclose(sum_components(terms, each, squared=True), counts**2 @ each**2, rtol=1e-12)


def test_devices_show_tells_of_the_fit(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path))
    save_profile(whole_profile(20))
    shown = CliRunner().invoke(group, ["devices", "show", "kettle", "--fit"]).stdout
    for said in ("to 20 whole sub-DiTs", "within 5 %", "bias", "tau", "of that noise alone", "No drift"):
        assert said in shown, shown
