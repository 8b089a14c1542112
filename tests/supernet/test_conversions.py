"""Conversions between velocity, x0, noise and score: round trips, closed forms, and the score of known densities."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from supernet.distillation.conversions import noise_to_velocity
from supernet.distillation.conversions import score_to_velocity
from supernet.distillation.conversions import velocity_to_noise
from supernet.distillation.conversions import velocity_to_score
from supernet.distillation.conversions import velocity_to_x0
from supernet.distillation.conversions import x0_to_velocity
from supernet.flow_matching import add_noise
from supernet.flow_matching import velocity
from tests.supernet.gaussian_mixture import Mixture
from tests.supernet.gaussian_mixture import MixtureVelocity

Conversion = Callable[[Tensor, Tensor, Tensor], Tensor]
PAIRS = {
    "x0": (velocity_to_x0, x0_to_velocity),
    "noise": (velocity_to_noise, noise_to_velocity),
    "score": (velocity_to_score, score_to_velocity),
}


def drawn(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("there_and_back", PAIRS.values(), ids=PAIRS)
@given(
    sigmas=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=4),
    shape=st.lists(st.integers(1, 3), min_size=0, max_size=3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_there_and_back(
    there_and_back: tuple[Conversion, Conversion], sigmas: list[float], shape: list[int], seed: int
) -> None:
    there, back = there_and_back
    size = (len(sigmas), *shape)
    x_t, predicted, sigma = drawn(seed, size), drawn(seed + 1, size), torch.tensor(sigmas, dtype=torch.float64)
    torch.testing.assert_close(back(x_t, there(x_t, predicted, sigma), sigma), predicted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(there(x_t, back(x_t, predicted, sigma), sigma), predicted, rtol=1e-9, atol=1e-9)


@given(sigmas=st.lists(st.floats(0, 1), min_size=1, max_size=4), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_true_velocity_gives_what_was_mixed(sigmas: list[float], seed: int) -> None:
    """Also in pure noise and in clean data, where the way back has no answer."""
    sigma = torch.tensor(sigmas, dtype=torch.float64)
    x0, noise = drawn(seed, (len(sigmas), 2, 3)), drawn(seed + 1, (len(sigmas), 2, 3))
    x_t, true = add_noise(x0, noise, sigma), velocity(x0, noise)
    torch.testing.assert_close(velocity_to_x0(x_t, true, sigma), x0, rtol=0, atol=1e-12)
    torch.testing.assert_close(velocity_to_noise(x_t, true, sigma), noise, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_sample_has_its_own_sigma_and_keeps_its_type(dtype: torch.dtype) -> None:
    x_t, predicted = drawn(0, (3, 2, 2)).to(dtype), drawn(1, (3, 2, 2)).to(dtype)
    sigma = torch.tensor([0.1, 0.5, 0.9], dtype=dtype)
    for conversion in (function for pair in PAIRS.values() for function in pair):
        found = conversion(x_t, predicted, sigma)
        assert found.dtype == dtype
        for row in range(3):
            torch.testing.assert_close(
                conversion(x_t[row : row + 1], predicted[row : row + 1], sigma[row : row + 1]), found[row : row + 1]
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_score_is_the_gradient_of_a_known_density(dtype: torch.dtype) -> None:
    """Of a mixture, by autograd through its log density, which knows nothing of velocities."""
    mixture = Mixture(torch.tensor([0.2, 0.5, 0.3]).double(), drawn(3, (3, 2)), 0.4)
    sigma = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    x_t = drawn(4, (25, 2)).requires_grad_()
    (expected,) = torch.autograd.grad(mixture.log_density(x_t, sigma).sum(), x_t)
    model = MixtureVelocity(mixture).to(dtype)
    given = [value.detach().to(dtype) for value in (x_t, sigma)]
    predicted = model(given[0].reshape(25, 1, 1, 2), 1000 * given[1]).reshape(25, 2)
    found = velocity_to_score(given[0], predicted, given[1])
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
