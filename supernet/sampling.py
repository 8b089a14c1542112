"""Sampling: Euler steps from noise along a velocity, in numpy, for a torch module and an exported model alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
VelocityFunction = Callable[[Array, Array], Array]
"""(x_t (batch, ...), timestep (batch,) = 1000 sigma) to velocity (batch, ...)."""


def euler_sigmas(steps: int, *, shift: float = 1.0) -> npt.NDArray[np.float64]:
    """The steps + 1 sigmas from 1 to 0; shift 3 and 4 steps give 1, .9, .75, .5, 0 (paper, section 4.2)."""
    sigma = np.linspace(1, 0, steps + 1)
    return shift * sigma / (1 + (shift - 1) * sigma)


def sample_euler(velocity: VelocityFunction, noise: Array, *, steps: int, shift: float = 1.0) -> Array:
    """Integrate from noise (batch, ...) at sigma 1 to a sample at sigma 0."""
    x = noise
    for sigma, following in zip(*(lambda s: (s[:-1], s[1:]))(euler_sigmas(steps, shift=shift)), strict=True):
        timestep = np.full(len(x), 1000 * sigma, dtype=np.float32)
        x = (x + (following - sigma) * velocity(x, timestep)).astype(np.float32)
    return x
