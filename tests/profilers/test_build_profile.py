"""Raw timings of a kit to a profile: which way it predicts, what of a pipeline it keeps, what it leaves to others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from device_profiles import DeviceProfile
from device_profiles import LatencyEstimator
from device_profiles import summarize_errors
from profilers.kits.calibration_specs import calibration_specs
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from profilers.measuring.build_profile import build_profile
from profilers.measuring.kit_selection import check_pipeline
from profilers.measuring.kit_selection import choose_whole
from profilers.measuring.kit_selection import is_by_whole
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import Timings
from profilers.runtimes import Timing
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.space import SubDiTSpec
from subdit.space import component_counts
from tests.device_profiles.made_up import COMPONENTS
from tests.device_profiles.made_up import CONDITIONS
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import lifelike_ms
from tests.device_profiles.made_up import true_whole_ms

UNSEEN = SPACE.sample(np.random.default_rng(11), 200)
EMPTY = DeviceProfile("kettle", "none", "fp32", 1, "digits", "0" * 16, "measured", True, {}, CONDITIONS)


def kit_of(whole: int, *, parts: bool = True) -> Kit:
    """What a kit's manifest says; of its files nothing is read here."""

    def entry(name: str, spec: SubDiTSpec | None = None) -> KitEntry:
        return KitEntry(name, Path(f"{name}.onnx"), Path(f"{name}.npz"), spec)

    return Kit(
        folder=Path("kit"),
        space="digits",
        runtime="onnxruntime",
        format="onnx",
        precision="fp32",
        hash="0" * 16,
        components=tuple(entry(component.name) for component in COMPONENTS) if parts else (),
        whole=tuple(entry(spec.hash, spec) for spec in calibration_specs(SPACE, whole)),
    )


def timings_of(kit: Kit, *, plain: bool = False, rounds: int = 40) -> Timings:
    """Every model once a round, off by 1 %; whole sub-DiTs as `true_whole_ms`, or with `plain` as their sums."""
    rng = np.random.default_rng(5)
    latency = dict(zip([component.name for component in COMPONENTS], lifelike_ms().tolist(), strict=True))
    encoded = SPACE.encode([entry.spec for entry in kit.whole if entry.spec])
    sums = 1.1 * component_counts(SPACE, encoded).astype(float) @ lifelike_ms() + 0.05
    whole = sums if plain else true_whole_ms(encoded)
    latency |= dict(zip([entry.name for entry in kit.whole], whole.tolist(), strict=True))
    latency |= {"decoder": 7.0, "stranger": 1.0}
    names = [entry.name for entry in kit.components + kit.whole] + ["decoder", "stranger"]
    timings = Timings()
    for _ in range(rounds):
        timings.rounds += 1
        for name in names:
            ms = latency[name] * rng.normal(1, 0.01)
            timings.add(name, Timing(ms, ms))
        timings.add(REFERENCE, Timing(0.5, 0.5))
    return timings


def error_of(profile: DeviceProfile, *, plain: bool = False) -> float:
    counts = component_counts(SPACE, UNSEEN).astype(float)
    truth = 1.1 * counts @ lifelike_ms() + 0.05 if plain else true_whole_ms(UNSEEN)
    return summarize_errors(LatencyEstimator(profile, SPACE).estimate(UNSEEN).latency_ms, truth).mean


def test_what_predicts_left_out_sub_dits_better_is_chosen() -> None:
    """A table, where latencies are sums; a fit to whole sub-DiTs, where they are not."""
    kit = kit_of(30)
    sums = build_profile(kit, EMPTY, timings_of(kit, plain=True))
    assert sums.calibration is not None and sums.whole == ()
    assert error_of(sums, plain=True) < 0.01
    caches = build_profile(kit, EMPTY, timings_of(kit))
    assert caches.calibration is None and len(caches.whole) == 30
    assert len(caches.components) == len(COMPONENTS)
    assert error_of(caches) < 0.012
    asked = build_profile(kit, EMPTY, timings_of(kit), by_whole=False)
    assert asked.calibration is not None and error_of(asked) > 1.5 * error_of(caches)


def test_a_kit_without_parts_predicts_from_whole_sub_dits() -> None:
    kit = kit_of(60, parts=False)
    profile = build_profile(kit, EMPTY, timings_of(kit))
    assert profile.components == {} and len(profile.whole) == 60
    assert profile.noise is not None and profile.noise.component_ci == 0.0
    assert error_of(profile) < 0.05


def test_only_parts_of_a_pipeline_are_kept_of_what_was_beside() -> None:
    kit = kit_of(12)
    profile = build_profile(kit, EMPTY, timings_of(kit), pipeline=("decoder",))
    assert set(profile.pipeline) == {"decoder"}
    assert profile.pipeline["decoder"].latency_ms == pytest.approx(7.0, rel=0.02)
    assert "stranger" not in profile.components


def test_which_whole_sub_dits_are_measured() -> None:
    kit = kit_of(12)
    assert choose_whole(kit, calibrate=None, whole=None) == kit.whole
    assert choose_whole(kit, calibrate=7, whole=None) == kit.whole[:7]
    assert choose_whole(kit, calibrate=0, whole=None) == ()
    assert choose_whole(kit, calibrate=None, whole=10) == kit.whole[:10]
    with pytest.raises(KitError, match="has 12 whole sub-DiTs, not 60; make one with 'subdit kit digits .*--whole 60 "):
        choose_whole(kit, calibrate=None, whole=60)
    with pytest.raises(KitError, match="not 10"):
        choose_whole(dataclasses.replace(kit, components=(), whole=kit.whole[:5]), calibrate=None, whole=None)
    for calibrate in (0, 5, 12):
        with pytest.raises(ProfileError, match="has no parts to calibrate a table of; leave --calibrate out"):
            choose_whole(dataclasses.replace(kit, components=()), calibrate=calibrate, whole=None)
    with pytest.raises(ProfileError, match="at least 10"):
        choose_whole(kit, calibrate=None, whole=9)
    with pytest.raises(ProfileError, match="either calibrated or fitted"):
        choose_whole(kit, calibrate=6, whole=10)


def test_what_predicts_is_what_was_asked_for_or_what_predicts_better() -> None:
    kit = kit_of(12)
    assert is_by_whole(kit, calibrate=None, whole=None) is None
    assert is_by_whole(kit, calibrate=0, whole=None) is False
    assert is_by_whole(kit, calibrate=12, whole=None) is False
    assert is_by_whole(kit, calibrate=None, whole=10) is True
    assert is_by_whole(dataclasses.replace(kit, components=()), calibrate=None, whole=None) is True


def test_a_pipeline_has_two_parts() -> None:
    assert check_pipeline({"decoder": Path("a.onnx")}) == {"decoder": Path("a.onnx")}
    with pytest.raises(ProfileError, match="'camera' is no part of a pipeline"):
        check_pipeline({"camera": Path("a.onnx")})


def test_sixty_whole_sub_dits_are_spread_over_the_space() -> None:
    """All different, every value of every dimension several times, and no two dimensions moving together."""
    specs = calibration_specs(SPACE, 60)
    assert len(set(specs)) == 60
    encoded = SPACE.encode(specs)
    for at, values in enumerate(SPACE.dimensions.values()):
        counts = np.bincount(encoded[:, at], minlength=len(values))
        assert counts.min() >= 60 / len(values) / 3
    varied = encoded[:, [len(values) > 1 for values in SPACE.dimensions.values()]]
    between = np.corrcoef(varied.T) - np.eye(varied.shape[1])
    assert np.abs(between).max() < 0.5
