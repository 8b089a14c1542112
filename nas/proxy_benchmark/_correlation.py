"""How well two rankings agree, with intervals from resampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS = 2000


@dataclass(frozen=True)
class Agreement:
    """A rank correlation of n pairs with its 95 % bootstrap interval (percentiles of resampled pairs)."""

    value: float
    low: float
    high: float
    count: int


def expected_agreement(tau: float) -> float:
    """Kendall's tau of an expected value with one noisy look at it, where two such looks have the given one.

    For normal values with normal noise: there tau is 2/pi asin(rho), the correlation of two looks is the fraction of
    their variance that is no noise, and that of a look with what is expected is its root. So it is above what two looks
    have, unless these agree perfectly or, at 0 and below, have nothing in common.
    """
    rho = np.sin(np.pi / 2 * max(tau, 0.0))
    return float(2 / np.pi * np.arcsin(np.sqrt(rho)))


def agreement(
    measure: Callable[[Floats, Floats], float], first: Floats, second: Floats, *, seed: int = 0, draws: int = DRAWS
) -> Agreement:
    """A rank correlation of paired samples (n,), n >= 2, with its interval; the same for the same seed."""
    from scipy.stats import bootstrap

    resampled = bootstrap(
        (first, second),
        measure,
        paired=True,
        vectorized=False,
        n_resamples=draws,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = map(float, resampled.confidence_interval)
    return Agreement(measure(first, second), low, high, len(first))
