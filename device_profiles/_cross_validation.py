"""Intervals of predictions, from sub-DiTs that were left out of the fit that predicted them.

A fit without the smallest or the largest sub-DiT extrapolates to it, while a fit to all of them interpolates: kits hold
the smallest and the largest sub-DiT of their space. On stored timings these two are off by up to 7 %, the others by 0.3
to 1 %. So sizes within and beyond the measured ones have intervals of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._statistics import t_95

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# An interval needs the errors of at least this number of sub-DiTs between others.
_FEWEST = 3


@dataclass(frozen=True)
class PredictionInterval:
    """Half the 95 % interval of a prediction over the prediction.

    Attributes:
        inside: of a sub-DiT no smaller than the smallest measured one and no larger than the largest.
        outside: of any other.
        least_ms: size of the smallest measured sub-DiT, in milliseconds that were expected before the fit.
        most_ms: the same of the largest.
        std: standard deviation of the errors that `inside` is made of, relative.
    """

    inside: float
    outside: float
    least_ms: float
    most_ms: float
    std: float

    def half(self, size_ms: Floats) -> Floats:
        """Of sub-DiTs of these sizes, shape (n,)."""
        # Another order of summation may change a size by its last digits.
        beyond = (size_ms < self.least_ms * (1 - 1e-9)) | (size_ms > self.most_ms * (1 + 1e-9))
        return np.where(beyond, self.outside, self.inside)


def prediction_interval(
    predicted: Floats, measured: Floats, size_ms: Floats, *, fold: Ints | None = None
) -> PredictionInterval:
    """Intervals from n sub-DiTs.

    Args:
        predicted: of each by a fit to those of other folds, shape (n,).
        measured: shape (n,).
        size_ms: what is expected of each before the fit, shape (n,).
        fold: that each was left out with, shape (n,); None where each was left out alone.

    Raises:
        ValueError: fewer than 3 lie between others, or a number is not finite.
    """
    fold = np.arange(len(measured)) if fold is None else fold
    errors = predicted / measured - 1
    if not np.isfinite(errors).all() or not np.isfinite(size_ms).all():
        raise ValueError("predictions of what was left out are not finite")
    inside = np.zeros(len(measured), dtype=bool)
    for each in np.unique(fold):
        out, rest = fold == each, size_ms[fold != each]
        if len(rest):
            inside[out] = (rest.min() <= size_ms[out]) & (size_ms[out] <= rest.max())
    if inside.sum() < _FEWEST:
        raise ValueError(f"an interval needs {_FEWEST} sub-DiTs between others, not {int(inside.sum())}")
    half = _half(errors[inside])
    beyond = errors[~inside]
    return PredictionInterval(
        inside=half,
        outside=max(half, _half(beyond)) if len(beyond) > 1 else half,
        least_ms=float(size_ms.min()),
        most_ms=float(size_ms.max()),
        std=_root_mean_square(errors[inside]),
    )


def _half(errors: Floats) -> float:
    """Their mean is known to be 0, so each is a degree of freedom."""
    return t_95(len(errors)) * _root_mean_square(errors)


def _root_mean_square(errors: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))
