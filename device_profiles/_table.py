"""The table of component latencies of a profile, in the order that a space counts its components in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from device_profiles._profile import Calibration
from device_profiles._profile import DeviceProfile
from subdit.core.errors import ProfileError
from subdit.space import SearchSpace
from subdit.space import all_components
from subdit.space import component_flops
from subdit.space import component_params
from subdit.space import components_up_to

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Latencies of the components of a space, shape (components,) in the order of `all_components`.

    Attributes:
        plain_ms: as measured; 0 where the table has none.
        half_ms: half of each 95 % interval; 0 where the table has none.
        missing: 1 where the table has none, because it covers small sub-DiTs only.
    """

    plain_ms: Floats
    half_ms: Floats
    missing: Floats


def read_table(profile: DeviceProfile, space: SearchSpace) -> Table:
    """Raises `ProfileError` where a component is missing that the profile's `max_params` does not excuse."""
    needed = components_up_to(space, profile.max_params)
    absent = [component.name for component in needed if component.name not in profile.components]
    if absent:
        raise ProfileError(
            f"The profile {profile.id} lacks {len(absent)} components of {space.name!r}, such as {absent[0]}; "
            "measure a kit made by this version."
        )
    found = [profile.components.get(component.name) for component in all_components(space)]
    return Table(
        plain_ms=np.asarray([latency.latency_ms if latency else 0.0 for latency in found]),
        half_ms=np.asarray([(latency.high_ms - latency.low_ms) / 2 if latency else 0.0 for latency in found]),
        missing=np.asarray([float(latency is None) for latency in found]),
    )


def corrected(calibration: Calibration, space: SearchSpace, plain_ms: Floats) -> Floats:
    """Latencies of components, shape (components,), as a calibration corrects them.

    Raises `KeyError` with the kind where the calibration has no factor for a kind of component.
    """
    components = all_components(space)
    factors = np.asarray([calibration.factors[component.kind] for component in components])
    corrected_ms = factors * plain_ms + calibration.per_run_ms
    return corrected_ms + calibration.per_million_params_ms * component_work(space)[:, 1] / 1e6


@cache
def component_work(space: SearchSpace) -> Floats:
    """FLOPs and parameters of each component, and 1 for running it: read-only, shape (components, 3)."""
    components = all_components(space)
    work = [(component_flops(space, one), component_params(space, one), 1) for one in components]
    made = np.asarray(work, dtype=np.float64)
    made.setflags(write=False)
    return made
