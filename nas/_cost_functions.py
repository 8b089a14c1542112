"""Figures of sub-DiTs beyond the first device's latency: other devices, whole pictures, memory, file size, FLOPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import subdit.space
from nas._costs import Cost
from nas._costs import CostFunction
from nas._costs import LatencySource
from subdit.core.errors import SearchError
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import WeightSizes
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_weights
from subdit.space import count_flops
from subdit.space import peak_memory_bytes

if TYPE_CHECKING:
    from device_profiles import DeviceProfile

MEGA = 1e6
GIGA = 1e9


def latency_column(latencies: LatencySource) -> CostFunction:
    """Latency of one step in milliseconds."""
    from device_profiles import half_apart_ms

    def column(encoded: EncodedSpecs) -> Cost:
        estimate = latencies.estimate(encoded)
        return Cost(np.asarray(estimate.latency_ms, dtype=np.float64), half_apart_ms(estimate))

    return column


def pipeline_column(
    profile: DeviceProfile, space: SearchSpace, steps: int, latencies: LatencySource | None = None
) -> CostFunction:
    """Latency of a whole picture of `steps` steps in milliseconds, with what else the space says it takes.

    Args:
        latencies: of one step; by default as the profile has them.

    Raises `ProfileError` where the profile lacks what else a picture takes, `SearchError` where there is no step.
    """
    from device_profiles import LatencyEstimate
    from device_profiles import LatencyEstimator
    from device_profiles import half_apart_ms
    from device_profiles import pipeline_latency

    if steps < 1:
        raise SearchError(f"A picture cannot be drawn in {steps} steps; take at least 1.")
    source = latencies or LatencyEstimator(profile, space)

    def column(encoded: EncodedSpecs) -> Cost:
        found = source.estimate(encoded)
        ends = (np.asarray(found.latency_ms), np.asarray(found.low_ms), np.asarray(found.high_ms))
        picture = pipeline_latency(profile, space, LatencyEstimate(*ends, apart_ms=half_apart_ms(found)), steps=steps)
        return Cost(picture.latency_ms, picture.apart_ms)

    column(space.enumerate(0, 1))
    return column


def flops_column(space: SearchSpace) -> CostFunction:
    """GFLOP of one step."""
    return lambda encoded: _exact(count_flops(space, encoded) / GIGA)


def file_column(space: SearchSpace, precision: str) -> CostFunction:
    """Bytes of the stored weights in MB (10^6), file headers apart, at one of `subdit.space.PRECISIONS`."""
    sizes = [component_weights(space, component) for component in all_components(space)]
    if precision not in subdit.space.PRECISIONS:
        raise SearchError(
            f"There is no file size for weights in {precision!r}; there is {', '.join(subdit.space.PRECISIONS)}."
        )

    def column(encoded: EncodedSpecs) -> Cost:
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


def memory_column(space: SearchSpace, precision: str) -> CostFunction:
    """Peak memory of a process in MB (10^6), see `subdit.space.peak_memory_bytes`."""
    if precision not in subdit.space.PRECISIONS:
        raise SearchError(
            f"There is no peak memory for weights in {precision!r}; there is {', '.join(subdit.space.PRECISIONS)}."
        )
    return lambda encoded: _exact(peak_memory_bytes(space, encoded, precision) / MEGA)


def _exact(values: npt.NDArray[np.float64]) -> Cost:
    return Cost(np.asarray(values, dtype=np.float64), np.zeros(len(values)))
