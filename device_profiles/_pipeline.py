"""Latency of a whole picture: text encoder, steps of the DiT, decoder, each as it was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._estimator import LatencyEstimate
from device_profiles._estimator import half_apart_ms
from device_profiles._fingerprint import fingerprint
from device_profiles._fingerprint import latency_numbers
from device_profiles._profile import DeviceProfile
from subdit.core.errors import ProfileError
from subdit.space import SearchSpace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PipelineLatency:
    """Latencies of a picture with n sub-DiTs in milliseconds with 95 % intervals; arrays of shape (n,).

    Attributes:
        apart_ms: half the 95 % interval by which pictures of two sub-DiTs are told apart, see `half_apart_ms`: the
            other parts are the same for all.
        dit_ms: all runs of the DiT together, shape (n,).
        parts_ms: what else a picture takes, once each, such as "decoder"; empty where the space has no such parts.
    """

    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats
    apart_ms: Floats
    dit_ms: Floats
    parts_ms: dict[str, float]


def pipeline_fingerprint(step: str, profile: DeviceProfile, space: SearchSpace) -> str:
    """Hash of what pictures' latencies are computed from, the number of steps apart.

    Args:
        step: the fingerprint of the latencies of one step.
        profile: whose `pipeline` has the parts that the space says a picture takes.
    """
    return fingerprint([step, {part: latency_numbers(profile.pipeline[part]) for part in space.pipeline}])


def pipeline_latency(
    profile: DeviceProfile, space: SearchSpace, step: LatencyEstimate, *, steps: int, guidance: bool = False
) -> PipelineLatency:
    """Text encoder + steps x DiT (x 2 with guidance) + decoder.

    The relative error of a DiT's estimate is the same in every step, so its interval grows with the steps; the
    parts' intervals are of other models and join as independent errors do.

    Args:
        profile: whose `pipeline` has the parts that the space says a picture takes.
        space: that the sub-DiTs are of.
        step: latencies of one step, as `LatencyEstimator.estimate` gives them.
        steps: of the sampler, at least 1.
        guidance: whether the DiT runs on the prompt and on the empty prompt; the latter's embedding is kept.

    Raises:
        ProfileError: the profile lacks a part, by name.
        ValueError: no step.
    """
    if steps < 1:
        raise ValueError(f"a picture takes at least 1 step, not {steps}")
    if missing := [part for part in space.pipeline if part not in profile.pipeline]:
        raise ProfileError(
            f"The profile {profile.id} has no latency of the {missing[0]}, which a picture of space {space.name!r} "
            f"takes; measure it with 'subdit profile KIT --also {missing[0]}=FILE'."
        )
    runs = steps * (2 if guidance else 1)
    parts = {part: profile.pipeline[part] for part in space.pipeline}
    dit_ms = runs * step.latency_ms
    latency = dit_ms + sum(part.latency_ms for part in parts.values())
    below = runs * _difference(step.latency_ms, step.low_ms)
    above = runs * _difference(step.high_ms, step.latency_ms)
    for part in parts.values():
        below = np.hypot(below, part.latency_ms - part.low_ms)
        above = np.hypot(above, part.high_ms - part.latency_ms)
    return PipelineLatency(
        latency_ms=latency,
        low_ms=np.maximum(latency - below, 0.0),
        high_ms=latency + above,
        apart_ms=runs * half_apart_ms(step),
        dit_ms=dit_ms,
        parts_ms={name: part.latency_ms for name, part in parts.items()},
    )


def _difference(large: Floats, small: Floats) -> Floats:
    """The difference, 0 between infinities."""
    return np.subtract(large, small, out=np.zeros_like(large), where=np.isfinite(large) & np.isfinite(small))
