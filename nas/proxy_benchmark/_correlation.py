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


def kendall(first: Floats, second: Floats) -> float:
    """Kendall's tau-b; 0 where either is constant."""
    from device_profiles import kendall_tau

    return float(kendall_tau(first, second))


def expected_agreement(tau: float) -> float:
    """Kendall's tau of an expected value with one noisy look at it, where two such looks have the given one.

    For normal values with normal noise: there tau is 2/pi asin(rho), the correlation of two looks is the share of their
    variance that is no noise, and that of a look with what is expected is its root. So it is above what two looks
    have, unless these agree perfectly or, at 0 and below, have nothing in common.
    """
    rho = np.sin(np.pi / 2 * max(tau, 0.0))
    return float(2 / np.pi * np.arcsin(np.sqrt(rho)))


def spearman(first: Floats, second: Floats) -> float:
    """Spearman's rho: the correlation of mean ranks; 0 where either is constant."""
    a, b = mean_ranks(first), mean_ranks(second)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def mean_ranks(values: Floats) -> Floats:
    """Rank of each value, equal values with the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place], dtype=np.float64)


def agreement(
    measure: Callable[[Floats, Floats], float], first: Floats, second: Floats, *, seed: int = 0, draws: int = DRAWS
) -> Agreement:
    """A rank correlation of paired samples (n,), n >= 2, with its interval; the same for the same seed."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(first), size=(draws, len(first)))
    drawn = [measure(first[row], second[row]) for row in rows]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Agreement(measure(first, second), float(low), float(high), len(first))
