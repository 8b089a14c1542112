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
from device_profiles._fingerprint import fingerprint
from subdit.core.errors import ProfileError
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import spec_features

Floats = npt.NDArray[np.float64]


class _Source(Protocol):
    """Encoded specs to latencies with intervals, such as a `LatencyEstimator`."""

    @property
    def fingerprint(self) -> str: ...

    def estimate(self, encoded: EncodedSpecs, /) -> Any: ...


# Names in files that earlier versions wrote.
_FORMER = {"log_scale": "shift", "mean": "middle", "residual_ci": "left_over"}


@dataclass(frozen=True)
class CorrectedLatencies:
    """A latency source times exp(log_scale + (columns - mean) @ slopes).

    The interval joins the source's error of each sub-DiT by itself with `residual_ci`. The source's error that all
    sub-DiTs share was measured, and is in `log_scale`.

    Attributes:
        mean: of the columns of `spec_features` over the measured sub-DiTs, shape (columns,).
        slopes: of log latency by column, shape (columns,).
        residual_ci: half the 95 % interval of what the correction leaves unexplained, over the latency.
    """

    space: SearchSpace
    source: _Source
    log_scale: float
    mean: Floats
    slopes: Floats
    residual_ci: float

    @property
    def fingerprint(self) -> str:
        """Hash of the source's fingerprint and of the correction."""
        return fingerprint([self.source.fingerprint, self.to_dict()])

    def estimate(self, encoded: EncodedSpecs, /) -> LatencyEstimate:
        """Encoded specs of shape (n, dimensions) to corrected latencies."""
        plain = self.source.estimate(encoded)
        factor = np.exp(self.log_scale + (spec_features(self.space, encoded) - self.mean) @ self.slopes)
        latency = np.asarray(plain.latency_ms) * factor
        half = np.hypot(half_apart_ms(plain) * factor, self.residual_ci * np.where(np.isfinite(latency), latency, 0.0))
        return LatencyEstimate(latency, np.maximum(latency - half, 0.0), latency + half, apart_ms=half)

    def to_dict(self) -> dict[str, Any]:
        """The correction without the source."""
        return {
            "log_scale": self.log_scale,
            "mean": self.mean.tolist(),
            "slopes": self.slopes.tolist(),
            "residual_ci": self.residual_ci,
        }

    @classmethod
    def from_dict(cls, space: SearchSpace, source: _Source, values: Mapping[str, Any]) -> CorrectedLatencies:
        """The correction that `to_dict` wrote; raises `ProfileError` where it is damaged, or of another space."""
        try:
            values = {name: values[former] for name, former in _FORMER.items() if former in values} | dict(values)
            mean, slopes = (np.asarray(values[key], dtype=np.float64) for key in ("mean", "slopes"))
            numbers = np.asarray([values["log_scale"], values["residual_ci"]], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ProfileError(f"A correction of latencies is damaged ({error!r}); verify the search again.") from error
        columns = spec_features(space, space.enumerate(0, 1)).shape[1]
        if mean.shape != (columns,) or slopes.shape != (columns,) or numbers.shape != (2,):
            raise ProfileError(f"A correction of latencies is not of space {space.name!r}; verify the search again.")
        return cls(space, source, float(numbers[0]), mean, slopes, float(numbers[1]))
