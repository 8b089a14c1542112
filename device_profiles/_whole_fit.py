"""Latency of whole networks from measurements of whole networks, on a device that may drift.

    latency = expected(features) x smooth(features) x drift(order) x noise

`expected` is an additive fit, or the caller's expectation from the parts; `smooth` corrects it, and `drift` is one
level per segment of rows (`_gaussian_process`, `_changepoints`). Change points are found in the residuals of a first
fit, whose slow drift may take any course. Segments are removed where that predicts left-out rows better. Validation
rows, which are measured last, decide which level the rows to come have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._additive_fit import AdditiveFit
from device_profiles._additive_fit import fit_additive
from device_profiles._additive_fit import tail_weights
from device_profiles._changepoints import find_segments
from device_profiles._drift_report import DriftReport
from device_profiles._drift_report import report_drift
from device_profiles._gaussian_process import Kernel
from device_profiles._gaussian_process import Posterior
from device_profiles._gaussian_process import condition
from device_profiles._gaussian_process import fit_kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_ROWS = 6
"""Rows that a fit needs at least."""

# The kernel is fitted on at most this number of rows, in runs of neighbours, whose covariance it needs.
_KERNEL_ROWS = 300
_RUN = 25
# How often rows are weighed by how far off they are.
_WEIGHINGS = 2
# How often segments are looked for, each time with those found before taken out.
_SEARCHES = 3
# 95 % quantile of the normal distribution times the standard error of a median absolute deviation, over sqrt(rows).
_UPPER = 1.645 * 1.17
# Rows per feature that an additive fit needs; with fewer the expected latency is one number.
_ROWS_PER_FEATURE = 3
# The level of a segment may hold for rows to come if it has at least this fraction of the rows, and this number.
_LEVEL_FRACTION = 0.05
_LEVEL_ROWS = 5
# A candidate is surely worse on validation from this many standard errors of the best one's error on.
_SURE = 1.0
ALL_ROWS = "all rows"
ADDITIVE, PARTS, CONSTANT = "additive", "parts", "constant"


@dataclass(frozen=True)
class WholeRows:
    """Whole networks that were measured.

    Attributes:
        features: description in numbers, shape (n, features).
        latency_ms: shape (n,).
        order: when each was measured, ascending, shape (n,); None where they stand in that order without a gap.
        relative_std: standard error of each latency over the latency, shape (n,); None where it is not known.
        prior_ms: expectation from its parts, up to a factor, shape (n,); None for no expectation.
    """

    features: Floats
    latency_ms: Floats
    order: Floats | None = None
    relative_std: Floats | None = None
    prior_ms: Floats | None = None

    def __post_init__(self) -> None:
        rows = len(self.latency_ms)
        columns = (self.features, self.latency_ms, self.order, self.relative_std, self.prior_ms)
        if any(column is not None and (len(column) != rows or not np.isfinite(column).all()) for column in columns):
            raise ValueError(f"each column needs {rows} finite rows")
        if (self.latency_ms <= 0).any() or (self.prior_ms is not None and (self.prior_ms <= 0).any()):
            raise ValueError("latencies must be above zero")
        if self.order is not None and (np.diff(self.order) < 0).any():
            raise ValueError("rows must stand in the order in which they were measured")


@dataclass(frozen=True)
class WholeFit:
    """A latency model; `predict` is at the speed that the device is expected to have after the rows.

    Attributes:
        drift: report on the device's changes of speed.
        form: of the expectation: "additive", "parts" (from the rows' prior) or "constant".
        level: the rows whose speed is predicted: "all rows" or "rows A to B".
        candidates: mean absolute relative error on the validation rows of each candidate; empty without such rows.
        noise: standard deviation of a row's residual, relative.
    """

    drift: DriftReport
    form: str
    level: str
    candidates: Mapping[str, float]
    noise: float
    _shape: _Shape
    _level: float

    def predict(self, features: Floats, *, prior_ms: Floats | None = None) -> Floats:
        """Latencies in milliseconds of features of shape (n, features); `prior_ms` where the rows had it."""
        return np.exp(self._shape.log_latency(np.asarray(features, dtype=np.float64), prior_ms) + self._level)


def fit_whole(rows: WholeRows, *, validation: WholeRows | None = None) -> WholeFit:
    """Fit on rows; with `validation`, measured after them, choose whether drift is taken out and which level holds on.

    Raises:
        ValueError: fewer than `MIN_ROWS` rows, or an expectation on one side only.
    """
    if len(rows.latency_ms) < MIN_ROWS:
        raise ValueError(f"a fit needs at least {MIN_ROWS} rows, not {len(rows.latency_ms)}")
    if validation is not None and (validation.prior_ms is None) != (rows.prior_ms is None):
        raise ValueError("both rows and validation rows need prior_ms, or neither")
    from threadpoolctl import threadpool_limits

    # L-BFGS factorises matrices of some ten rows thousands of times: a second thread only waits.
    with threadpool_limits(1, user_api="blas"):
        return _fit(rows, validation)


def _fit(rows: WholeRows, validation: WholeRows | None) -> WholeFit:
    order = np.arange(len(rows.latency_ms), dtype=np.float64) if rows.order is None else rows.order
    one = np.zeros(len(order), dtype=np.int64)
    segment, levels = one, np.zeros(1)
    for _ in range(_SEARCHES):
        # A fit that knows of the segments shows the next ones more clearly.
        first = _Shape.fit(rows, order, segment, levels[segment], form=_forms(rows)[0], with_drift=True)
        residuals = np.log(rows.latency_ms) - first.log_latency(rows.features, rows.prior_ms)
        before, segment = segment, find_segments(residuals, _noise(residuals, first.posterior.freedom))
        levels = _medians(residuals, segment) - np.median(residuals)
        if (segment == before).all():
            break
    nothing = np.zeros(len(order))
    fits: dict[tuple[bool, str], _Shape] = {}
    for form in _forms(rows) if validation is not None else _forms(rows)[:1]:
        if report_drift(residuals, order, segment, 0.0, 1.0).corrected:
            fits[True, form] = _Shape.fit(rows, order, segment, levels[segment], form=form)
        if validation is not None or not fits:
            fits[False, form] = _Shape.fit(rows, order, one, nothing, form=form)
    return _choose(rows, order, segment, fits, validation)


def _choose(
    rows: WholeRows, order: Floats, segment: Ints, fits: Mapping[tuple[bool, str], _Shape], validation: WholeRows | None
) -> WholeFit:
    """The first candidate that is not surely worse on validation than the best of them.

    In order of preference: without drift, where the rows are evidence for it, before one speed; an additive expectation
    before none; the level of many rows before that of few.
    """
    options: dict[tuple[bool, str, str], tuple[float, Floats]] = {}
    for (corrected, form), shape in sorted(fits.items(), key=lambda fit: not fit[0][0]):
        expected = shape.log_latency(rows.features, rows.prior_ms)
        for name, inside in _levels(order, segment if corrected else np.zeros_like(segment)).items():
            level = _relative_median(np.exp(expected[inside]), rows.latency_ms[inside])
            errors = np.zeros(1)
            if validation is not None:
                predicted = np.exp(shape.log_latency(validation.features, validation.prior_ms) + level)
                errors = np.abs(predicted / validation.latency_ms - 1)
            options[corrected, form, name] = level, errors
    best = min(options, key=lambda key: float(options[key][1].mean()))
    chosen = next(key for key in options if not _is_worse(options[key][1], options[best][1]))
    shape, level = fits[chosen[:2]], options[chosen][0]
    residuals = np.log(rows.latency_ms) - shape.log_latency(rows.features, rows.prior_ms)
    within = residuals - _medians(residuals, segment)[segment]
    noise = float(1.4826 * np.median(np.abs(within)))
    drift = report_drift(residuals, order, segment, level, max(noise, 1e-12))
    candidates = {
        f"{form}, {'drift taken out' if corrected else 'one speed'}, level of {name}": float(errors.mean())
        for (corrected, form, name), (_, errors) in options.items()
    }
    return WholeFit(
        drift=_with_verdict(drift, corrected=chosen[0]),
        form=chosen[1],
        level=chosen[2],
        candidates=candidates if validation is not None else {},
        noise=noise,
        _shape=shape,
        _level=level,
    )


def _is_worse(errors: Floats, best: Floats) -> bool:
    """Breiman's rule: worse than the best by more than the standard error of the best's own mean."""
    return bool(errors.mean() - best.mean() > _SURE * best.std() / np.sqrt(len(best)))


def _forms(rows: WholeRows) -> tuple[str, ...]:
    """Forms of the expectation, in order of preference."""
    if rows.prior_ms is not None:
        return (PARTS,)
    enough = len(rows.latency_ms) >= _ROWS_PER_FEATURE * rows.features.shape[1]
    return (ADDITIVE, CONSTANT) if enough else (CONSTANT,)


def _with_verdict(drift: DriftReport, *, corrected: bool) -> DriftReport:
    return DriftReport(**{**vars(drift), "corrected": corrected})


def _levels(order: Floats, segment: Ints) -> dict[str, npt.NDArray[np.bool_]]:
    """Rows whose level may hold on, by name: all of them, and each segment that is long enough, most rows first."""
    found = {ALL_ROWS: np.ones(len(order), dtype=bool)}
    if segment.any():
        for index in range(int(segment.max()) + 1):
            inside = segment == index
            if inside.sum() >= max(_LEVEL_ROWS, _LEVEL_FRACTION * len(order)):
                found[f"rows {order[inside][0]:g} to {order[inside][-1]:g}"] = inside
    return dict(sorted(found.items(), key=lambda level: -int(level[1].sum())))


@dataclass(frozen=True)
class _Shape:
    """Expected latency times its smooth correction, at an arbitrary level."""

    expected: AdditiveFit | float
    logarithmic: npt.NDArray[np.bool_]
    least: Floats
    mean: Floats
    std: Floats
    posterior: Posterior

    @classmethod
    def fit(
        cls, rows: WholeRows, order: Floats, segment: Ints, drift: Floats, *, form: str, with_drift: bool = False
    ) -> _Shape:
        """Fit with the segments given; `drift` is a first guess of each row's logarithm of it."""
        features, undrifted = np.asarray(rows.features, dtype=np.float64), rows.latency_ms * np.exp(-drift)
        expected: AdditiveFit | float
        if form == ADDITIVE:
            expected = fit_additive(features, undrifted)
        else:
            expected = float(np.median(np.log(undrifted if rows.prior_ms is None else undrifted / rows.prior_ms)))
        least = features.min(axis=0)
        logarithmic = least > 0
        scaled = _logarithms(features, logarithmic, least)
        mean, std = scaled.mean(axis=0), scaled.std(axis=0)
        std = np.where(std > 1e-9, std, np.inf)
        scaled = (scaled - mean) / std
        target = np.log(rows.latency_ms) - _expected(expected, features, rows.prior_ms)
        known = np.zeros(len(target)) if rows.relative_std is None else rows.relative_std
        some = _runs(len(target))
        kernel = Kernel.start(scaled.shape[1])
        # Rows that are far off count for less: at first far from what was expected, then from what the others predict.
        off = target - drift
        weights = tail_weights(off - np.median(off))
        for _ in range(_WEIGHINGS):
            scale = 1 / np.sqrt(weights)
            kernel = fit_kernel(
                scaled[some],
                target[some],
                order[some],
                segment[some],
                scale=scale[some],
                start=kernel,
                with_drift=with_drift,
            )
            noise = np.hypot(kernel.noise_std * scale, known)
            posterior = condition(kernel, scaled, target, order, segment, noise)
            weights = tail_weights(posterior.left_out, 1.0)
        return cls(expected, logarithmic, least, mean, std, posterior)

    def log_latency(self, features: Floats, prior_ms: Floats | None) -> Floats:
        """Logarithms of milliseconds, shape (n,)."""
        scaled = (_logarithms(features, self.logarithmic, self.least) - self.mean) / self.std
        return _expected(self.expected, features, prior_ms) + self.posterior.predict(scaled)


def _expected(expected: AdditiveFit | float, features: Floats, prior_ms: Floats | None) -> Floats:
    if isinstance(expected, AdditiveFit):
        return np.log(expected.predict(features))
    level = np.full(len(features), expected)
    return level if prior_ms is None else level + np.log(prior_ms)


def _logarithms(features: Floats, which: npt.NDArray[np.bool_], least: Floats) -> Floats:
    """Features of which all rows are above zero as logarithms: what multiplies latency is then a slope."""
    return np.where(which, np.log(np.where(which, np.maximum(features, least / 10), 1.0)), features)


def _runs(rows: int) -> Ints:
    """Row numbers for the fit of the kernel: all, or runs of neighbours spread over all."""
    if rows <= _KERNEL_ROWS:
        return np.arange(rows)
    begins = np.linspace(0, rows - _RUN, _KERNEL_ROWS // _RUN).astype(np.int64)
    return np.unique(begins[:, None] + np.arange(_RUN))


def _medians(residuals: Floats, segment: Ints) -> Floats:
    """Median of each segment, shape (segments,)."""
    return np.asarray([np.median(residuals[segment == index]) for index in range(int(segment.max()) + 1)])


def _noise(residuals: Floats, freedom: float) -> float:
    """Upper 95 % bound of the standard deviation of residuals whose level may change between segments.

    From differences of neighbours, which levels do not change. They are corrected for the degrees of freedom of the
    fit, and for the error of their own median: with too small a value, chance would pass for drift.
    """
    rows = len(residuals)
    median = float(1.4826 * np.median(np.abs(np.diff(residuals))) / np.sqrt(2))
    taken = np.sqrt(rows / max(rows - freedom, rows / 4))
    return max(median * taken * (1 + _UPPER / np.sqrt(rows)), 1e-9)


def _relative_median(predicted: Floats, measured: Floats) -> float:
    """Logarithm of the factor on predictions of least mean absolute relative error: a weighted median."""
    ratio = measured / predicted
    by_size = np.argsort(ratio)
    weight = np.cumsum(1 / ratio[by_size])
    return float(np.log(ratio[by_size][np.searchsorted(weight, weight[-1] / 2)]))
