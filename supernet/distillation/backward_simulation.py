"""Backward simulation: x_t as the student itself reaches them when it is sampled, in place of noised data (DMD2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from supernet.flow_matching import per_sample
from supernet.recipe import SamplingRecipe
from supernet.sampling import euler_sigmas

Student = Callable[[Tensor, Tensor, tuple[Tensor, ...]], tuple[Tensor, Tensor]]
"""(x_t, sigma (batch,), text) to velocity and anything else."""


def simulate(
    student: Student, noise: Tensor, sigma: Tensor, text: tuple[Tensor, ...], recipe: SamplingRecipe
) -> Tensor:
    """x_t (batch, ...) at `sigma` (batch,), reached from noise (batch, ...) by the student's own Euler steps.

    Each sigma is one of the recipe's. A row stops at its own, so a row of sigma 1 is pure noise. Steps are those of the
    sampler, without new noise. No gradient flows.
    """
    schedule = torch.from_numpy(euler_sigmas(recipe.steps, shift=recipe.shift)).to(sigma)
    x = noise.clone()
    with torch.no_grad():
        for here, following in zip(schedule[:-2], schedule[1:-1], strict=True):
            rows = torch.nonzero(sigma < here).flatten()
            if not len(rows):
                break
            level = here.expand(len(rows))
            velocity, _ = student(x[rows], level, tuple(tokens[rows] for tokens in text))
            x[rows] = x[rows] + per_sample((following - here).expand(len(rows)), x) * velocity
    return x
