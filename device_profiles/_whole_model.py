"""Latency of a space's sub-DiTs from whole ones that were measured: `fit_whole` on what describes them.

The expectation is the calibrated sum of the parts, where there is a table of them; otherwise a sum of four terms fitted
on the same rows: a constant, FLOPs, number of weights, number of components. The fit then learns deviations from it.
Without parts they may depend on every value of a spec. With parts they come from shared caches and from starting
components, which three sizes describe with fewer sub-DiTs; left-out sub-DiTs decide whether all values do better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._additive_fit import AdditiveFit
from device_profiles._additive_fit import fit_additive
from device_profiles._calibration import fit_calibration
from device_profiles._calibration import noise_floor
from device_profiles._calibration import summarize_errors
from device_profiles._cross_validation import PredictionInterval
from device_profiles._cross_validation import prediction_interval
from device_profiles._profile import ErrorReport
from device_profiles._profile import WholeLatency
from device_profiles._statistics import Z_95
from device_profiles._table import component_work
from device_profiles._table import corrected
from device_profiles._whole_fit import WholeFit
from device_profiles._whole_fit import WholeRows
from device_profiles._whole_fit import fit_whole
from subdit.space import ComponentTerm
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_terms
from subdit.space import sum_components

Floats = npt.NDArray[np.float64]

MIN_WHOLE_ROWS = 10
"""Whole sub-DiTs that a profile without a table needs at least to predict others."""

SIZES, VALUES = "sizes", "values"
"""Features of sub-DiTs: width, parameters and number of components, or every value of the spec."""

# All values must do better than three sizes by this factor to be preferred.
_PREFERENCE = 0.9
# Number of folds of the cross-validation.
_FOLDS = 10


@dataclass(frozen=True)
class _Parts:
    """Expectation: the calibrated sum of the parts."""

    each_ms: Floats
    fixed_ms: float

    def latency_ms(self, terms: tuple[ComponentTerm, ...]) -> Floats:
        return sum_components(terms, self.each_ms) + self.fixed_ms


@dataclass(frozen=True)
class _Work:
    """Expectation: a weighted sum of the work; `work` of shape (components, 3)."""

    work: Floats
    fit: AdditiveFit

    def latency_ms(self, terms: tuple[ComponentTerm, ...]) -> Floats:
        return self.fit.predict(sum_components(terms, self.work))


@dataclass(frozen=True)
class WholeModel:
    """Predicts sub-DiTs of a space from measured ones.

    Attributes:
        fit: the fitted model, with its report on drift.
        described_by: `SIZES` or `VALUES`.
        error: errors on sub-DiTs left out of the fit, expectation and all.
        expected_error: errors of the expectation alone on the same sub-DiTs.
        left_out: half the 95 % interval of a prediction over the prediction, from the same errors.
    """

    fit: WholeFit
    described_by: str
    error: ErrorReport
    expected_error: ErrorReport
    left_out: PredictionInterval
    _space: SearchSpace
    _expectation: _Parts | _Work

    def predict(self, encoded: EncodedSpecs) -> Floats:
        """Latencies in milliseconds of encoded specs (n, dimensions), shape (n,)."""
        return self.predict_with_interval(encoded)[0]

    def predict_with_interval(self, encoded: EncodedSpecs) -> tuple[Floats, Floats]:
        """The same, and half the 95 % interval of each over the latency, both of shape (n,)."""
        terms = component_terms(self._space, encoded)
        features = _describe(self._space, encoded, terms, self.described_by)
        expected_ms = self._expectation.latency_ms(terms)
        return self.fit.predict(features, prior_ms=expected_ms), self.left_out.half(expected_ms)


def fit_whole_model(
    space: SearchSpace, whole: Sequence[WholeLatency], *, parts_ms: Floats | None = None, split: float = 0.0
) -> WholeModel:
    """Fit on measured sub-DiTs, in the order in which they were measured.

    Args:
        space: that they are of.
        whole: at least `MIN_WHOLE_ROWS`.
        parts_ms: latency of each component of the space, shape (components,); None where there is no table.
        split: disagreement of the two halves of the measurement, relative, one standard deviation.

    Raises:
        ValueError: fewer sub-DiTs, or no errors of finite size.
        SpecError: one that is not of the space.
    """
    if len(whole) < MIN_WHOLE_ROWS:
        raise ValueError(f"a fit needs at least {MIN_WHOLE_ROWS} whole sub-DiTs, not {len(whole)}")
    floor = noise_floor([entry.latency.relative_ci for entry in whole], split)
    chosen: WholeModel | None = None
    for described_by in (VALUES,) if parts_ms is None else (SIZES, VALUES):
        left_out, expected, measured, folds = _left_out(space, whole, parts_ms, described_by)
        error = summarize_errors(left_out, measured, noise_floor=floor)
        if chosen is not None and error.mean > _PREFERENCE * chosen.error.mean:
            continue
        expectation, fit = _fit(space, whole, np.arange(len(whole)), parts_ms, described_by)
        size_ms = expectation.latency_ms(component_terms(space, space.encode([entry.spec for entry in whole])))
        chosen = WholeModel(
            fit=fit,
            described_by=described_by,
            error=error,
            expected_error=summarize_errors(expected, measured, noise_floor=floor),
            left_out=prediction_interval(left_out, measured, size_ms, fold=folds),
            _space=space,
            _expectation=expectation,
        )
    assert chosen is not None
    return chosen


def _left_out(
    space: SearchSpace, whole: Sequence[WholeLatency], parts_ms: Floats | None, described_by: str
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int64]]:
    """For each sub-DiT: prediction and expectation from the other folds, measured latency, and its fold."""
    encoded = space.encode([entry.spec for entry in whole])
    measured = np.asarray([entry.latency.latency_ms for entry in whole])
    folds = np.arange(len(whole)) % min(_FOLDS, len(whole))
    left_out, expected = np.empty_like(measured), np.empty_like(measured)
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        rest = [entry for entry, is_out in zip(whole, out.tolist(), strict=True) if not is_out]
        expectation, fit = _fit(space, rest, np.flatnonzero(~out), parts_ms, described_by)
        terms = component_terms(space, encoded[out])
        expected[out] = expectation.latency_ms(terms)
        left_out[out] = fit.predict(_describe(space, encoded[out], terms, described_by), prior_ms=expected[out])
    return left_out, expected, measured, folds


def _describe(space: SearchSpace, encoded: EncodedSpecs, terms: tuple[ComponentTerm, ...], described_by: str) -> Floats:
    """Features of encoded specs, shape (n, features)."""
    values = [np.asarray(allowed)[encoded[:, index]] for index, allowed in enumerate(space.dimensions.values())]
    if described_by == SIZES:
        width = list(space.dimensions).index("width")
        sizes = sum_components(terms, component_work(space)[:, 1:])
        return np.column_stack([values[width], sizes])
    return np.column_stack(values).astype(np.float64)


def _fit(
    space: SearchSpace,
    whole: Sequence[WholeLatency],
    order: npt.NDArray[np.int64],
    parts_ms: Floats | None,
    described_by: str,
) -> tuple[_Parts | _Work, WholeFit]:
    encoded = space.encode([entry.spec for entry in whole])
    measured = np.asarray([entry.latency.latency_ms for entry in whole])
    terms = component_terms(space, encoded)
    expected: _Parts | _Work
    if parts_ms is None:
        work = component_work(space)
        expected = _Work(work, fit_additive(sum_components(terms, work), measured))
    else:
        components = all_components(space)
        counts = component_counts(space, encoded).astype(np.float64)
        calibration = fit_calibration(components, parts_ms, counts, whole, params=component_work(space)[:, 1])
        each_ms = corrected(calibration, space, parts_ms)
        expected = _Parts(each_ms, calibration.fixed_ms)
    rows = WholeRows(
        _describe(space, encoded, terms, described_by),
        measured,
        order=order.astype(np.float64),
        relative_std=np.asarray([entry.latency.relative_ci for entry in whole]) / Z_95,
        prior_ms=expected.latency_ms(terms),
    )
    return expected, fit_whole(rows)
