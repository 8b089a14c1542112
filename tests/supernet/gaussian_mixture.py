"""Gaussian mixtures, of which density, score and velocity are known at every noise level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch import nn


@dataclass(frozen=True)
class Mixture:
    """Isotropic components: weights (count,), means (count, dimensions), and one deviation."""

    weights: Tensor
    means: Tensor
    deviation: float

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Of samples x (batch, dimensions) noised to sigma (batch,); constants are left in."""
        variance = (1 - sigma) ** 2 * self.deviation**2 + sigma**2
        distance = (x[:, None] - (1 - sigma)[:, None, None] * self.means).square().sum(-1)
        normal = -distance / (2 * variance[:, None]) - 0.5 * x.shape[1] * torch.log(2 * np.pi * variance)[:, None]
        return torch.logsumexp(torch.log(self.weights) + normal, dim=1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples (count, dimensions)."""
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[component] + self.deviation * noise


class MixtureVelocity(nn.Module):
    """The exact velocity E[eps - x0 | x_t] of a mixture of samples (batch, 1, 1, dimensions), from sigma 1 down.

    Its weights are the means, so that a critic can be kept at what the student draws.
    """

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.means = nn.Parameter(mixture.means.clone())

    def forward(self, x: Tensor, timestep: Tensor, *_: Tensor) -> Tensor:
        sigma, deviation = timestep / 1000, self.mixture.deviation
        near = (1 - sigma)[:, None]
        variance = (near * deviation) ** 2 + sigma[:, None] ** 2
        flat = x.flatten(1)
        away = flat[:, None] - near[:, None] * self.means
        share = torch.softmax(torch.log(self.mixture.weights) - away.square().sum(-1) / (2 * variance), dim=1)
        x0 = (share[..., None] * (self.means + (near * deviation**2 / variance)[:, None] * away)).sum(1)
        return ((flat - x0) / sigma[:, None]).reshape(x.shape)
