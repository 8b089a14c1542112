"""Whether what a profile says of itself, of whole sub-DiTs and of a picture's other models can be true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from device_profiles._estimator import LatencyEstimator
from device_profiles._finding import Finding
from device_profiles._profile import DeviceProfile
from device_profiles._profile import WholeLatency
from device_profiles._whole_model import MIN_WHOLE_ROWS
from subdit.core.errors import ProfileError
from subdit.core.errors import SpecError
from subdit.space import PIPELINE_PARTS
from subdit.space import SearchSpace
from subdit.space import count_params

# Runtimes whose plain path on a processor hands operators to XNNPACK, which is no delegate to name.
_XNNPACK = ("litert", "tflite")
# A fit whose sub-DiTs left out of it are off by more in the mean predicts nothing that a search could use.
_LARGEST_ERROR = 0.10


def all_whole(profile: DeviceProfile) -> tuple[WholeLatency, ...]:
    """Every whole sub-DiT of a profile, those of its calibration too."""
    return (*(profile.calibration.whole if profile.calibration else ()), *profile.whole)


def identity_findings(profile: DeviceProfile) -> Iterator[Finding]:
    """Fields that contradict each other."""
    if profile.delegated_share is not None and profile.delegate is None and profile.runtime not in _XNNPACK:
        yield Finding(
            "identity",
            f"{100 * profile.delegated_share:.0f} % of the operators are said to run on a delegate, and none is named.",
        )
    if profile.compute_precision == profile.precision:
        yield Finding(
            "identity",
            f"compute_precision is {profile.precision} as precision is; it is null where the two do not differ.",
        )
    if profile.provenance != "measured" and not profile.source:
        yield Finding("identity", f"The profile is {profile.provenance}, but does not say by whom or by what model.")
    if profile.provenance == "measured" and not profile.source:
        named = [*profile.components.items(), *profile.pipeline.items()]
        named += [(f"the whole sub-DiT '{entry.spec}'", entry.latency) for entry in all_whole(profile)]
        if untimed := [name for name, latency in named if not latency.rounds]:
            yield Finding(
                "identity",
                f"The profile is measured by subdit, yet {len(untimed)} of its latencies are of 0 timings, such as "
                f"that of {untimed[0]}; what another tool measured names it in 'source'.",
            )
    if profile.provenance == "estimated":
        latencies = [*profile.components.values(), *(entry.latency for entry in all_whole(profile))]
        if rounds := max((latency.rounds for latency in latencies), default=0):
            yield Finding("identity", f"The profile is estimated, yet has a latency of {rounds} timings.")
        if profile.noise is not None:
            yield Finding("identity", "The profile is estimated, yet states the noise of a measurement.")


def pipeline_findings(profile: DeviceProfile, space: SearchSpace) -> Iterator[Finding]:
    """Models beside the DiT that a picture of the space does not take."""
    for part in profile.pipeline:
        if part not in PIPELINE_PARTS:
            yield Finding("pipeline", f"{part!r} is no part of a pipeline; there is {', '.join(PIPELINE_PARTS)}.")
        elif part not in space.pipeline:
            yield Finding("pipeline", f"A picture of the space {space.name!r} takes no {part}, yet it has a latency.")


def whole_findings(profile: DeviceProfile, space: SearchSpace) -> Iterator[Finding]:
    """Whole sub-DiTs to predict from that are of another space, or predict nothing."""
    whole = profile.whole
    if not whole:
        return
    try:
        encoded = space.encode([entry.spec for entry in whole])
    except SpecError as strange:
        yield Finding("whole", f"The profile has a sub-DiT that is none of the space: {strange}")
        return
    for spec, times in Counter(entry.spec for entry in whole).items():
        if times > 1:
            yield Finding("whole", f"The whole sub-DiT '{spec}' is there {times} times.")
    if profile.max_params is not None:
        for entry, params in zip(whole, count_params(space, encoded).tolist(), strict=True):
            if params > profile.max_params:
                yield Finding(
                    "whole",
                    f"The whole sub-DiT '{entry.spec}' has {params:,} parameters, and the profile covers at most "
                    f"{profile.max_params:,}.",
                )
    if len(whole) < MIN_WHOLE_ROWS:
        # Points of reference, which others published, need not be enough to predict from.
        if profile.provenance == "measured" and not profile.components:
            yield Finding(
                "whole",
                f"The profile has {len(whole)} whole sub-DiTs and no table; a fit needs at least {MIN_WHOLE_ROWS}.",
            )
        return
    try:
        error = LatencyEstimator(profile, space).error
    except ProfileError as impossible:
        yield Finding("whole", str(impossible))
        return
    if error is not None and error.mean > _LARGEST_ERROR:
        yield Finding(
            "whole",
            f"Whole sub-DiTs left out of the fit are off by {100 * error.mean:.1f} % in the mean; more than "
            f"{100 * _LARGEST_ERROR:.0f} % is no prediction.",
        )
