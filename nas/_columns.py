"""Figures of sub-DiTs beyond the first device's latency: other devices, whole pictures, memory, file size, FLOPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import supernet.space
from nas._limits import Column
from nas._limits import Figures
from nas._limits import LatencySource
from subdit.errors import SearchError
from supernet.space import EncodedSpecs
from supernet.space import SearchSpace
from supernet.space import WeightSizes
from supernet.space import all_components
from supernet.space import component_counts
from supernet.space import component_weights
from supernet.space import count_flops

if TYPE_CHECKING:
    from device_profiles import DeviceProfile

MEGA = 1e6
GIGA = 1e9


def latency_column(latencies: LatencySource) -> Column:
    """Latency of one step in milliseconds."""

    def column(encoded: EncodedSpecs) -> Figures:
        estimate = latencies.estimate(encoded)
        half = (np.asarray(estimate.high_ms) - np.asarray(estimate.low_ms)) / 2
        return Figures(np.asarray(estimate.latency_ms, dtype=np.float64), np.asarray(half, dtype=np.float64))

    return column


def pipeline_column(profile: DeviceProfile, space: SearchSpace, steps: int) -> Column:
    """Latency of a whole picture of `steps` steps in milliseconds, text encoder and decoder included.

    Raises `SearchError` where the profile lacks what else a picture takes.
    """
    from device_profiles import LatencyEstimator

    if steps < 1:
        raise SearchError(f"A picture cannot be drawn in {steps} steps; take at least 1.")
    missing = [part for part in ("text_encoder", "decoder") if part not in profile.pipeline]
    if missing:
        raise SearchError(
            f"The profile {profile.id} has no latency of the {missing[0].replace('_', ' ')}, so the time of a whole "
            "picture is not known; search by the latency of one step."
        )
    one_step = latency_column(LatencyEstimator(profile, space))
    fixed = list(profile.pipeline.values())
    fixed_ms = sum(part.latency_ms for part in fixed)
    fixed_half = float(np.sqrt(sum(((part.high_ms - part.low_ms) / 2) ** 2 for part in fixed)))

    def column(encoded: EncodedSpecs) -> Figures:
        step = one_step(encoded)
        # An error of the estimate is the same in each step, so it adds up; those of the parts are others.
        return Figures(fixed_ms + steps * step.values, np.hypot(steps * step.half_width, fixed_half))

    return column


def flops_column(space: SearchSpace) -> Column:
    """GFLOP of one step."""
    return lambda encoded: _exact(count_flops(space, encoded) / GIGA)


def file_column(space: SearchSpace, precision: str) -> Column:
    """Bytes of the stored weights in MB (10^6), file headers apart, at one of `supernet.space.PRECISIONS`."""
    sizes = [component_weights(space, component) for component in all_components(space)]
    if precision not in supernet.space.PRECISIONS:
        raise SearchError(
            f"There is no file size for weights in {precision!r}; there is {', '.join(supernet.space.PRECISIONS)}."
        )

    def column(encoded: EncodedSpecs) -> Figures:
        counts = component_counts(space, encoded).astype(np.float64)
        return _exact(_stored_bytes(counts, sizes, precision) / MEGA)

    return column


def _stored_bytes(counts: npt.NDArray[np.float64], sizes: list[WeightSizes], precision: str) -> npt.NDArray[np.float64]:
    each = np.asarray([size.bytes(precision) for size in sizes], dtype=np.float64)
    if precision == "palette4":
        # Only here does a component's own rounding matter: half a byte for each odd number of matrix parameters.
        each = np.asarray([size.bytes(precision) - size.matrix_params % 2 / 2 for size in sizes])
        return np.ceil(counts @ each)
    return counts @ each


def memory_column(space: SearchSpace, precision: str) -> Column:
    """Estimated peak memory of one step in MB (10^6); raises `SearchError` where this version has no model of it."""
    peak = getattr(supernet.space, "peak_memory_bytes", None)
    if peak is None:
        raise SearchError("This version of subdit has no model of peak memory; limit parameters or file size instead.")
    return lambda encoded: _exact(np.asarray(peak(space, encoded, precision), dtype=np.float64) / MEGA)


def _exact(values: npt.NDArray[np.float64]) -> Figures:
    return Figures(np.asarray(values, dtype=np.float64), np.zeros(len(values)))
