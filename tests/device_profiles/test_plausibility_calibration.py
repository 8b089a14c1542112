"""`devices check` takes no word of a calibration on trust: what follows from the file is computed from it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from device_profiles import DeviceProfile
from device_profiles import ErrorReport
from device_profiles import Latency
from device_profiles import WholeLatency
from device_profiles import check_plausibility
from device_profiles import fit_calibration
from subdit.space import component_counts
from tests.device_profiles.made_up import COMPONENTS
from tests.device_profiles.made_up import NOISE
from tests.device_profiles.made_up import PARAMS
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import lifelike_ms
from tests.device_profiles.made_up import made_up_profile

LIFELIKE = made_up_profile(latency_ms=lifelike_ms())
BOASTFUL = {"bias": 0.0, "mean": 0.0, "worst": 0.9, "kendall_tau": 1.0, "within_5_percent": 0.0}


def calibration(profile: DeviceProfile, **values: Any) -> DeviceProfile:
    return dataclasses.replace(profile, calibration=dataclasses.replace(profile.calibration, **values))  # type: ignore[type-var]


def said_of(profile: DeviceProfile) -> list[str]:
    found = check_plausibility(profile)
    assert {finding.rule for finding in found} <= {"calibration"}
    return [finding.message for finding in found]


def report(label: str, **values: Any) -> DeviceProfile:
    return calibration(LIFELIKE, **{label: dataclasses.replace(getattr(LIFELIKE.calibration, label), **values)})


def slower(latency: Latency, factor: float) -> Latency:
    return Latency(latency.latency_ms * factor, latency.low_ms * factor, latency.high_ms * factor, latency.rounds)


def test_components_1_8_times_as_slow_are_found_whatever_the_report_says() -> None:
    slow = {name: slower(latency, 1.8) for name, latency in LIFELIKE.components.items()}
    assert LIFELIKE.calibration is not None
    boasting = dataclasses.replace(LIFELIKE.calibration.error, **BOASTFUL)
    said = said_of(calibration(dataclasses.replace(LIFELIKE, components=slow), error=boasting))
    assert any("uncalibrated_error.mean" in message and "plain sums" in message for message in said)
    assert any("states error.worst as 0.9" in message for message in said)


@pytest.mark.parametrize("label", ["error", "uncalibrated_error"])
@pytest.mark.parametrize("name", ["bias", "mean", "worst", "kendall_tau", "noise_floor"])
def test_each_figure_of_a_report_is_computed_again_and_both_are_told(label: str, name: str) -> None:
    true = getattr(getattr(LIFELIKE.calibration, label), name)
    said = said_of(report(label, **{name: true - 0.001}))
    assert any(f"{label}.{name} as {true - 0.001:.6g}, and its" in one and f"give {true:.6g}" in one for one in said)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"samples": 30}, "it is of 30 samples, and there are 12 whole sub-DiTs"),
        ({"mean": 0.4, "worst": 0.2}, "the mean, 40 %, is above the worst, 20 %"),
        ({"mean": 0.01, "bias": -0.02}, "the bias, -2 %, is farther from 0"),
        ({"within_5_percent": 0.9, "within_10_percent": 0.5}, "90 % are within 5 %, and only 50 % within 10 %"),
        ({"within_5_percent": 1.0, "worst": 0.06}, "100 % are within 5 %, and the worst is off by 6 %"),
        ({"within_5_percent": 0.5, "worst": 0.04}, "50 % are within 5 %, and the worst is off by 4 %"),
        ({"within_10_percent": 1.0, "worst": 0.2}, "100 % are within 10 %, and the worst is off by 20 %"),
    ],
)
def test_a_report_that_contradicts_itself_says_so_even_of_a_table_with_gaps(values: dict[str, Any], said: str) -> None:
    for profile in (report("error", **values), report("uncalibrated_error", **values)):
        assert any(said in message for message in said_of(profile))
        assert profile.components
        first, *_ = profile.components
        gap = {name: latency for name, latency in profile.components.items() if name != first}
        found = check_plausibility(dataclasses.replace(profile, components=gap))
        assert any(said in finding.message for finding in found)


def test_the_fitted_numbers_are_fitted_again() -> None:
    assert LIFELIKE.calibration is not None
    factors = LIFELIKE.calibration.factors
    said = said_of(calibration(LIFELIKE, factors={**factors, "ffn": factors["ffn"] + 1e-3}))
    assert any(f"factor of ffn is {factors['ffn'] + 1e-3:.6g}, and a fit" in message for message in said)
    for name in ("per_run_ms", "per_million_params_ms", "fixed_ms"):
        more = getattr(LIFELIKE.calibration, name) + 1e-4
        assert any(f"{name} is {more:.6g}" in message for message in said_of(calibration(LIFELIKE, **{name: more})))
    assert any("a relative_error of 40 %" in message for message in said_of(calibration(LIFELIKE, relative_error=0.4)))


def test_no_form_no_errors() -> None:
    (said,) = said_of(calibration(LIFELIKE, form="wishes"))
    assert "form 'wishes' is not known here" in said


def test_too_few_and_the_same_again_are_no_sub_dits_to_leave_out() -> None:
    assert LIFELIKE.calibration is not None
    whole = LIFELIKE.calibration.whole
    assert any(
        "5 whole sub-DiTs; it needs at least 6" in one for one in said_of(calibration(LIFELIKE, whole=whole[:5]))
    )
    assert any("2 times" in one for one in said_of(calibration(LIFELIKE, whole=(*whole[:-1], whole[0]))))


def test_what_is_honest_about_a_sub_dit_that_does_not_fit_is_believed() -> None:
    """One sub-DiT was 20 % off: fitted again with it, the report says so; with the old report it is found."""
    assert LIFELIKE.calibration is not None
    first, *rest = LIFELIKE.calibration.whole
    off = (dataclasses.replace(first, latency=slower(first.latency, 1.2)), *rest)
    assert said_of(calibration(LIFELIKE, whole=off))
    counts = component_counts(SPACE, SPACE.encode([entry.spec for entry in off])).astype(float)
    fitted = fit_calibration(COMPONENTS, lifelike_ms(), counts, off, params=PARAMS, split=NOISE.split)
    assert fitted.error.worst > 0.1
    assert said_of(dataclasses.replace(LIFELIKE, calibration=fitted)) == []


def test_ties_that_rounding_breaks_are_no_lie() -> None:
    """Down and Up exchanged, the sums are equal but for their last bits, on which tau then depends."""
    one, *others = SPACE.decode(SPACE.sample(np.random.default_rng(3), 10))
    one = dataclasses.replace(one, depth=(1, 2, 2), ffn_ratio=(3, 3, 4), bna_blocks=(4, 4), bna_radius=(1, 1))
    twin = dataclasses.replace(one, depth=(2, 2, 1), ffn_ratio=(4, 3, 3))
    specs = [one, twin, *others]
    counts = component_counts(SPACE, SPACE.encode(specs)).astype(float)
    assert (counts[0] == counts[1]).all()
    sums = counts @ lifelike_ms()
    drawn = sums * np.random.default_rng(4).normal(1, 0.01, len(specs))
    whole = [
        WholeLatency(spec, Latency(ms, ms * 0.99, ms * 1.01, 40))
        for spec, ms in zip(specs, drawn.tolist(), strict=True)
    ]
    fitted = fit_calibration(COMPONENTS, lifelike_ms(), counts, whole, params=PARAMS, split=NOISE.split)
    plain = fitted.uncalibrated_error
    pairs = len(specs) * (len(specs) - 1) / 2
    broken: ErrorReport = dataclasses.replace(plain, kendall_tau=plain.kendall_tau - 1 / pairs)
    profile = dataclasses.replace(LIFELIKE, calibration=dataclasses.replace(fitted, uncalibrated_error=broken))
    assert said_of(profile) == []
