"""What a perfect proxy would read: the truth itself is noisy, as two trainings of a sub-DiT do not end alike.

For normal qualities with normal noise. There Kendall's tau is 2/pi asin(rho) (Greiner's relation), and the correlation
of two trainings is their reliability: the share of one training's variance that is no noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.proxy_benchmark._correlation import Agreement
from nas.proxy_benchmark._correlation import agreement
from nas.proxy_benchmark._correlation import kendall_tau

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ceiling:
    """Kendall tau that a proxy equal to the true quality would have with a truth of this noise, and its interval.

    Attributes:
        pair: tau between two trainings of the same sub-DiTs, with its bootstrap interval.
        value, low, high: what follows from it and from the ends of that interval.
    """

    pair: Agreement
    value: float
    low: float
    high: float

    @property
    def tells_apart(self) -> bool:
        """Whether two trainings agree beyond chance: whether the interval of their tau is above 0."""
        return self.pair.low > 0


def reliability(pair_tau: float) -> float:
    """Share of the variance of one training's quality that is no noise, by tau between two trainings; at least 0."""
    return float(np.sin(np.pi / 2 * max(pair_tau, 0.0)))


def expected_reading(pair_tau: float, trainings: Sequence[int], *, noise_free_tau: float = 1.0) -> float:
    """Kendall tau that a proxy reads against a truth averaged over trainings.

    Args:
        pair_tau: between two single trainings of the same sub-DiTs.
        trainings: of each sub-DiT, how many its truth is the mean of.
        noise_free_tau: of the proxy with the qualities themselves; 1 for a perfect one, whose reading is the ceiling.

    The difference of two sub-DiTs' truths has the variance 2 r + (1 - r) (1/k + 1/l), for the reliability r and k and l
    trainings, of which 2 r is quality. With as many trainings for all, it is the Spearman-Brown formula.
    """
    quality = reliability(pair_tau)
    noise = 1.0 - quality
    own = np.sin(np.pi / 2 * noise_free_tau)
    counts = Counter(trainings)
    total = weight = 0.0
    for one, first in counts.items():
        for other, second in counts.items():
            pairs = first * (second - (one == other))
            share = 2 * quality / (2 * quality + noise * (1 / one + 1 / other)) if quality else 0.0
            total += pairs * 2 / np.pi * np.arcsin(own * np.sqrt(share))
            weight += pairs
    return float(total / weight) if weight else 0.0


def find_ceiling(losses: Sequence[Floats], *, seed: int = 0) -> Ceiling | None:
    """The ceiling of a truth, from what trainings of each sub-DiT say of it; None with fewer than 3 trained twice."""
    pairs = np.asarray([each[:2] for each in losses if len(each) > 1], dtype=np.float64)
    if len(pairs) < 3:
        return None
    found = agreement(kendall_tau, pairs[:, 0], pairs[:, 1], seed=seed)
    trainings = [len(each) for each in losses]
    return Ceiling(found, *(expected_reading(tau, trainings) for tau in (found.value, found.low, found.high)))


def training_noise(losses: Sequence[Floats]) -> float | None:
    """Standard deviation of one training's quality about its sub-DiT's own; None where none is trained twice."""
    pairs = np.asarray([each[:2] for each in losses if len(each) > 1], dtype=np.float64)
    return float(np.sqrt(np.mean(np.square(pairs[:, 0] - pairs[:, 1])) / 2)) if len(pairs) else None
