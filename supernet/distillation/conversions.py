"""What a network may predict at x_t: velocity, x0, noise or score, each converted to the velocity and back.

Rectified flow, as in `supernet.flow_matching`: x_t = (1 - sigma) x0 + sigma eps and v = eps - x0. Two unknowns and x_t
fix the rest, so every conversion is linear in what is predicted, and exact. Any two are converted by way of the
velocity. Tensors have shape (batch, ...), sigma has (batch,) and may differ by sample. The type is that of the inputs.

Where a conversion divides by zero, x_t does not hold what is asked for: x0 in pure noise (sigma 1), noise in clean data
(sigma 0). There the result is not finite.
"""

from __future__ import annotations

from torch import Tensor

from supernet.flow_matching import per_sample


def velocity_to_x0(x_t: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """The clean estimate x_t - sigma v, at any sigma."""
    return x_t - per_sample(sigma, x_t) * velocity


def velocity_to_noise(x_t: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """The noise estimate x_t + (1 - sigma) v, at any sigma."""
    return x_t + (1 - per_sample(sigma, x_t)) * velocity


def velocity_to_score(x_t: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """The score, the gradient of log p(x_t) by x_t: -(x_t + (1 - sigma) v) / sigma, for sigma above 0.

    Noise is Gaussian with deviation sigma, so the score is minus the expected noise over sigma (Tweedie).
    """
    return -velocity_to_noise(x_t, velocity, sigma) / per_sample(sigma, x_t)


def x0_to_velocity(x_t: Tensor, x0: Tensor, sigma: Tensor) -> Tensor:
    """The velocity (x_t - x0) / sigma, for sigma above 0."""
    return (x_t - x0) / per_sample(sigma, x_t)


def noise_to_velocity(x_t: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The velocity (eps - x_t) / (1 - sigma), for sigma below 1."""
    return (noise - x_t) / (1 - per_sample(sigma, x_t))


def score_to_velocity(x_t: Tensor, score: Tensor, sigma: Tensor) -> Tensor:
    """The velocity -(x_t + sigma score) / (1 - sigma), for sigma below 1."""
    sigma = per_sample(sigma, x_t)
    return -(x_t + sigma * score) / (1 - sigma)
