"""`LatencyEstimator`: sub-DiTs to latencies with intervals, from a device profile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._profile import DeviceProfile
from subdit.errors import ProfileError
from supernet.space import EncodedSpecs
from supernet.space import SearchSpace
from supernet.space import all_components
from supernet.space import component_counts

Floats = npt.NDArray[np.float64]

# Half a 95 % interval in standard errors.
_Z = 1.96


@dataclass(frozen=True)
class LatencyEstimate:
    """Latencies of n sub-DiTs in milliseconds with 95 % intervals; arrays of shape (n,)."""

    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats


class LatencyEstimator:
    """Adds up component latencies, corrected by the profile's calibration where it has one.

    Raises `ProfileError` where the profile is of another space or lacks a component.
    """

    def __init__(self, profile: DeviceProfile, space: SearchSpace) -> None:
        if profile.space != space.name:
            raise ProfileError(
                f"The profile {profile.id} was made for space {profile.space!r}, not for {space.name!r}; "
                f"measure a kit of {space.name!r}."
            )
        components = all_components(space)
        missing = [component.name for component in components if component.name not in profile.components]
        if missing:
            raise ProfileError(
                f"The profile {profile.id} lacks {len(missing)} components of {space.name!r}, such as {missing[0]}; "
                "measure a kit made by this version."
            )
        calibration = profile.calibration
        if calibration and (unknown := {component.kind for component in components} - set(calibration.factors)):
            raise ProfileError(
                f"The calibration of the profile {profile.id} has no factor for {sorted(unknown)[0]}; measure it again."
            )
        self.profile = profile
        self.space = space
        latencies = [profile.components[component.name] for component in components]
        self._plain_ms: Floats = np.asarray([latency.latency_ms for latency in latencies])
        self._half_ms: Floats = np.asarray([(latency.high_ms - latency.low_ms) / 2 for latency in latencies])
        self._corrected_ms = self._plain_ms
        self._fixed_ms = 0.0
        self._relative_error = 0.0
        if calibration is not None:
            factors = np.asarray([calibration.factors[component.kind] for component in components])
            self._corrected_ms = factors * self._plain_ms + calibration.per_run_ms
            self._half_ms = factors * self._half_ms
            self._fixed_ms = calibration.fixed_ms
            self._relative_error = calibration.relative_error
        if profile.noise is not None:
            # How well the machine reproduces itself limits every prediction of what it will do next.
            self._relative_error = float(np.hypot(self._relative_error, profile.noise.split))

    def estimate(self, encoded: EncodedSpecs) -> LatencyEstimate:
        """Encoded specs of shape (n, dimensions) to latencies.

        The interval joins the errors that the calibration makes on sub-DiTs it has not seen, how far the machine's two
        halves of the rounds disagreed, and the noise of the components. Without a calibration it says nothing but the
        noise.
        """
        counts = component_counts(self.space, encoded).astype(np.float64)
        latency = counts @ self._corrected_ms + self._fixed_ms
        noise = np.sqrt(np.square(counts) @ np.square(self._half_ms))
        half = np.hypot(noise, self._relative_error * latency)
        return LatencyEstimate(latency, np.maximum(latency - half, 0.0), latency + half)

    def estimate_uncalibrated(self, encoded: EncodedSpecs) -> Floats:
        """Plain sums of component latencies in milliseconds, shape (n,)."""
        return component_counts(self.space, encoded).astype(np.float64) @ self._plain_ms
