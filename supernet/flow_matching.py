"""Rectified-flow mathematics: noising, velocity targets, time distributions, shifts, losses. Pure functions.

Convention (as the paper and diffusers): x_t = (1 - sigma) x0 + sigma eps, velocity v = eps - x0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from supernet.model.placement import full_precision


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Values (batch,) shaped to multiply a tensor (batch, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_t for clean x0 and noise (batch, ...) at sigma (batch,)."""
    sigma = per_sample(sigma, x0)
    return (1 - sigma) * x0 + sigma * noise


def velocity(x0: Tensor, noise: Tensor) -> Tensor:
    """The target eps - x0."""
    return noise - x0


def shift_sigma(sigma: Tensor, shift: float) -> Tensor:
    """Time shift s' = shift s / (1 + (shift - 1) s) (SD3); 1 leaves sigma as it is."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def resolution_shift(tokens: int) -> float:
    """The time shift for a grid of `tokens` tokens: 1 up to 256, 3 at 4,096, and a power law between them.

    SD3 shifts by the square root of the ratio of resolutions, because the same noise hides less of a picture with more
    pixels. That would give 4 at 4,096 tokens; SD3 and the paper use 3 there.
    """
    return float(max(1.0, (tokens / 256) ** (math.log(3) / math.log(4096 / 256))))


def sample_sigma(count: int, *, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """Logit-normal(0, 1) sigmas (count,), shifted (SD3); stratified, one from each of `count` equally likely parts.

    The marginal distribution is that of independent draws, but the loss of a batch varies less.
    """
    parts = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    normal = torch.special.ndtri((parts / count).clamp(1e-6, 1 - 1e-6))
    return shift_sigma(torch.sigmoid(normal), shift)


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over all elements, in float32 or wider; the flow-matching loss if the target is the velocity."""
    return (full_precision(prediction) - full_precision(target)).square().mean()


def guided_velocity(conditional: Tensor, unconditional: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598); 1 is the conditional velocity alone."""
    return unconditional + guidance_scale * (conditional - unconditional)
