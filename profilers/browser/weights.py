"""Weights that are not shipped: a hash of the index gives every value, here and in the page alike.

`page/generate.js` is the same function; both round to float32 after every step, so that they agree in every bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_GOLDEN = np.uint32(0x9E3779B1)
# Values are generated in pieces of this number, which stay in the cache.
_PIECE = 1 << 20


@dataclass(frozen=True)
class Generated:
    """A tensor by its recipe: `count` values mean + scale * u, u uniform in [-1, 1) by `seed` and index.

    Attributes:
        scale, mean: float32 numbers.
    """

    seed: int
    count: int
    scale: float
    mean: float

    def to_json(self) -> list[float | int]:
        return [self.seed, self.count, self.scale, self.mean]


def recipe_like(values: npt.NDArray[Any], seed: int) -> Generated:
    """The recipe of a tensor with the mean and the standard deviation of `values`.

    What is not finite in them, such as a mask, counts for nothing: a latency does not depend on it, a NaN would.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    mean, deviation = (float(finite.mean()), float(finite.std())) if len(finite) else (0.0, 1.0)
    # A uniform number in [-s, s) has the standard deviation s / sqrt(3).
    return Generated(seed, flat.size, float(np.float32(deviation * np.sqrt(3.0))), float(np.float32(mean)))


def generate(recipe: Generated) -> Floats:
    """The values of a recipe, of shape (count,)."""
    values = np.empty(recipe.count, dtype=np.float32)
    start = _mixed(np.asarray([recipe.seed], dtype=np.uint32))
    scale, mean = np.float32(recipe.scale), np.float32(recipe.mean)
    for begin in range(0, recipe.count, _PIECE):
        index = np.arange(begin, min(begin + _PIECE, recipe.count), dtype=np.uint32)
        high = (_mixed(index * _GOLDEN + start) >> np.uint32(8)).astype(np.float32)
        # 24 bits over 2^23, less one: exact in float32.
        values[begin : begin + len(index)] = (high * np.float32(2.0**-23) - np.float32(1.0)) * scale + mean
    return values


def _mixed(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The finaliser of MurmurHash3, 32 bits (Appleby, public domain)."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))
