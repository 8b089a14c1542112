"""Figures of a search that come from a profile and from closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from device_profiles import Latency
from device_profiles import LatencyEstimator
from device_profiles import half_apart_ms
from device_profiles import pipeline_latency
from nas._cost_functions import latency_column
from nas._cost_functions import memory_column
from nas._cost_functions import pipeline_column
from nas._problem import _limits
from subdit.core.errors import ProfileError
from subdit.core.errors import SearchError
from subdit.space import components_up_to
from subdit.space import count_params
from subdit.space import peak_memory_bytes
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import made_up_profile

ENCODED = SPACE.sample(np.random.default_rng(3), 200)
WITH_DECODER = dataclasses.replace(SPACE, pipeline=("decoder",))


def test_a_picture_is_what_the_profile_says_it_is() -> None:
    profile = dataclasses.replace(made_up_profile(), pipeline={"decoder": Latency(9.0, 8.0, 10.0)})
    step = LatencyEstimator(profile, SPACE).estimate(ENCODED)
    for space in (SPACE, WITH_DECODER):
        picture = pipeline_latency(profile, space, step, steps=4)
        figures = pipeline_column(profile, space, 4)(ENCODED)
        np.testing.assert_allclose(figures.values, picture.latency_ms)
        # Pictures are told apart by their steps: the decoder is the same for all.
        np.testing.assert_allclose(figures.half_width, 4 * half_apart_ms(step))
    with pytest.raises(ProfileError, match="no latency of the decoder"):
        pipeline_column(made_up_profile(), WITH_DECODER, 4)
    with pytest.raises(SearchError, match="0 steps"):
        pipeline_column(profile, SPACE, 0)


def test_a_restricted_profile_restricts_the_search() -> None:
    """What it does not cover is infinite, with no interval around it, and outside the limits."""
    profile = made_up_profile(calibrated=False)
    limit = int(np.median(count_params(SPACE, ENCODED)))
    kept = {component.name for component in components_up_to(SPACE, limit)}
    table = {name: latency for name, latency in profile.components.items() if name in kept}
    small = dataclasses.replace(profile, components=table, max_params=limit)
    figures = latency_column(LatencyEstimator(small, SPACE))(ENCODED)
    assert np.isinf(figures.values).any() and np.isfinite(figures.half_width).all()
    assert np.isfinite(figures.values[count_params(SPACE, ENCODED) <= limit]).all()
    assert _limits([small], None, None, {}, {}).max_params == limit
    assert _limits([small, profile], None, limit - 1, {}, {}).max_params == limit - 1
    assert _limits([profile], None, None, {}, {}).max_params is None


def test_memory_is_the_closed_form() -> None:
    expected = peak_memory_bytes(SPACE, ENCODED, "int8") / 1e6
    np.testing.assert_allclose(memory_column(SPACE, "int8")(ENCODED).values, expected)
    with pytest.raises(SearchError, match="weights in 'unstated'"):
        memory_column(SPACE, "unstated")
