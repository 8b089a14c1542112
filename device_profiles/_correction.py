"""Latencies corrected by whole sub-DiTs that were measured after the profile was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Protocol

import numpy as np
import numpy.typing as npt

from device_profiles._estimator import LatencyEstimate
from device_profiles._estimator import half_apart_ms
from subdit.core.errors import ProfileError
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import spec_features

Floats = npt.NDArray[np.float64]


class _Source(Protocol):
    """Encoded specs to latencies with intervals, such as a `LatencyEstimator`."""

    def estimate(self, encoded: EncodedSpecs, /) -> Any: ...


@dataclass(frozen=True)
class CorrectedLatencies:
    """A latency source times exp(shift + (columns - middle) @ slopes).

    The interval is what the source says that each sub-DiT is off by for itself, joined with `left_over`, half a 95 %
    interval over the latency: what all are off by alike was measured, and is in the shift.
    """

    space: SearchSpace
    source: _Source
    shift: float
    middle: Floats
    slopes: Floats
    left_over: float

    def estimate(self, encoded: EncodedSpecs, /) -> LatencyEstimate:
        """Encoded specs of shape (n, dimensions) to corrected latencies."""
        plain = self.source.estimate(encoded)
        factor = np.exp(self.shift + (spec_features(self.space, encoded) - self.middle) @ self.slopes)
        latency = np.asarray(plain.latency_ms) * factor
        half = np.hypot(half_apart_ms(plain) * factor, self.left_over * np.where(np.isfinite(latency), latency, 0.0))
        return LatencyEstimate(latency, np.maximum(latency - half, 0.0), latency + half, apart_ms=half)

    def to_dict(self) -> dict[str, Any]:
        """What was learned, without the source."""
        return {
            "shift": self.shift,
            "middle": self.middle.tolist(),
            "slopes": self.slopes.tolist(),
            "left_over": self.left_over,
        }

    @classmethod
    def from_dict(cls, space: SearchSpace, source: _Source, values: Mapping[str, Any]) -> CorrectedLatencies:
        """Corrected by what `to_dict` wrote; raises `ProfileError` where that is damaged, or of another space."""
        try:
            middle, slopes = (np.asarray(values[key], dtype=np.float64) for key in ("middle", "slopes"))
            numbers = np.asarray([values["shift"], values["left_over"]], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ProfileError(f"A correction of latencies is damaged ({error!r}); verify the search again.") from error
        columns = spec_features(space, space.enumerate(0, 1)).shape[1]
        if middle.shape != (columns,) or slopes.shape != (columns,) or numbers.shape != (2,):
            raise ProfileError(f"A correction of latencies is not of space {space.name!r}; verify the search again.")
        return cls(space, source, float(numbers[0]), middle, slopes, float(numbers[1]))
