"""Which whole sub-DiTs a kit carries for the calibration."""

from __future__ import annotations

import numpy as np

from supernet.space import SearchSpace
from supernet.space import SubDiTSpec

_CANDIDATES = 2000
_SEED = 20260101


def calibration_specs(space: SearchSpace, count: int) -> tuple[SubDiTSpec, ...]:
    """`count` sub-DiTs spread over the space: its smallest and its largest, then every other one as far as possible
    from those taken before, and every other one drawn for the values that none of those has. The same ones every time.

    Far points pin the fit down, drawn ones weigh the middle of the space as it weighs itself.
    """
    sizes = np.asarray([len(values) for values in space.dimensions.values()])
    rng = np.random.default_rng(_SEED)
    drawn = np.unique(space.sample(rng, _CANDIDATES), axis=0)
    drawn = drawn[rng.permutation(len(drawn))]
    places = drawn / np.maximum(sizes - 1, 1)
    taken = [np.zeros_like(sizes), sizes - 1]
    used: set[int] = set()
    while len(taken) < min(count, space.size) and len(used) < len(drawn):
        if len(taken) % 2:
            unseen = np.stack([~np.isin(drawn[:, at], np.stack(taken)[:, at]) for at in range(len(sizes))]).sum(axis=0)
            unseen[list(used)] = -1
            at = int(unseen.argmax())
        else:
            chosen = np.stack(taken) / np.maximum(sizes - 1, 1)
            distance = np.square(places[:, None] - chosen[None]).sum(axis=2).min(axis=1)
            distance[list(used)] = -1.0
            at = int(distance.argmax())
        used.add(at)
        if not any(np.array_equal(drawn[at], other) for other in taken):
            taken.append(drawn[at])
    return tuple(space.decode(np.stack(taken[:count])))
