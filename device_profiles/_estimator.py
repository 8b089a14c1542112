"""`LatencyEstimator`: sub-DiTs to latencies with intervals, from a device profile."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from device_profiles._calibration import calibration_interval
from device_profiles._cross_validation import PredictionInterval
from device_profiles._fingerprint import profile_fingerprint
from device_profiles._plain_sums import ASSUMED
from device_profiles._plain_sums import PlainSums
from device_profiles._profile import Calibration
from device_profiles._profile import DeviceProfile
from device_profiles._profile import ErrorReport
from device_profiles._statistics import Z_95
from device_profiles._table import Table
from device_profiles._table import component_work
from device_profiles._table import corrected
from device_profiles._table import read_table
from device_profiles._whole_model import MIN_WHOLE_ROWS
from device_profiles._whole_model import WholeModel
from device_profiles._whole_model import fit_whole_model
from subdit.core.errors import ProfileError
from subdit.core.errors import SpecError
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_terms
from subdit.space import count_params
from subdit.space import sum_components

Floats = npt.NDArray[np.float64]

# Number of fits in the cache: a search, its report and its table ask for the same one.
_CACHED = 8
_models: OrderedDict[str, WholeModel] = OrderedDict()


@dataclass(frozen=True)
class LatencyEstimate:
    """Latencies of n sub-DiTs in milliseconds with 95 % intervals; arrays of shape (n,).

    The interval is of what a measurement of the sub-DiT, as a whole and under the conditions of the profile, gives.
    Latency and both ends of the interval are infinite for a sub-DiT that the profile does not cover, see
    `DeviceProfile.max_params`.

    Attributes:
        apart_ms: half the 95 % interval of each sub-DiT's own error, without the error that all sub-DiTs of the profile
            share; it decides whether two of them differ. None where the two errors are not separated.
        assumed: whether the interval contains an assumed error of sums of components, because no whole sub-DiT was
            measured.
    """

    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats
    apart_ms: Floats | None = field(default=None, kw_only=True)
    assumed: bool = field(default=False, kw_only=True)


def half_apart_ms(estimate: Any) -> Floats:
    """Half the 95 % intervals of each sub-DiT's own error, shape (n,); 0 where a latency is infinite.

    `estimate` is a `LatencyEstimate` or has its three arrays; half the whole interval where it has no `apart_ms`.
    """
    latency_ms = np.asarray(estimate.latency_ms, dtype=np.float64)
    known = np.isfinite(latency_ms)
    apart_ms = getattr(estimate, "apart_ms", None)
    if apart_ms is None:
        low_ms, high_ms = (np.asarray(end, dtype=np.float64) for end in (estimate.low_ms, estimate.high_ms))
        apart_ms = np.subtract(high_ms, low_ms, out=np.zeros(len(latency_ms)), where=known) / 2
    return np.where(known, apart_ms, 0.0)


class LatencyEstimator:
    """Predicts latencies from what a profile has.

    With enough whole sub-DiTs, by `fit_whole`, whose expectation is the table where there is one. Otherwise as sums of
    the table's component latencies, corrected by the calibration where there is one.

    Raises `ProfileError` where the profile is of another space, lacks a component, or has neither a table nor enough
    whole sub-DiTs to fit, or such that no fit can be made of them.

    Attributes:
        error: errors on whole sub-DiTs that were left out of the fit; None where none was measured.
        plain_error: the same before any correction: of plain sums of components, or without a table of the expectation
            from FLOPs and weights.
        whole_model: None where latencies are sums.
        assumed: the assumed error of plain sums, where no whole sub-DiT was measured; else None.
    """

    def __init__(self, profile: DeviceProfile, space: SearchSpace, *, plain_sums: PlainSums = ASSUMED) -> None:
        profile.require_space(space)
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
        self.assumed: PlainSums | None = None
        split = profile.noise.split if profile.noise else 0.0
        self._predict: Callable[[EncodedSpecs], _Predicted]
        if len(profile.whole) >= MIN_WHOLE_ROWS:
            model = _whole_model(profile, space, self._table, split)
            self.whole_model = model
            self.error, self.plain_error = model.error, model.expected_error
            shared = _shared_half(split, model.left_out.std)
            self._predict = lambda encoded: _measured(*model.predict_with_interval(encoded), shared)
        else:
            assert self._table is not None
            if profile.calibration is None:
                self.assumed = plain_sums
                self._predict = self._plain(self._table, plain_sums, split)
            else:
                self._predict = self._calibrated(self._table, profile.calibration, split)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what latencies are computed from, the same on every processor; see `LATENCY_MODEL` for how."""
        return profile_fingerprint(self.profile)

    def estimate(self, encoded: EncodedSpecs) -> LatencyEstimate:
        """Encoded specs of shape (n, dimensions) to latencies.

        With measured whole sub-DiTs, the interval comes from the errors on those left out of the fit or calibration,
        which contain the noise of parts and measurement, and from the further disagreement of the two halves of the
        rounds. Without them, it joins the assumed error of plain sums, `ASSUMED`, the noise of the components and that
        disagreement.
        """
        found = self._predict(encoded)
        outside = ~self.covers(encoded)
        latency, low, high, apart = (
            np.where(outside, np.inf, each) for each in (found.latency_ms, found.low_ms, found.high_ms, found.apart_ms)
        )
        apart = np.where(outside, 0.0, apart)
        return LatencyEstimate(latency, np.maximum(low, 0.0), high, apart_ms=apart, assumed=self.assumed is not None)

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

    def _calibrated(self, table: Table, calibration: Calibration, split: float) -> Callable[[EncodedSpecs], _Predicted]:
        try:
            each_ms = corrected(calibration, self.space, table.plain_ms)
        except KeyError as error:
            raise ProfileError(
                f"The calibration of the profile {self.profile.id} has no factor for {error.args[0]}; measure it again."
            ) from None
        self.error, self.plain_error = calibration.error, calibration.uncalibrated_error
        left_out = _left_out(calibration, self.space, table)
        shared = _shared_half(split, left_out.std)

        def predict(encoded: EncodedSpecs) -> _Predicted:
            terms = component_terms(self.space, encoded)
            half = left_out.half(sum_components(terms, table.plain_ms))
            return _measured(sum_components(terms, each_ms) + calibration.fixed_ms, half, shared)

        return predict

    def _plain(self, table: Table, assumed: PlainSums, split: float) -> Callable[[EncodedSpecs], _Predicted]:
        def predict(encoded: EncodedSpecs) -> _Predicted:
            terms = component_terms(self.space, encoded)
            latency = sum_components(terms, table.plain_ms)
            noise_ms = np.sqrt(sum_components(terms, table.half_ms, squared=True))
            noise = noise_ms / np.maximum(latency, np.finfo(np.float64).tiny)
            half = np.sqrt(np.square(noise) + assumed.half**2 + (Z_95 * split) ** 2)
            return _Predicted(
                latency_ms=latency,
                # The interval contains the estimate, however large the mean error of other devices is.
                low_ms=latency * np.exp(np.minimum(assumed.mean - half, 0.0)),
                high_ms=latency * np.exp(np.maximum(assumed.mean + half, 0.0)),
                apart_ms=np.hypot(noise, assumed.half_apart) * latency,
            )

        return predict


