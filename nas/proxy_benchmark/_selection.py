"""Cross-fitted selection of a proxy: each half of the sub-DiTs is judged by what the other half chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.proxy_benchmark._bands import banded_agreement
from nas.proxy_benchmark._bands import banded_tau
from nas.proxy_benchmark._bands import latency_bands
from nas.proxy_benchmark._correlation import Agreement

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HalfSelection:
    """What one half chose, and what that is worth to the other.

    Attributes:
        chosen: the proxy with the highest tau within bands on one half.
        tau_where_chosen: that tau, which is too high: it is the highest of several.
        tau: on the other half, which had no part in the choice.
    """

    chosen: str
    tau_where_chosen: float
    tau: Agreement


def cross_fitted(
    scores: Mapping[str, Floats], truth: Floats, latency: Floats, *, seed: int = 0
) -> tuple[HalfSelection, HalfSelection]:
    """Both selections of a proxy among scores (n,) by name, n >= 8; sub-DiTs go to halves by the seed.

    Neighbours in latency go to different halves, so both have the same range of it.
    """
    rng = np.random.default_rng([seed, 9])
    order = np.argsort(latency, kind="stable")
    first = np.asarray([pair[rng.integers(len(pair))] for pair in np.array_split(order, max(len(order) // 2, 1))])
    halves = [np.sort(first), np.setdiff1d(order, first)]
    found = []
    for here, there in (halves, halves[::-1]):
        taus = {
            name: float(banded_tau(values[here], truth[here], latency_bands(latency[here])))
            for name, values in scores.items()
        }
        chosen = max(taus, key=lambda name: taus[name])
        judged = banded_agreement(scores[chosen][there], truth[there], latency_bands(latency[there]), seed=seed)
        found.append(HalfSelection(chosen, taus[chosen], judged))
    return found[0], found[1]
