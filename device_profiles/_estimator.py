"""`LatencyEstimator`: sub-DiTs to latencies with intervals, from a device profile."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._profile import DeviceProfile
from device_profiles._profile import ErrorReport
from device_profiles._table import Table
from device_profiles._table import corrected
from device_profiles._table import read_table
from device_profiles._whole_model import MIN_WHOLE_ROWS
from device_profiles._whole_model import WholeModel
from device_profiles._whole_model import fit_whole_model
from subdit.errors import ProfileError
from supernet.space import EncodedSpecs
from supernet.space import SearchSpace
from supernet.space import component_terms
from supernet.space import count_params
from supernet.space import sum_components

Floats = npt.NDArray[np.float64]

# Fits that are kept, by what they were made from: a search, its report and its table ask for the same one.
_KEPT = 8
_models: OrderedDict[str, WholeModel] = OrderedDict()


@dataclass(frozen=True)
class LatencyEstimate:
    """Latencies of n sub-DiTs in milliseconds with 95 % intervals; arrays of shape (n,).

    All three are infinite for a sub-DiT that the profile does not cover, see `DeviceProfile.max_params`.
    """

    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats


class LatencyEstimator:
    """Predicts latencies from what a profile has.

    From whole sub-DiTs, where it has enough of them: `fit_whole`, with the table as expectation where there is one.
    Else from the table: component latencies, corrected by the calibration where there is one, add up.

    Raises `ProfileError` where the profile is of another space, lacks a component, or has neither a table nor enough
    whole sub-DiTs to fit, or such that no fit can be made of them.

    Attributes:
        error: errors on whole sub-DiTs that were left out of the fit; None where none was measured.
        plain_error: the same without what was learned: of the plain sums of components, or without a table of what is
            expected from FLOPs and weights.
        whole_model: None where latencies are sums.
    """

    def __init__(self, profile: DeviceProfile, space: SearchSpace) -> None:
        if profile.space != space.name:
            raise ProfileError(
                f"The profile {profile.id} was made for space {profile.space!r}, not for {space.name!r}; "
                f"measure a kit of {space.name!r}."
            )
        if not profile.components and len(profile.whole) < MIN_WHOLE_ROWS:
            raise ProfileError(
                f"The profile {profile.id} has no table of components and {len(profile.whole)} whole sub-DiTs, of "
                f"which a fit needs at least {MIN_WHOLE_ROWS}, so it predicts nothing; measure a kit with 'subdit "
                "profile'."
            )
        self.profile = profile
        self.space = space
        self.whole_model: WholeModel | None = None
        self.error: ErrorReport | None = None
        self.plain_error: ErrorReport | None = None
        self._table = read_table(profile, space) if profile.components else None
        # How well the machine reproduces itself limits every prediction of what it will do next.
        split = profile.noise.split if profile.noise else 0.0
        self._relative_error = split
        self._predict: Callable[[EncodedSpecs], tuple[Floats, Floats]]
        if len(profile.whole) >= MIN_WHOLE_ROWS:
            model = _whole_model(profile, space, self._table, split)
            self.whole_model = model
            self.error, self.plain_error = model.error, model.expected_error
            self._relative_error = float(np.hypot(model.relative_error, split))
            self._predict = lambda encoded: (model.predict(encoded), np.zeros(len(encoded)))
        else:
            assert self._table is not None
            self._predict = self._additive(self._table)

    def estimate(self, encoded: EncodedSpecs) -> LatencyEstimate:
        """Encoded specs of shape (n, dimensions) to latencies.

        The interval joins the errors that were made on sub-DiTs left out of the fit or calibration, how far the
        machine's two halves of the rounds disagreed, and the noise of the components. Where nothing whole was measured
        it says nothing but the noise.
        """
        latency, noise = self._predict(encoded)
        outside = ~self.covers(encoded)
        half = np.hypot(noise, self._relative_error * np.where(outside, 0.0, latency))
        latency = np.where(outside, np.inf, latency)
        return LatencyEstimate(latency, np.maximum(latency - half, 0.0), latency + half)

    def estimate_uncalibrated(self, encoded: EncodedSpecs) -> Floats:
        """Plain sums of component latencies in milliseconds, shape (n,); raises `ProfileError` without a table."""
        if self._table is None:
            raise ProfileError(f"The profile {self.profile.id} has no table of components; measure a kit with parts.")
        plain = sum_components(component_terms(self.space, encoded), self._table.plain_ms)
        return np.where(self.covers(encoded), plain, np.inf)

    def covers(self, encoded: EncodedSpecs) -> npt.NDArray[np.bool_]:
        """Whether the profile knows enough of each sub-DiT, shape (n,)."""
        if self.profile.max_params is None:
            return np.ones(len(encoded), dtype=bool)
        if self._table is None:
            return np.asarray(count_params(self.space, encoded) <= self.profile.max_params)
        return np.asarray(sum_components(component_terms(self.space, encoded), self._table.missing) == 0)

    def _additive(self, table: Table) -> Callable[[EncodedSpecs], tuple[Floats, Floats]]:
        calibration = self.profile.calibration
        each_ms, half_ms, fixed_ms = table.plain_ms, table.half_ms, 0.0
        if calibration is not None:
            try:
                each_ms, half_ms = corrected(calibration, self.space, each_ms, half_ms)
            except KeyError as error:
                raise ProfileError(
                    f"The calibration of the profile {self.profile.id} has no factor for {error.args[0]}; measure it "
                    "again."
                ) from None
            fixed_ms = calibration.fixed_ms
            self.error, self.plain_error = calibration.error, calibration.uncalibrated_error
            self._relative_error = float(np.hypot(self._relative_error, calibration.relative_error))

        def predict(encoded: EncodedSpecs) -> tuple[Floats, Floats]:
            terms = component_terms(self.space, encoded)
            noise = np.sqrt(sum_components(terms, half_ms, squared=True))
            return sum_components(terms, each_ms) + fixed_ms, noise

        return predict


def _whole_model(profile: DeviceProfile, space: SearchSpace, table: Table | None, split: float) -> WholeModel:
    """The fit to a profile's whole sub-DiTs: the same for the same profile, so made once."""
    parts_ms = None if table is None else table.plain_ms
    key = repr((space, profile.whole, None if parts_ms is None else parts_ms.tolist(), split))
    if key not in _models:
        try:
            _models[key] = fit_whole_model(space, profile.whole, parts_ms=parts_ms, split=split)
        except ValueError as error:
            # numpy's LinAlgError is one too: latencies of magnitudes that no device has together.
            raise ProfileError(
                f"The whole sub-DiTs of the profile {profile.id} cannot be fitted ({error}); measure it again."
            ) from error
        while len(_models) > _KEPT:
            _models.popitem(last=False)
    _models.move_to_end(key)
    return _models[key]
