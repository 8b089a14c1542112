"""Which of a search's constraints sub-DiTs of other searches break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from device_profiles import DeviceProfile
from device_profiles import LatencyEstimate
from device_profiles import LatencyEstimator
from device_profiles import pipeline_latency
from device_profiles import read_profile
from reports._results import Results
from subdit.core.errors import SubditError
from subdit.core.quantities import LATENCY
from subdit.core.quantities import PER_DEVICE
from subdit.results import Trial
from subdit.space import CLOSED_FORMS
from subdit.space import MEMORY_MODEL
from subdit.space import SearchSpace
from subdit.space import closed_form_cost


@dataclass(frozen=True)
class Broken:
    """Names of the limits that one sub-DiT breaks, and of those that cannot be checked here."""

    figures: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def broken_limits(
    results: Results, profile: DeviceProfile, trials: Sequence[Trial], here: LatencyEstimate
) -> list[Broken]:
    """For each of `trials` what it breaks of the limits of `results`.

    Args:
        profile: the one that the search went by on its first device.
        here: latencies of the trials on that device.
    """
    limits = results.config["constraints"]
    values = {name: _values(name, results, profile, trials, here) for name in limits}
    unchecked = tuple(name for name, found in values.items() if found is None)
    known = {name: found for name, found in values.items() if found is not None}
    return [
        Broken(tuple(name for name, found in known.items() if found[index] > limits[name]), unchecked)
        for index in range(len(trials))
    ]


def _values(
    name: str, results: Results, profile: DeviceProfile, trials: Sequence[Trial], here: LatencyEstimate
) -> npt.NDArray[Any] | None:
    """A cost or quality of each trial; None where it cannot be had from what is here."""
    figure, _, device = name.partition("@")
    space = profile.search_space
    encoded = space.encode([trial.spec for trial in trials])
    if figure == "memory_mb" and results.config.get("memory_model") != MEMORY_MODEL:
        # The limit of a search by an earlier model is on weights and activations alone.
        return None
    try:
        if figure in CLOSED_FORMS:
            return closed_form_cost(figure, space, encoded, profile.precision)
        if figure not in PER_DEVICE:
            # Searches are compared where they have the same proxy.
            return np.asarray([trial.value(name) for trial in trials])
        step, on = here, profile
        if device:
            on = _further_profile(results, device, space)
            step = LatencyEstimator(on, space).estimate(encoded)
        if figure == LATENCY:
            return step.latency_ms
        # Searches of the first versions do not say of how many steps their pictures are.
        return pipeline_latency(on, space, step, steps=int(results.config["steps"])).latency_ms
    except (SubditError, AttributeError, KeyError, ValueError):
        return None


def _further_profile(results: Results, device: str, space: SearchSpace) -> DeviceProfile:
    """The profile that the search kept of a further device; `KeyError` where it kept none of that id."""
    for path in sorted(results.run.search(results.search).glob("device_*.json")):
        profile = read_profile(path)
        if profile.id == device and profile.is_of(space):
            return profile
    raise KeyError(device)
