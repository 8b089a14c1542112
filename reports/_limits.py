"""Which of a search's limits sub-DiTs of other searches break: every figure from the same closed forms and profiles.

A figure that the search limits is named in its config as `max_FIGURE`, with `@DEVICE` after it on a further device.
"""

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
from reports._results import Trial
from subdit.core.errors import SubditError
from subdit.space import MEMORY_MODEL
from subdit.space import SearchSpace
from subdit.space import count_flops
from subdit.space import get_space
from subdit.space import peak_memory_bytes
from subdit.space import weight_bytes

_PREFIX = "max_"


@dataclass(frozen=True)
class Broken:
    """Figures of one sub-DiT whose limit it breaks, and those of which nobody can say here whether it does."""

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
    limits = results.config.get("limits")
    stated = {
        name.removeprefix(_PREFIX): float(limit)
        for name, limit in (limits.items() if isinstance(limits, dict) else ())
        if limit is not None
    }
    values = {name: _values(name, results, profile, trials, here) for name in stated}
    unchecked = tuple(name for name, found in values.items() if found is None)
    known = {name: found for name, found in values.items() if found is not None}
    return [
        Broken(tuple(name for name, found in known.items() if found[at] > stated[name]), unchecked)
        for at in range(len(trials))
    ]


def _values(
    name: str, results: Results, profile: DeviceProfile, trials: Sequence[Trial], here: LatencyEstimate
) -> npt.NDArray[Any] | None:
    """A figure of each trial; None where it cannot be had from what is here."""
    figure, _, device = name.partition("@")
    space = get_space(profile.space)
    encoded = space.encode([trial.spec for trial in trials])
    try:
        match figure:
            case "quality":
                # Searches are compared where they have the same proxy.
                return np.asarray([trial.quality for trial in trials])
            case "params":
                return np.asarray([trial.params for trial in trials])
            case "file_mb":
                return weight_bytes(space, encoded, profile.precision) / 1e6
            case "memory_mb":
                if results.config.get("memory_model") != MEMORY_MODEL:
                    # The limit of a search of an earlier version is on weights and activations alone.
                    return None
                return peak_memory_bytes(space, encoded, profile.precision) / 1e6
            case "gflops":
                return count_flops(space, encoded) / 1e9
            case "latency_ms" | "pipeline_ms":
                step, on = here, profile
                if device:
                    on = _further_profile(results, device, space)
                    step = LatencyEstimator(on, space).estimate(encoded)
                if figure == "latency_ms":
                    return step.latency_ms
                # Searches of earlier versions do not say of how many steps their pictures are.
                return pipeline_latency(on, space, step, steps=int(results.config["steps"])).latency_ms
    except (SubditError, KeyError, ValueError):
        return None
    return None


def _further_profile(results: Results, device: str, space: SearchSpace) -> DeviceProfile:
    """The profile that the search kept of a further device; `KeyError` where it kept none of that id."""
    for path in sorted(results.run.search(results.search).glob("device_*.json")):
        profile = read_profile(path)
        if (profile.id, profile.space) == (device, space.name):
            return profile
    raise KeyError(device)