@dataclass(frozen=True)
class _Predicted:
    """A `LatencyEstimate` that ignores what the profile covers."""

    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats
    apart_ms: Floats


def _measured(latency_ms: Floats, half_apart: Floats, half_shared: float) -> _Predicted:
    """From half-widths over the latency, of each sub-DiT's own error and of the error that all share."""
    half = np.hypot(half_apart, half_shared) * latency_ms
    return _Predicted(latency_ms, latency_ms - half, latency_ms + half, half_apart * latency_ms)


def _shared_half(split: float, std: float) -> float:
    """Half the 95 % interval, relative, of the error that all sub-DiTs share, because the machine's speed changes.

    `split` is one standard deviation of the disagreement between the halves. Its part that differs between models is
    in `std`, of the errors of left-out sub-DiTs, already, and counts once.
    """
    return Z_95 * float(np.sqrt(max(split**2 - std**2, 0.0)))


def _left_out(calibration: Calibration, space: SearchSpace, table: Table) -> PredictionInterval:
    """From the calibration's own sub-DiTs; where they allow no fit, as in a damaged file, from its stated error."""
    try:
        components = all_components(space)
        encoded = space.encode([entry.spec for entry in calibration.whole])
        return calibration_interval(
            calibration.form,
            components,
            table.plain_ms,
            component_counts(space, encoded).astype(np.float64),
            calibration.whole,
            params=component_work(space)[:, 1],
        )
    except (SpecError, ValueError, ZeroDivisionError):
        # numpy's LinAlgError is a ValueError.
        half = calibration.relative_error
        return PredictionInterval(half, half, least_ms=0.0, most_ms=np.inf, std=half / Z_95)


def _whole_model(profile: DeviceProfile, space: SearchSpace, table: Table | None, split: float) -> WholeModel:
    """The fit to a profile's whole sub-DiTs, from the cache where it was made before."""
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
        while len(_models) > _CACHED:
            _models.popitem(last=False)
    _models.move_to_end(key)
    return _models[key]
