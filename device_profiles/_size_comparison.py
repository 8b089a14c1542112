"""How much slower one device is than another, by the size of the sub-DiT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_profiles._estimator import LatencyEstimator
from device_profiles._profile import DeviceProfile
from subdit.core.errors import ProfileError
from subdit.space import SubDiTSpec
from subdit.space import count_params

SIZES = 3
"""Sizes where nothing else is asked for: the smallest, the middle, the largest that both profiles cover."""

# Sub-DiTs that the sizes are picked from.
_CANDIDATES = 4000


@dataclass(frozen=True)
class SizeRatio:
    """Predicted latencies of one sub-DiT on two devices.

    Attributes:
        params: of the sub-DiT.
        ratio: latency on the second device over that on the first.
        low, high: its 95 % interval, from those of both predictions.
    """

    spec: SubDiTSpec
    params: int
    first_ms: float
    second_ms: float
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the second device is "slower" or "faster", or the intervals hold "neither"."""
        return "slower" if self.low > 1 else "faster" if self.high < 1 else "neither"


def compare_by_size(first: DeviceProfile, second: DeviceProfile, *, sizes: int = SIZES) -> tuple[SizeRatio, ...]:
    """Predictions of both profiles for sub-DiTs of their space, the smallest first, evenly in the size's logarithm.

    Raises:
        ProfileError: the profiles are of two spaces, one predicts nothing, or they cover no sub-DiT in common.
    """
    if first.space_id != second.space_id:
        raise ProfileError(
            f"{first.id} is of space {first.space_id!r} and {second.id} of {second.space_id!r}; compare two of one "
            "space."
        )
    space = first.search_space
    ends = np.concatenate([space.enumerate(0, 1), space.enumerate(space.size - 1, space.size)])
    encoded = np.concatenate([ends, space.sample(np.random.default_rng(0), _CANDIDATES)])
    one, other = (LatencyEstimator(profile, space).estimate(encoded) for profile in (first, second))
    covered = np.flatnonzero(np.isfinite(one.latency_ms) & np.isfinite(other.latency_ms))
    if not len(covered):
        raise ProfileError(f"{first.id} and {second.id} cover no sub-DiT in common; there is nothing to compare.")
    params = count_params(space, encoded[covered])
    wanted = np.geomspace(params.min(), params.max(), sizes)
    rows = dict.fromkeys(int(np.argmin(np.abs(np.log(params / size)))) for size in wanted)
    made = []
    for row in rows:
        at = covered[row]
        a, b = float(one.latency_ms[at]), float(other.latency_ms[at])
        below = np.hypot(np.log(b / max(other.low_ms[at], 1e-12)), np.log(one.high_ms[at] / a))
        above = np.hypot(np.log(other.high_ms[at] / b), np.log(a / max(one.low_ms[at], 1e-12)))
        made.append(
            SizeRatio(
                spec=space.decode(encoded[at : at + 1])[0],
                params=int(params[row]),
                first_ms=a,
                second_ms=b,
                ratio=b / a,
                low=float(b / a * np.exp(-below)),
                high=float(b / a * np.exp(above)),
            )
        )
    return tuple(made)
