"""A picture's latency: text encoder, steps, decoder; what is missing is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from device_profiles import Latency
from device_profiles import LatencyEstimate
from device_profiles import LatencyEstimator
from device_profiles import check_plausibility
from device_profiles import pipeline_latency
from subdit.core.errors import ProfileError
from subdit.space import get_space
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import lifelike_ms
from tests.device_profiles.made_up import made_up_profile

MID = get_space("mid-256")
STEP = LatencyEstimate(np.asarray([10.0, 20.0]), np.asarray([9.0, 18.0]), np.asarray([11.5, 23.0]))
PARTS = {"text_encoder": Latency(30.0, 29.0, 31.0, 40), "decoder": Latency(120.0, 116.0, 126.0, 40)}
PROFILE = dataclasses.replace(made_up_profile(), space="mid-256", pipeline=PARTS)


def test_a_picture_is_text_encoder_and_steps_and_decoder() -> None:
    picture = pipeline_latency(PROFILE, MID, STEP, steps=4)
    np.testing.assert_allclose(picture.latency_ms, [30 + 4 * 10 + 120, 30 + 4 * 20 + 120])
    np.testing.assert_allclose(picture.dit_ms, [40, 80])
    assert picture.parts_ms == {"text_encoder": 30.0, "decoder": 120.0}
    # Steps are off together, other models by themselves.
    np.testing.assert_allclose(picture.low_ms, picture.latency_ms - np.sqrt([4.0**2 + 1 + 16, 8.0**2 + 1 + 16]))
    np.testing.assert_allclose(picture.high_ms, picture.latency_ms + np.sqrt([6.0**2 + 1 + 36, 12.0**2 + 1 + 36]))


def test_guidance_runs_the_dit_twice_and_nothing_else() -> None:
    plain, guided = (pipeline_latency(PROFILE, MID, STEP, steps=28, guidance=on) for on in (False, True))
    np.testing.assert_allclose(guided.latency_ms - plain.latency_ms, 28 * STEP.latency_ms)


def test_pixels_and_a_table_of_words_take_nothing_else() -> None:
    profile = made_up_profile()
    step = LatencyEstimator(profile, SPACE).estimate(SPACE.sample(np.random.default_rng(0), 5))
    picture = pipeline_latency(profile, SPACE, step, steps=4)
    np.testing.assert_allclose(picture.latency_ms, 4 * step.latency_ms)
    np.testing.assert_allclose(picture.low_ms, 4 * step.low_ms)
    assert picture.parts_ms == {}


def test_what_the_profile_does_not_cover_stays_infinite() -> None:
    step = LatencyEstimate(*(np.asarray([np.inf]) for _ in range(3)))
    picture = pipeline_latency(PROFILE, MID, step, steps=4)
    assert picture.latency_ms == picture.low_ms == picture.high_ms == np.inf


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named(part: str) -> None:
    rest = {name: latency for name, latency in PARTS.items() if name != part}
    with pytest.raises(ProfileError, match=f"no latency of the {part}, .* --also {part}=FILE"):
        pipeline_latency(dataclasses.replace(PROFILE, pipeline=rest), MID, STEP, steps=4)


def test_no_step_is_no_picture() -> None:
    with pytest.raises(ValueError, match="at least 1 step"):
        pipeline_latency(PROFILE, MID, STEP, steps=0)


def test_the_check_knows_which_models_a_picture_takes() -> None:
    profile = dataclasses.replace(made_up_profile(latency_ms=lifelike_ms()), pipeline=PARTS)
    found = check_plausibility(profile)
    assert [finding.rule for finding in found] == ["pipeline", "pipeline"]
    strange = check_plausibility(dataclasses.replace(profile, pipeline={"camera": PARTS["decoder"]}))
    assert "'camera' is no part of a pipeline" in strange[0].message
