"""Small random distortions of the pictures of a batch, so that a small data set is not learned by heart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from subdit.core.errors import ConfigError
from supernet.data.data_set import DataSet
from supernet.data.latent_codec import are_pixels
from supernet.training.config import TrainingConfig
from supernet.training.random_stream import random_stream
from supernet.training.world import World

_STREAM = 2
"""Keeps these draws apart from a step's others, so that those do not depend on whether pictures are distorted."""


def check_augmentation(config: TrainingConfig, data: DataSet) -> None:
    """Raise `ConfigError` where latents are no pictures: those of a turned picture are not turned latents."""
    if config.augmentation and not are_pixels(data.key):
        raise ConfigError(
            "--augmentation is for latents that are pixels, and these are an autoencoder's; encode distorted copies "
            "of the pictures instead."
        )


def augment(pictures: Tensor, amount: float, *, seed: int, step: int, world: World | None = None) -> Tensor:
    """Pictures (batch, channels, size, size), each under its own affine map; what lies beyond the edge is the edge.

    Each of the six entries of a map differs from the identity's by at most `amount`, uniformly, in coordinates in which
    a picture is from -1 to 1. So 0.1 moves by up to a twentieth of the side, and stretches and turns by up to a tenth.
    Values stay in the range that they had in the batch, which bicubic interpolation would leave. Of a `world`'s
    processes each has its own pictures of a batch; maps and range are those of one process with all of them.
    """
    world = world or World()
    if not amount:
        return pictures
    offsets = 2 * torch.rand(len(pictures) * world.ranks, 2, 3, generator=random_stream(seed, step, _STREAM)) - 1
    maps = torch.eye(2, 3) + amount * world.own(offsets)
    grid = functional.affine_grid(maps, list(pictures.shape), align_corners=False)
    moved = functional.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)
    darkest, brightest = world.largest(-pictures.min().item(), pictures.max().item())
    return moved.clamp(-darkest, brightest)
