"""The members of a step: the full network and the sub-networks that are drawn for it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import count_flops
from supernet.training.config import TrainingConfig

CANDIDATES_NEAR = 64
"""Sub-DiTs drawn for each that is wanted near the first in FLOPs."""


@dataclass(frozen=True)
class StepMembers:
    """Who takes part in a step.

    Attributes:
        subs: the sub-networks.
        full: the full network with strips and radius of attention drawn, None where it has its own.
    """

    subs: tuple[SubDiTSpec, ...]
    full: SubDiTSpec | None = None


def draw_members(space: SearchSpace, config: TrainingConfig, step: int) -> StepMembers:
    """The members of a step, a function of the seed and the step alone."""
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, step]))
    count = config.sub_networks
    if config.sub_sampling == "sandwich":
        encoded = np.concatenate([smallest(space), space.sample(rng, count - 1)])
    elif config.sub_sampling == "near":
        encoded = _near(space, space.sample(rng, CANDIDATES_NEAR * (count - 1)), count)
    else:
        encoded = space.sample(rng, count)
    full = _draw_bna(space, np.random.default_rng([config.seed, step, 2])) if config.draw_full_bna else None
    return StepMembers(tuple(space.decode(encoded)), full)


def smallest(space: SearchSpace) -> EncodedSpecs:
    """The sub-DiT with the fewest FLOPs, (1, dimensions), if the order of each dimension's values by FLOPs does not
    depend on the others."""
    encoded = np.zeros((1, len(space.columns)), dtype=np.int64)
    for index, column in enumerate(space.columns):
        each = np.repeat(encoded, len(column.values), axis=0)
        each[:, index] = np.arange(len(column.values))
        encoded[0, index] = int(np.argmin(count_flops(space, each)))
    return encoded


def _near(space: SearchSpace, drawn: EncodedSpecs, count: int) -> EncodedSpecs:
    """The first of those drawn, and those that have about as many FLOPs."""
    flops = np.log(count_flops(space, drawn))
    # Stable, so that the first, which is at no distance from itself, stays the first.
    order = np.argsort(np.abs(flops - flops[0]), kind="stable")
    return drawn[order[:count]]


def _draw_bna(space: SearchSpace, rng: np.random.Generator) -> SubDiTSpec:
    """The full network with other strips and radii, which have no weights of their own."""
    full = space.named_spec("full")
    drawn = space.decode(space.sample(rng, 1))[0]
    return replace(full, bna_blocks=drawn.bna_blocks, bna_radius=drawn.bna_radius)
