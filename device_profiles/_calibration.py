"""Calibration: a few numbers that turn sums of component latencies into latencies of whole sub-DiTs.

Each component that is timed alone includes the cost of starting a run, which a whole sub-DiT has once. Its weights are
in a cache, while those of a large sub-DiT come from memory in each run. Both depend on the device, so they are fitted:
ridge regression on relative errors around the plain sum, in forms of rising freedom, of which leave-one-out errors
choose one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._cross_validation import PredictionInterval
from device_profiles._cross_validation import prediction_interval
from device_profiles._profile import Calibration
from device_profiles._profile import ErrorReport
from device_profiles._profile import WholeLatency
from device_profiles._statistics import Z_95
from device_profiles._statistics import kendall_tau
from device_profiles._statistics import t_95
from subdit.space import KINDS
from subdit.space import Component

Floats = npt.NDArray[np.float64]

MIN_WHOLE = 6
"""Whole sub-DiTs that a calibration needs at least."""

# Standard deviation of what no form explains, relative; with each measurement's own, weighs data against priors.
_RESIDUAL = 0.01
# How far the common factor may be from 1, and per-run and fixed costs from 0, over the mean component and sub-DiT.
_FACTOR_STD = 0.5
_PER_RUN_STD = 0.5
_FIXED_STD = 0.2
# The same of what it takes to fetch weights.
_WEIGHTS_STD = 0.5
# A freer form must do better than a plainer one by this factor to be preferred.
_PREFERENCE = 0.9


@dataclass(frozen=True)
class _Form:
    """Which numbers are fitted; `kind_std` is how far the factors of kinds may be from the common one."""

    name: str
    per_run: bool = False
    fixed: bool = False
    weights: bool = False
    kind_std: float = 0.0


_FORMS = (
    _Form("factor"),
    _Form("factor+fixed", fixed=True),
    _Form("factor+per_run", per_run=True),
    _Form("factor+per_run+fixed", per_run=True, fixed=True),
    _Form("factor+weights", weights=True),
    _Form("factor+per_run+weights", per_run=True, weights=True),
    _Form("kinds", kind_std=0.05),
    _Form("kinds+per_run", per_run=True, kind_std=0.05),
    _Form("kinds+per_run+fixed", per_run=True, fixed=True, kind_std=0.05),
    _Form("kinds+per_run+weights", per_run=True, weights=True, kind_std=0.05),
    _Form("free kinds", kind_std=0.2),
    _Form("free kinds+per_run+fixed", per_run=True, fixed=True, kind_std=0.2),
    # Last, although plainer: nothing but a device that has all these costs is to be fitted otherwise than without them.
    _Form("factor+fixed+weights", fixed=True, weights=True),
    _Form("factor+per_run+fixed+weights", per_run=True, fixed=True, weights=True),
)


def fit_calibration(
    components: Sequence[Component],
    component_ms: Floats,
    counts: Floats,
    whole: Sequence[WholeLatency],
    *,
    params: Floats,
    split: float = 0.0,
) -> Calibration:
    """Fit on measured whole sub-DiTs.

    Args:
        components: in the order of the columns of `counts`.
        component_ms: latency of each component, shape (components,).
        counts: how often each component occurs in each whole sub-DiT, shape (n, components).
        whole: the measured sub-DiTs.
        params: parameters of each component, shape (components,).
        split: disagreement of the two halves of the measurement, relative, one standard deviation; for the error
            that noise alone would make.

    Returns:
        The calibration, with its leave-one-out errors.

    Raises:
        ValueError: fewer than `MIN_WHOLE` sub-DiTs.
    """
    if len(whole) < MIN_WHOLE:
        raise ValueError(f"a calibration needs at least {MIN_WHOLE} whole sub-DiTs, not {len(whole)}")
    features, measured, std = _rows(components, component_ms, counts, whole, params)
    best_form, best_left_out = _FORMS[0], _left_out(_FORMS[0], features, measured, std)
    for form in _FORMS[1:]:
        left_out = _left_out(form, features, measured, std)
        is_better = _mean_error(left_out, measured) < _PREFERENCE * _mean_error(best_left_out, measured)
        fitted = _fit(form, features, measured, std)[0]
        if is_better and (_corrected(fitted, components, component_ms, params) > 0).all():
            best_form, best_left_out = form, left_out
    return refit_calibration(best_form.name, components, component_ms, counts, whole, params=params, split=split)


def refit_calibration(
    form: str,
    components: Sequence[Component],
    component_ms: Floats,
    counts: Floats,
    whole: Sequence[WholeLatency],
    *,
    params: Floats,
    split: float = 0.0,
) -> Calibration:
    """The calibration of the named form on the same arguments as `fit_calibration`, to check a stored one.

    Raises:
        ValueError: fewer than `MIN_WHOLE` sub-DiTs, or there is no such form.
    """
    if len(whole) < MIN_WHOLE:
        raise ValueError(f"a calibration needs at least {MIN_WHOLE} whole sub-DiTs, not {len(whole)}")
    chosen = _form(form)
    features, measured, std = _rows(components, component_ms, counts, whole, params)
    plain = np.asarray(counts, dtype=np.float64) @ component_ms
    fitted = _fit(chosen, features, measured, std)[0]
    left_out = _left_out(chosen, features, measured, std)
    floor = noise_floor([entry.latency.relative_ci for entry in whole], split)
    return Calibration(
        form=chosen.name,
        factors={kind: float(fitted[index]) for index, kind in enumerate(KINDS)},
        per_run_ms=float(fitted[-3]),
        per_million_params_ms=float(fitted[-2]),
        fixed_ms=float(fitted[-1]),
        relative_error=interval_of(left_out, measured),
        error=summarize_errors(left_out, measured, noise_floor=floor),
        uncalibrated_error=summarize_errors(plain, measured, noise_floor=floor),
        whole=tuple(whole),
    )


def calibration_interval(
    form: str,
    components: Sequence[Component],
    component_ms: Floats,
    counts: Floats,
    whole: Sequence[WholeLatency],
    *,
    params: Floats,
) -> PredictionInterval:
    """Intervals of what a calibration of that form predicts, each of its sub-DiTs left out in turn.

    Raises:
        ValueError: there is no such form, or too few sub-DiTs lie between others.
    """
    features, measured, std = _rows(components, component_ms, counts, whole, params)
    left_out = _left_out(_form(form), features, measured, std)
    return prediction_interval(left_out, measured, np.asarray(counts, dtype=np.float64) @ component_ms)


def summarize_errors(predicted: Floats, measured: Floats, *, noise_floor: float | None = None) -> ErrorReport:
    """Relative errors of predictions of shape (n,) against measurements of shape (n,), n at least 1.

    `noise_floor` is the mean error that the measurements' own noise makes, see the function of that name.
    """
    errors = (np.asarray(predicted) - measured) / measured
    return ErrorReport(
        samples=len(errors),
        bias=float(errors.mean()),
        mean=float(np.abs(errors).mean()),
        worst=float(np.abs(errors).max()),
        within_5_percent=float(np.mean(np.abs(errors) <= 0.05)),
        within_10_percent=float(np.mean(np.abs(errors) <= 0.10)),
        kendall_tau=kendall_tau(predicted, measured),
        noise_floor=noise_floor,
    )


def noise_floor(relative_ci: Sequence[float], split: float | Sequence[float]) -> float:
    """Mean absolute relative error that a perfect prediction would show, because measurements do not repeat.

    Args:
        relative_ci: half the 95 % interval of each measurement over its latency.
        split: disagreement of the halves of the rounds, half the difference over the latency, for all or of each: one
            standard deviation of their mean over repeated measurements.
    """
    deviation = np.maximum(np.asarray(relative_ci) / Z_95, np.asarray(split))
    return float(np.sqrt(2 / np.pi) * np.mean(deviation))


def interval_of(left_out: Floats, measured: Floats) -> float:
    """Half a 95 % interval over the prediction, from predictions of measurements left out of the fit, shape (n,).

    It includes the sub-DiTs that the fit had to extrapolate to, so it is wider than most predictions need: estimates
    use `PredictionInterval`. Profiles state this figure.
    """
    residuals = (left_out - measured) / measured
    return float(t_95(len(measured) - 1) * np.sqrt(np.mean(np.square(residuals))))


def _form(name: str) -> _Form:
    chosen = next((one for one in _FORMS if one.name == name), None)
    if chosen is None:
        raise ValueError(f"there is no form of a calibration called {name!r}")
    return chosen


def _rows(
    components: Sequence[Component],
    component_ms: Floats,
    counts: Floats,
    whole: Sequence[WholeLatency],
    params: Floats,
) -> tuple[Floats, Floats, Floats]:
    """What a form is fitted to: features, shape (n, kinds + 3), latencies and their relative std, shape (n,)."""
    features = _features(components, component_ms, np.asarray(counts, dtype=np.float64), params / 1e6)
    measured = np.asarray([entry.latency.latency_ms for entry in whole])
    # A sub-DiT whose own interval is wide, because it was disturbed, counts for less.
    return features, measured, np.hypot(_RESIDUAL, np.asarray([entry.latency.relative_ci for entry in whole]) / Z_95)


def _features(components: Sequence[Component], component_ms: Floats, counts: Floats, params: Floats) -> Floats:
    """Per sub-DiT the sum of latencies of each kind, components, millions of parameters, 1; shape (n, kinds + 3)."""
    kinds = np.asarray([KINDS.index(component.kind) for component in components])
    sums = (counts * component_ms) @ (kinds[:, None] == np.arange(len(KINDS))).astype(np.float64)
    return np.column_stack([sums, counts.sum(axis=1), counts @ params, np.ones(len(counts))])


def _fit(form: _Form, features: Floats, measured: Floats, std: Floats, used: Floats | None = None) -> Floats:
    """Posterior means under the form's priors: the factor of each kind, then milliseconds per run, per million
    parameters and fixed.

    Args:
        form: which of them are fitted.
        features: as `_features` has them, shape (n, kinds + 3).
        measured: latencies in milliseconds, shape (n,).
        std: relative standard deviation of each measurement from what any form explains, shape (n,).
        used: 1 for each row that a fit uses, else 0, shape (fits, n); one fit on all rows by default.

    Returns:
        Shape (fits, kinds + 3).
    """
    used = np.ones((1, len(measured))) if used is None else used
    plain, added = features[:, :-3].sum(axis=1), features[:, -3:]
    # Columns: common factor - 1, deviation of each kind, and what is added; all relative to the measurement.
    design = np.column_stack([plain, features]) / (measured * std)[:, None]
    target = (1.0 - plain / measured) / std
    allowed = np.asarray([form.per_run * _PER_RUN_STD, form.weights * _WEIGHTS_STD, form.fixed * _FIXED_STD])
    prior = np.column_stack(
        [
            np.full(len(used), _FACTOR_STD),
            np.full((len(used), features.shape[1] - 3), form.kind_std),
            allowed * (used @ plain)[:, None] / (used @ added),
        ]
    )
    square = np.einsum("kn,np,nq->kpq", used, design, design, optimize=True)
    normal = prior[:, :, None] * square * prior[:, None, :] + np.eye(design.shape[1])
    solution = prior * np.linalg.solve(normal, (prior * ((used * target) @ design))[:, :, None])[:, :, 0]
    return np.column_stack([1.0 + solution[:, :1] + solution[:, 1:-3], solution[:, -3:]])


def _corrected(fitted: Floats, components: Sequence[Component], component_ms: Floats, params: Floats) -> Floats:
    """Corrected latency of each component, shape (components,); it may be absurd where few sub-DiTs were fitted."""
    factors = fitted[[KINDS.index(component.kind) for component in components]]
    return factors * component_ms + fitted[-3] + fitted[-2] * params / 1e6


def _left_out(form: _Form, features: Floats, measured: Floats, std: Floats) -> Floats:
    """Prediction of each sub-DiT by a fit on all the others, shape (n,)."""
    fits = _fit(form, features, measured, std, 1.0 - np.eye(len(measured)))
    return np.einsum("nf,nf->n", fits, features)


def _mean_error(predicted: Floats, measured: Floats) -> float:
    return float(np.mean(np.abs(predicted - measured) / measured))
