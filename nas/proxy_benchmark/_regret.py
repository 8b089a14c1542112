"""True quality that is lost by taking what a proxy says: by the picks of a front, and over the whole front.

At a latency, the regret is the true loss of what the proxy puts there, less the lowest true loss of all sub-DiTs that
are at least as fast. It is at least 0, and 0 for a proxy equal to the truth. The truth itself is noisy: the lowest of
many noisy values is too low, so that a perfect proxy has a regret, too. `noise_regret` says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas._pareto import on_front
from nas._picks import choose_picks
from subdit.results import PICK_NAMES

Floats = npt.NDArray[np.float64]

FRONT = "front"
_DRAWS = 400
_NOISE_DRAWS = 200


@dataclass(frozen=True)
class Regret:
    """True loss lost, in the unit of the truth, with a 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def regrets(latency: Floats, proxy: Floats, truth: Floats) -> dict[str, float]:
    """By the name of a pick, and for the whole front, the regret of going by a proxy; all arrays are (n,), n >= 1.

    The picks are those that a search names on the front of latency and proxy. That of the whole front is the mean over
    the latencies of all sub-DiTs, at each of which the proxy takes the best that is at least as fast.
    """
    order = np.lexsort((proxy, latency))
    latency, proxy, truth = latency[order], proxy[order], truth[order]
    # Equally fast ones are within each other's reach.
    reach = np.searchsorted(latency, latency, side="right") - 1
    lowest = np.minimum.accumulate(truth)[reach]
    best_so_far = np.minimum.accumulate(proxy)
    first = np.searchsorted(-best_so_far, -best_so_far[reach], side="left")
    points = np.c_[latency, proxy]
    front = np.flatnonzero(on_front(points))
    found = {
        name: float(truth[front[choice.index]] - lowest[front[choice.index]])
        for name, choice in choose_picks(points[front]).items()
    }
    return {name: found[name] for name in PICK_NAMES} | {FRONT: float(np.mean(truth[first] - lowest))}


def regret_intervals(
    latency: Floats, proxy: Floats, truth: Floats, *, seed: int = 0, draws: int = _DRAWS
) -> dict[str, Regret]:
    """`regrets` with intervals: other sub-DiTs might have been drawn."""
    rng = np.random.default_rng([seed, 4])
    found = regrets(latency, proxy, truth)
    drawn: list[Mapping[str, float]] = []
    for _ in range(draws):
        rows = np.unique(rng.integers(0, len(truth), len(truth)))
        drawn.append(regrets(latency[rows], proxy[rows], truth[rows]))
    ends = {name: np.percentile([each[name] for each in drawn], [2.5, 97.5]) for name in found}
    return {name: Regret(value, float(ends[name][0]), float(ends[name][1])) for name, value in found.items()}


def noise_regret(latency: Floats, truth: Floats, noise: Floats, *, seed: int = 0) -> dict[str, float]:
    """The regret that a perfect proxy would show, in the mean, because of the truth's own noise.

    Args:
        truth: (n,), here taken for the qualities themselves.
        noise: standard deviation of each (n,): of one training, over the root of the number of trainings.
    """
    rng = np.random.default_rng([seed, 6])
    drawn = [regrets(latency, truth, truth + noise * rng.standard_normal(len(truth))) for _ in range(_NOISE_DRAWS)]
    return {name: float(np.mean([each[name] for each in drawn])) for name in drawn[0]}
