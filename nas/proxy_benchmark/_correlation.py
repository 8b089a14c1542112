"""How well two rankings agree, with intervals from resampling.

scipy's own rank correlations take one pair of samples a call, and an interval takes thousands. The ones here take all
resamples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Correlation = Callable[[Floats, Floats], Floats]
"""Pairs of samples of n values, both of shape (..., n), to their rank correlations, of shape (...)."""

DRAWS = 2000
_MOST_PAIRS = 4_000_000
"""Pairs of values compared at once: bounds the memory of an interval, about 100 MB."""


@dataclass(frozen=True)
class Agreement:
    """A rank correlation of n pairs with its 95 % bootstrap interval (percentiles of resampled pairs)."""

    value: float
    low: float
    high: float
    count: int


def kendall_tau(first: Floats, second: Floats) -> Floats:
    """Kendall's tau-b of samples of shape (..., n); 0 where either is constant."""
    one, other = np.triu_indices(first.shape[-1], 1)
    orders = [_order(sample[..., one], sample[..., other]) for sample in (first, second)]
    # As in scipy.stats.kendalltau: concordant less discordant pairs, over the roots of the pairs without a tie.
    roots = [np.sqrt(np.count_nonzero(order, axis=-1)) for order in orders]
    return np.clip(_ratio(_ratio((orders[0] * orders[1]).sum(axis=-1), roots[0]), roots[1]), -1.0, 1.0)


def spearman_rho(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation of samples of shape (..., n), ties at their mean rank; 0 where either is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(sample, axis=-1) for sample in (first, second)]
    apart = [rank - rank.mean(axis=-1, keepdims=True) for rank in ranks]
    roots = [np.sqrt(np.square(each).sum(axis=-1)) for each in apart]
    return np.clip(_ratio(_ratio((apart[0] * apart[1]).sum(axis=-1), roots[0]), roots[1]), -1.0, 1.0)


def _order(one: Floats, other: Floats) -> npt.NDArray[np.int8]:
    """1 where the first is larger, -1 where it is smaller, 0 where they are equal."""
    return (one > other).astype(np.int8) - (one < other).astype(np.int8)


def _ratio(number: npt.NDArray[Any], root: Floats) -> Floats:
    """0 where the root is, as a constant sample's is."""
    return np.divide(number, root, out=np.zeros_like(root), where=root > 0)


def expected_agreement(tau: float) -> float:
    """Kendall's tau of an expected value with one noisy look at it, where two such looks have the given one.

    For normal values with normal noise: there tau is 2/pi asin(rho), the correlation of two looks is the fraction of
    their variance that is no noise, and that of a look with what is expected is its root. So it is above what two looks
    have, unless these agree perfectly or, at 0 and below, have nothing in common.
    """
    rho = np.sin(np.pi / 2 * max(tau, 0.0))
    return float(2 / np.pi * np.arcsin(np.sqrt(rho)))


def agreement(measure: Correlation, first: Floats, second: Floats, *, seed: int = 0, draws: int = DRAWS) -> Agreement:
    """A rank correlation of paired samples (n,), n >= 2, with its interval; the same for the same seed."""
    from scipy.stats import bootstrap

    count = len(first)
    resampled = bootstrap(
        (first, second),
        lambda one, other, axis: measure(np.moveaxis(one, axis, -1), np.moveaxis(other, axis, -1)),
        paired=True,
        vectorized=True,
        n_resamples=draws,
        # What is drawn does not depend on it.
        batch=max(1, 2 * _MOST_PAIRS // count**2),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = map(float, resampled.confidence_interval)
    return Agreement(float(measure(first, second)), low, high, count)
