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
from supernet.space import peak_memory_bytes

if TYPE_CHECKING:
    from device_profiles import DeviceProfile

MEGA = 1e6
GIGA = 1e9


def latency_column(latencies: LatencySource) -> Column:
    """Latency of one step in milliseconds."""

    def column(encoded: EncodedSpecs) -> Figures:
        estimate = latencies.estimate(encoded)
        return _figures(np.asarray(estimate.latency_ms), np.asarray(estimate.low_ms), np.asarray(estimate.high_ms))

    return column


def _figures(values: npt.NDArray[np.float64], low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> Figures:
    """Half intervals; none around what is infinite because a profile does not cover it."""
    half = np.subtract(high, low, out=np.zeros(len(values)), where=np.isfinite(values)) / 2
    return Figures(np.asarray(values, dtype=np.float64), half)


def pipeline_column(
    profile: DeviceProfile, space: SearchSpace, steps: int, latencies: LatencySource | None = None
) -> Column:
    """Latency of a whole picture of `steps` steps in milliseconds, with what else the space says it takes.

    Args:
        latencies: of one step; by default as the profile has them.

    Raises `ProfileError` where the profile lacks what else a picture takes, `SearchError` where there is no step.
    """
    from device_profiles import LatencyEstimate
    from device_profiles import LatencyEstimator
    from device_profiles import pipeline_latency

    if steps < 1:
        raise SearchError(f"A picture cannot be drawn in {steps} steps; take at least 1.")
    source = latencies or LatencyEstimator(profile, space)

    def column(encoded: EncodedSpecs) -> Figures:
        found = source.estimate(encoded)
        step = LatencyEstimate(np.asarray(found.latency_ms), np.asarray(found.low_ms), np.asarray(found.high_ms))
        picture = pipeline_latency(profile, space, step, steps=steps)
        return _figures(picture.latency_ms, picture.low_ms, picture.high_ms)

    column(space.enumerate(0, 1))
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
    """Peak memory of a process in MB (10^6), see `supernet.space.peak_memory_bytes`."""
    if precision not in supernet.space.PRECISIONS:
        raise SearchError(
            f"There is no peak memory for weights in {precision!r}; there is {', '.join(supernet.space.PRECISIONS)}."
        )
    return lambda encoded: _exact(peak_memory_bytes(space, encoded, precision) / MEGA)


def _exact(values: npt.NDArray[np.float64]) -> Figures:
    return Figures(np.asarray(values, dtype=np.float64), np.zeros(len(values)))
