"""Which whole sub-DiTs a kit carries for the calibration."""

from __future__ import annotations

import numpy as np

from subdit.core.errors import SpaceError
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import count_params

_CANDIDATES = 2000
# Sub-DiTs below a limit are drawn in at most this number of batches of this size.
_BATCH, _BATCHES = 20_000, 20
_SEED = 20260101


def calibration_specs(space: SearchSpace, count: int, *, max_params: int | None = None) -> tuple[SubDiTSpec, ...]:
    """Sub-DiTs of a space that a kit carries, the same ones every time.

    They are its smallest, its largest, and then in turn the one that is farthest from all chosen so far and the one
    with the most values that no chosen one has. Far points determine the fit; the others represent the space between
    them.

    Args:
        space: the space.
        count: number of sub-DiTs; there are fewer where the space has no more.
        max_params: the most parameters that one may have; None for any.

    Raises:
        SpaceError: no sub-DiT of the space is that small.
    """
    if count < 1:
        return ()
    sizes = np.asarray([len(values) for values in space.dimensions.values()])
    rng = np.random.default_rng(_SEED)
    smallest, largest = np.zeros_like(sizes), sizes - 1
    drawn = _drawn(space, rng, max_params)
    if max_params is not None and count_params(space, largest[None])[0] > max_params:
        (least,) = count_params(space, smallest[None])
        if least > max_params:
            raise SpaceError(
                f"No sub-DiT of space {space.name!r} has at most {max_params:,} parameters; its smallest has {least:,}."
            )
        largest = drawn[count_params(space, drawn).argmax()] if len(drawn) else smallest
    places = drawn / np.maximum(sizes - 1, 1)
    taken = [smallest] if np.array_equal(smallest, largest) else [smallest, largest]
    used: set[int] = set()
    while len(taken) < count and len(used) < len(drawn):
        if len(taken) % 2:
            unseen = np.stack(
                [~np.isin(drawn[:, index], np.stack(taken)[:, index]) for index in range(len(sizes))]
            ).sum(axis=0)
            unseen[list(used)] = -1
            index = int(unseen.argmax())
        else:
            chosen = np.stack(taken) / np.maximum(sizes - 1, 1)
            distance = np.square(places[:, None] - chosen[None]).sum(axis=2).min(axis=1)
            distance[list(used)] = -1.0
            index = int(distance.argmax())
        used.add(index)
        if not any(np.array_equal(drawn[index], other) for other in taken):
            taken.append(drawn[index])
    return tuple(space.decode(np.stack(taken[:count])))


def _drawn(space: SearchSpace, rng: np.random.Generator, max_params: int | None) -> EncodedSpecs:
    """Distinct sub-DiTs in random order, uniform over those that are small enough."""
    if max_params is None:
        drawn = np.unique(space.sample(rng, _CANDIDATES), axis=0)
        return drawn[rng.permutation(len(drawn))]
    kept = np.empty((0, len(space.dimensions)), dtype=np.int64)
    for _ in range(_BATCHES):
        batch = space.sample(rng, _BATCH)
        kept = np.concatenate([kept, batch[count_params(space, batch) <= max_params]])
        if len(kept) >= _CANDIDATES:
            break
    drawn = np.unique(kept[:_CANDIDATES], axis=0)
    return drawn[rng.permutation(len(drawn))]
