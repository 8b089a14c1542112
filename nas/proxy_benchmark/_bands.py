"""Rank correlations within bands of latency, where fronts are decided, and which of two proxies is ahead there.

A proxy that knows nothing but the size ranks well over all sub-DiTs, and hardly at all among those of one latency. So
pairs are compared within bands alone, and pooled over bands. Intervals resample sub-DiTs within their bands. Two
proxies are compared on the same resamples (a paired bootstrap): what makes a sample easy helps both.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.proxy_benchmark._correlation import DRAWS
from nas.proxy_benchmark._correlation import Agreement

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

BANDS = 8
_MOST_PAIRS = 4_000_000


@dataclass(frozen=True)
class Difference:
    """Tau of one proxy minus that of another, with its 95 % paired bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def is_ahead(self) -> bool:
        """Whether the first is ahead beyond noise."""
        return self.low > 0


def latency_bands(latency: Floats, count: int = BANDS) -> list[Rows]:
    """Rows of each of `count` bands of equally many latencies (n,), fastest first; fewer bands where n is small.

    A band has at least two rows.
    """
    order = np.argsort(latency, kind="stable")
    return [rows for rows in np.array_split(order, max(1, min(count, len(order) // 2))) if len(rows) > 1]


def banded_tau(first: Floats, second: Floats, bands: Sequence[Rows]) -> Floats:
    """Kendall's tau-b of samples (..., n) over the pairs within bands alone; 0 where either is constant in all.

    With one band of all rows it is the plain tau-b.
    """
    total = tied_first = tied_second = np.zeros(first.shape[:-1])
    for rows in bands:
        one, other = np.triu_indices(len(rows), 1)
        left, right = (
            np.sign(sample[..., rows[one]] - sample[..., rows[other]]).astype(np.int8) for sample in (first, second)
        )
        total = total + (left * right).sum(axis=-1, dtype=np.float64)
        tied_first = tied_first + np.count_nonzero(left, axis=-1)
        tied_second = tied_second + np.count_nonzero(right, axis=-1)
    root = np.sqrt(tied_first * tied_second)
    return np.divide(total, root, out=np.zeros_like(root), where=root > 0)


def banded_agreement(
    first: Floats, second: Floats, bands: Sequence[Rows], *, seed: int = 0, draws: int = DRAWS
) -> Agreement:
    """`banded_tau` of paired values (n,) with its 95 % bootstrap interval."""
    found = np.concatenate([banded_tau(first[rows], second[rows], bands) for rows in _resamples(bands, draws, seed)])
    low, high = np.percentile(found, [2.5, 97.5])
    count = sum(len(rows) for rows in bands)
    return Agreement(float(banded_tau(first, second, bands)), float(low), float(high), count)


def compare(
    first: Floats, second: Floats, truth: Floats, bands: Sequence[Rows], *, seed: int = 0, draws: int = DRAWS
) -> Difference:
    """How far the first proxy's `banded_tau` with the truth is above the second's, by a paired bootstrap."""
    found = np.concatenate(
        [
            banded_tau(first[rows], truth[rows], bands) - banded_tau(second[rows], truth[rows], bands)
            for rows in _resamples(bands, draws, seed)
        ]
    )
    low, high = np.percentile(found, [2.5, 97.5])
    value = float(banded_tau(first, truth, bands) - banded_tau(second, truth, bands))
    return Difference(value, float(low), float(high))


def power(
    sizes: Sequence[int], tau: float, baseline: float, *, trials: int = 200, draws: int = 200, seed: int = 0
) -> float:
    """How often `compare` would find a proxy of this tau within bands ahead of one with the tau `baseline`.

    Simulated for bands of these sizes: the truth is normal, and both proxies are normal and, for a given truth,
    independent. The taus are what the proxies read against the truth as it is, noise and all.
    """
    rng = np.random.default_rng([seed, 3])
    count, ends = sum(sizes), np.cumsum([0, *sizes])
    bands = [np.arange(start, stop) for start, stop in zip(ends[:-1], ends[1:], strict=True)]
    look = _look(rng, count)
    seen = 0
    for trial in range(trials):
        truth = rng.standard_normal(count)
        seen += compare(look(truth, tau), look(truth, baseline), truth, bands, seed=trial, draws=draws).is_ahead
    return seen / trials


def _look(rng: np.random.Generator, count: int) -> Callable[[Floats, float], Floats]:
    def look(truth: Floats, tau: float) -> Floats:
        rho = np.sin(np.pi / 2 * tau)
        return rho * truth + np.sqrt(1 - rho**2) * rng.standard_normal(count)

    return look


def _resamples(bands: Sequence[Rows], draws: int, seed: int) -> Iterator[Rows]:
    """Rows (some, n) of resamples, `draws` in all, each band drawn from itself; rows of no band keep their place."""
    rng = np.random.default_rng(seed)
    count = 1 + max(int(rows.max()) for rows in bands)
    pairs = sum(len(rows) ** 2 // 2 for rows in bands)
    left = draws
    while left:
        some = min(left, max(1, _MOST_PAIRS // max(pairs, 1)))
        drawn = np.tile(np.arange(count), (some, 1))
        for rows in bands:
            drawn[:, rows] = rows[rng.integers(0, len(rows), (some, len(rows)))]
        yield drawn
        left -= some
