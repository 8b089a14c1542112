"""Which sub-DiTs a truth table is of, and the order of their trainings: useful wherever it stops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import count_flops

PILOT = 12
"""Sub-DiTs whose second training comes at once, so that the noise of a training is known early."""
_POOL = 4096


def draw_specs(space: SearchSpace, count: int, seed: int) -> list[SubDiTSpec]:
    """`count` different specs drawn by `seed`, of which every beginning covers the sizes of the space evenly.

    Each is uniform over the space: a place of the van der Corput sequence (base 2, shifted by the seed) in a uniform
    draw of `_POOL` that is sorted by FLOPs. The first specs are the same for any `count`; of a space with fewer specs
    there are fewer.
    """
    rng = np.random.default_rng([seed, 5])
    pool = np.unique(space.sample(rng, _POOL) if space.size > _POOL else space.enumerate(), axis=0)
    pool = pool[rng.permutation(len(pool))]
    # Stable: specs of equal FLOPs stay in the order that the seed gave them.
    pool = pool[np.argsort(count_flops(space, pool), kind="stable")]
    start = rng.random()
    left = list(range(len(pool)))
    chosen: list[int] = []
    for index in range(min(count, len(pool))):
        place = (_van_der_corput(index) + start) % 1.0 * len(pool)
        nearest = int(np.argmin(np.abs(np.asarray(left) + 0.5 - place)))
        chosen.append(left.pop(nearest))
    return space.decode(pool[chosen])


def training_order(count: int, twice: int) -> Iterator[tuple[int, int]]:
    """Index of a spec and number of its training, for `count` specs of which the first `twice` are trained twice.

    First both trainings of `PILOT` specs, then new specs, with second trainings between them in proportion.
    """
    pilot = min(PILOT, twice)
    for index in range(pilot):
        yield index, 0
        yield index, 1
    again = pilot
    for index in range(pilot, count):
        yield index, 0
        due = pilot + (index + 1 - pilot) * (twice - pilot) / (count - pilot)
        while again < twice and again + 1 <= due + 1e-9:
            yield again, 1
            again += 1


def _van_der_corput(index: int) -> float:
    """The digits of a number in base 2, mirrored at the point."""
    value, place = 0.0, 0.5
    while index:
        index, digit = divmod(index, 2)
        value += digit * place
        place /= 2
    return value
