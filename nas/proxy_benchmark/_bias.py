"""How far a supernet's weights are off by size: the loss of inherited weights less that of weights trained alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.proxy_benchmark._correlation import DRAWS

Floats = npt.NDArray[np.float64]

PARTS = 10


@dataclass(frozen=True)
class SizeBias:
    """Inherited minus alone over sizes. A constant difference is no bias: it ranks nothing.

    Attributes:
        flops: geometric mean of each of at most `PARTS` parts of equally many sub-DiTs, smallest first.
        gap: mean difference of each.
        slope: of the difference per doubling of FLOPs, with
        low, high: its 95 % bootstrap interval.
    """

    flops: tuple[float, ...]
    gap: tuple[float, ...]
    slope: float
    low: float
    high: float


def size_bias(flops: Floats, inherited: Floats, alone: Floats, *, seed: int = 0) -> SizeBias:
    """The bias by size of losses (n,) with inherited weights and alone; n >= 2."""
    size, gap = np.log2(flops), inherited - alone
    parts = np.array_split(np.argsort(size, kind="stable"), min(PARTS, len(size)))
    rows = np.random.default_rng([seed, 8]).integers(0, len(size), (DRAWS, len(size)))
    low, high = np.percentile(_slope(size[rows], gap[rows]), [2.5, 97.5])
    return SizeBias(
        tuple(float(2 ** size[part].mean()) for part in parts),
        tuple(float(gap[part].mean()) for part in parts),
        float(_slope(size, gap)),
        float(low),
        float(high),
    )


def _slope(x: Floats, y: Floats) -> Floats:
    """Of least squares over the last axis; 0 where all x are equal."""
    apart = x - x.mean(axis=-1, keepdims=True)
    below = np.square(apart).sum(axis=-1)
    return np.divide((apart * y).sum(axis=-1), below, out=np.zeros_like(below), where=below > 0)
