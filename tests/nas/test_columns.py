"""Figures of a search that come from a profile and from closed forms."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import LatencyEstimator
from device_profiles import half_apart_ms
from device_profiles import pipeline_latency
from nas._config import SearchConfig
from nas._costs import LatencyCost
from nas._costs import PipelineCost
from nas._costs import exact_cost
from nas._problem import resolve
from subdit.core.errors import ProfileError
from subdit.core.errors import SearchError
from subdit.core.errors import SpaceError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import components_up_to
from subdit.space import count_params
from subdit.space import peak_memory_bytes
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import made_up_profile
from tests.nas import analytic

ENCODED = SPACE.sample(np.random.default_rng(3), 200)
WITH_DECODER = dataclasses.replace(SPACE, pipeline=("decoder",))


def test_a_picture_is_what_the_profile_says_it_is() -> None:
    profile = dataclasses.replace(made_up_profile(), pipeline={"decoder": Latency(9.0, 8.0, 10.0)})
    step = LatencyEstimator(profile, SPACE).estimate(ENCODED)
    for space in (SPACE, WITH_DECODER):
        picture = pipeline_latency(profile, space, step, steps=4)
        figures = PipelineCost(profile, space, 4, LatencyEstimator(profile, SPACE))(ENCODED)
        np.testing.assert_allclose(figures.values, picture.latency_ms)
        # Pictures are told apart by their steps: the decoder is the same for all.
        np.testing.assert_allclose(figures.half_width, 4 * half_apart_ms(step))
    with pytest.raises(ProfileError, match="no latency of the decoder"):
        PipelineCost(made_up_profile(), WITH_DECODER, 4, analytic.Latency(SPACE))
    with pytest.raises(SearchError, match="0 steps"):
        SearchConfig((profile,), steps=0)


def test_a_restricted_profile_restricts_the_search(tmp_path: Path) -> None:
    """What it does not cover is infinite, with no interval around it, and outside the limits."""
    profile = made_up_profile(calibrated=False)
    limit = int(np.median(count_params(SPACE, ENCODED)))
    kept = {component.name for component in components_up_to(SPACE, limit)}
    table = {name: latency for name, latency in profile.components.items() if name in kept}
    small = dataclasses.replace(profile, components=table, max_params=limit)
    figures = LatencyCost(LatencyEstimator(small, SPACE))(ENCODED)
    assert np.isinf(figures.values).any() and np.isfinite(figures.half_width).all()
    assert np.isfinite(figures.values[count_params(SPACE, ENCODED) <= limit]).all()
    run = Run(tmp_path / "run")
    start_manifest(run, space=SPACE.name)
    full = dataclasses.replace(profile, device="full")

    def resolved(*profiles: DeviceProfile, **constraints: float) -> dict[str, float]:
        objectives = ("latency_ms", analytic.Loss(SPACE))
        return dict(resolve(run, SearchConfig(profiles, objectives, constraints)).tables.constraints)

    assert resolved(small) == {"params": limit}
    assert resolved(small, full, params=limit - 1) == {"params": limit - 1}
    assert resolved(full, small, params=limit + 1) == {"params": limit}
    assert resolved(profile) == {}


def test_memory_is_the_closed_form() -> None:
    expected = peak_memory_bytes(SPACE, ENCODED, "int8") / 1e6
    np.testing.assert_allclose(exact_cost("memory_mb", SPACE, "int8")(ENCODED).values, expected)
    with pytest.raises(SpaceError, match="no memory_mb for weights in 'unstated'"):
        exact_cost("memory_mb", SPACE, "unstated")
