"""Latencies of a truth table's sub-DiTs, by which bands and fronts are made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas.truth_table import TruthTable
from subdit.space import count_flops


def table_latencies(table: TruthTable, device: str | None) -> tuple[npt.NDArray[np.float64], str]:
    """Latency of each sub-DiT (n,), or FLOPs where no device is named, and what that is in a heading.

    Raises `ProfileError` where the profile is unknown, damaged, or of another space than the table.
    """
    encoded = table.space.encode(table.specs)
    if device is None:
        return count_flops(table.space, encoded).astype(np.float64), "FLOPs"
    from device_profiles import LatencyEstimator
    from device_profiles import load_profile

    profile = load_profile(device, space=table.space)
    estimate = LatencyEstimator(profile, table.space).estimate(encoded)
    return np.asarray(estimate.latency_ms, dtype=np.float64), f"latency on {profile.id}"
