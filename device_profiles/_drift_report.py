"""Report on a device that changed its speed during a measurement: where, by how much, with what evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._changepoints import clip_outliers
from device_profiles._statistics import Z_95

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FOLDS = 5
# An improvement on left-out rows counts from this many of its standard errors on.
_SURE = 2.0


@dataclass(frozen=True)
class Segment:
    """Rows measured at one speed.

    Attributes:
        first: order of its first row.
        last: order of its last row.
        rows: how many rows it has.
        factor: its latencies over those that the fit predicts, so that 1 is the speed predicted for.
        low: lower end of the factor's 95 % interval.
        high: upper end of it.
    """

    first: float
    last: float
    rows: int
    factor: float
    low: float
    high: float


@dataclass(frozen=True)
class DriftReport:
    """Segments of different speed, and the evidence for them.

    Attributes:
        segments: in the order of measurement; a single one where no change was found.
        corrected: whether the fit removes them; only where that predicts left-out rows better.
        likelihood_ratio: log likelihood of the rows with the segments less that with one speed, in nats.
        error_without: mean absolute relative residual of rows left out in turn, one speed for all.
        error_with: the same, each row at the speed of the rest of its segment.
        standard_error: of the mean difference of the two.
    """

    segments: tuple[Segment, ...]
    corrected: bool
    likelihood_ratio: float
    error_without: float
    error_with: float
    standard_error: float

    def statement(self) -> tuple[str, ...]:
        """The same in sentences."""
        if len(self.segments) == 1:
            return (f"No drift: no change of speed stands out in {self.segments[0].rows} rows.",)
        found = "changed its speed" if self.corrected else "may have changed its speed"
        verdict = "corrected" if self.corrected else "left alone"
        surely = "surely" if self.corrected else "not surely"
        errors = (
            f"off by {100 * self.error_with:.2f} % with, {100 * self.error_without:.2f} % without, difference "
            f"+-{100 * self.standard_error:.2f}"
        )
        lines = [
            f"The device {found}; {len(self.segments)} segments, {verdict}: rows that were left out of the fit are "
            f"{surely} predicted better with them ({errors})."
        ]
        for one in self.segments:
            lines.append(
                f"Rows {one.first:g} to {one.last:g} ({one.rows} rows): {100 * (one.factor - 1):+.1f} % "
                f"({100 * (one.low - 1):+.1f} to {100 * (one.high - 1):+.1f} %)."
            )
        return tuple(lines)


def report_drift(residuals: Floats, order: Floats, segment: Ints, level: float, noise: float) -> DriftReport:
    """Describe the segments of rows in order of measurement.

    Args:
        residuals: logarithms of measured over fitted latency, shape (n,).
        order: when each was measured, ascending, shape (n,).
        segment: number of the segment of each, from 0 on, shape (n,).
        level: logarithm of the factor that is predicted for.
        noise: standard deviation of a residual within a segment.
    """
    found = []
    for index in range(int(segment.max()) + 1):
        inside = residuals[segment == index]
        offset = float(np.median(inside)) - level
        # Of a median, whose variance is pi / 2 times that of a mean.
        half = Z_95 * float(np.sqrt(np.pi / 2 / len(inside))) * noise
        where = order[segment == index]
        ends = np.exp([offset, offset - half, offset + half])
        found.append(Segment(float(where[0]), float(where[-1]), len(inside), *map(float, ends)))
    if len(found) == 1:
        error = float(np.abs(residuals - np.median(residuals)).mean())
        return DriftReport(tuple(found), False, 0.0, error, error, 0.0)
    clipped = clip_outliers(residuals, noise)
    means = np.asarray([clipped[segment == index].mean() for index in range(len(found))])
    gained = np.sum(np.square(clipped - clipped.mean())) - np.sum(np.square(clipped - means[segment]))
    without, with_ = _left_out(residuals, segment)
    saved = without - with_
    error = float(saved.std() / np.sqrt(len(saved)))
    return DriftReport(
        segments=tuple(found),
        corrected=bool(saved.mean() > _SURE * error),
        likelihood_ratio=float(gained / (2 * noise**2)),
        error_without=float(without.mean()),
        error_with=float(with_.mean()),
        standard_error=error,
    )


def _left_out(residuals: Floats, segment: Ints) -> tuple[Floats, Floats]:
    """Absolute residuals of rows left out in turn, at one median for all and at that of their segment."""
    without, with_ = np.empty_like(residuals), np.empty_like(residuals)
    folds = np.arange(len(residuals)) % _FOLDS
    for fold in range(_FOLDS):
        out = folds == fold
        all_others = np.median(residuals[~out])
        without[out] = np.abs(residuals[out] - all_others)
        for index in np.unique(segment[out]):
            here = out & (segment == index)
            others = residuals[~out & (segment == index)]
            with_[here] = np.abs(residuals[here] - (np.median(others) if len(others) else all_others))
    return without, with_
