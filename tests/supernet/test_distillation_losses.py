"""Eq. 6 to 10 as pure functions: closed forms, and K-DMD's gradient where every score is known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import logistic
from scipy.stats import norm
from torch import Tensor
from torch import nn

from supernet.distillation.kdmd import KDMDBatch
from supernet.distillation.kdmd import KDMDConfig
from supernet.distillation.kdmd import student_loss
from supernet.distillation.losses import data_share
from supernet.distillation.losses import dmd_gradient
from supernet.distillation.losses import dmd_normalizer
from supernet.distillation.losses import sample_errors
from supernet.distillation.losses import timestep_aware_loss
from supernet.flow_matching import add_noise
from tests.supernet.gaussian_mixture import Mixture
from tests.supernet.gaussian_mixture import MixtureVelocity

# Eq. 8 ----------------------------------------------------------------------------------------------------------------


def test_data_share_is_the_logit_normal_density_over_its_maximum() -> None:
    sigma = np.linspace(0.001, 0.999, 999)
    density = norm.pdf(logistic.ppf(sigma)) / (sigma * (1 - sigma))
    found = data_share(torch.from_numpy(sigma)).numpy()
    np.testing.assert_allclose(found, density / density.max(), rtol=1e-9)
    assert found.argmax() == 499 and found[499] == pytest.approx(1)


def test_data_share_vanishes_at_both_ends() -> None:
    assert data_share(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0, 0], abs=1e-6)


def drawn_errors() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    data, teacher = (torch.rand(6, dtype=torch.float64, generator=generator) for _ in range(2))
    return data.requires_grad_(), teacher.requires_grad_(), torch.linspace(0.05, 0.95, 6, dtype=torch.float64)


def test_timestep_aware_loss_in_closed_form() -> None:
    data, teacher, sigma = drawn_errors()
    loss = timestep_aware_loss(data, teacher, sigma)
    loss.backward()
    expected, by_data, by_teacher = 0.0, [], []
    for d, t, s in zip(data.tolist(), teacher.tolist(), sigma.tolist(), strict=True):
        logit = math.log(s / (1 - s))
        share = math.exp(-(logit**2) / 2) / (4 * s * (1 - s))
        expected += (share * d + (1 - share) * (d / t) * t) / 6
        by_data.append(share / 6)
        by_teacher.append((1 - share) * (d / t) / 6)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert data.grad is not None and teacher.grad is not None
    np.testing.assert_allclose(data.grad.numpy(), by_data, rtol=1e-9)
    np.testing.assert_allclose(teacher.grad.numpy(), by_teacher, rtol=1e-9)


def test_the_teachers_scale_does_not_matter() -> None:
    """What the ratio is for: a teacher whose errors are a thousand times as large asks for no more."""
    data, teacher, sigma = drawn_errors()
    small, large = (timestep_aware_loss(data, scale * teacher, sigma) for scale in (1, 1000))
    (by_small,), (by_large,) = (torch.autograd.grad(loss, teacher, retain_graph=True) for loss in (small, large))
    torch.testing.assert_close(by_small, by_large)


def test_a_teacher_that_is_matched_asks_for_nothing() -> None:
    velocity = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    sigma, data = torch.tensor([0.1, 0.5, 0.9]), torch.ones(3)
    timestep_aware_loss(data, sample_errors(velocity, velocity.detach()), sigma).backward()
    assert velocity.grad is not None and not velocity.grad.any()


def test_sample_errors_are_means_of_each_sample_and_spare_the_target() -> None:
    prediction, target = (torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    target.requires_grad_()
    found = sample_errors(prediction.requires_grad_(), target)
    expected = [
        np.mean((a - b) ** 2) for a, b in zip(prediction.detach().numpy(), target.detach().numpy(), strict=True)
    ]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5)
    found.sum().backward()
    assert prediction.grad is not None and target.grad is None


# Eq. 9 where both scores are known ------------------------------------------------------------------------------------

TEACHER = Mixture(torch.tensor([0.3, 0.7]).double(), torch.tensor([[-1.0], [1.5]]).double(), 0.5)
STUDENT = Mixture(torch.tensor([0.6, 0.4]).double(), torch.tensor([[-0.2], [0.7]]).double(), 0.5)


def divergence(means: np.ndarray, tau: float) -> float:
    """KL of the student's noised density from the teacher's, as a sum over a fine grid, in numpy and scipy alone."""
    x = np.linspace(-12, 12, 40_001)

    def density(weights: Tensor, centres: np.ndarray, deviation: float) -> np.ndarray:
        spread = math.sqrt((1 - tau) ** 2 * deviation**2 + tau**2)
        return sum(w * norm.pdf(x, (1 - tau) * m, spread) for w, m in zip(weights.tolist(), centres, strict=True))

    mine = density(STUDENT.weights, means, STUDENT.deviation)
    theirs = density(TEACHER.weights, TEACHER.means[:, 0].numpy(), TEACHER.deviation)
    inside = mine > 1e-300
    return float(np.sum(mine[inside] * np.log(mine[inside] / theirs[inside])) * (x[1] - x[0]))


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_dmd_gradient_is_that_of_the_divergence(tau: float) -> None:
    """For a student that draws its own mixture by shifting noise, over a grid of both noises in place of samples."""
    grid = torch.linspace(-7, 7, 281, dtype=torch.float64)
    weight = torch.exp(-grid.square() / 2)
    weight = weight / weight.sum()
    z, noise = (value.reshape(-1, 1, 1, 1) for value in torch.meshgrid(grid, grid, indexing="ij"))
    both = torch.outer(weight, weight).flatten()
    level = torch.full((len(both),), tau, dtype=torch.float64)
    critic, real = MixtureVelocity(STUDENT), MixtureVelocity(TEACHER)
    found = []
    for share, mean in zip(STUDENT.weights, STUDENT.means, strict=True):
        x0 = mean + STUDENT.deviation * z
        noised = add_noise(x0, noise, level)
        with torch.no_grad():
            clean = [noised - tau * model(noised, 1000 * level) for model in (critic, real)]
        direction = dmd_gradient(x0, *clean) * dmd_normalizer(x0, clean[1])
        found.append((share * (both * direction.flatten()).sum()).item())
    means, step = STUDENT.means[:, 0].numpy(), 1e-4
    expected = [
        (divergence(means + step * unit, tau) - divergence(means - step * unit, tau)) / (2 * step) for unit in np.eye(2)
    ]
    np.testing.assert_allclose(found, tau**2 / (1 - tau) ** 2 * np.array(expected), rtol=1e-4, atol=1e-7)


# Eq. 10 ---------------------------------------------------------------------------------------------------------------


class AffineStudent(nn.Module):
    """v = a x + b sigma + c, and tokens of its own; small enough for derivatives by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))

    def forward(self, x: Tensor, sigma: Tensor, text: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        predicted = self.slope[0] * x + (self.slope[1] * sigma + self.slope[2]).reshape(-1, 1, 1, 1)
        return predicted, predicted.flatten(2)


def mean_velocity(mixture: Mixture, x: np.ndarray, sigma: float) -> np.ndarray:
    """E[eps - x0 | x] of one sample, component by component."""
    means, deviation = mixture.means.numpy(), mixture.deviation
    variance = ((1 - sigma) * deviation) ** 2 + sigma**2
    density = [
        weight * math.exp(-sum((x - (1 - sigma) * mean) ** 2) / (2 * variance))
        for weight, mean in zip(mixture.weights.tolist(), means, strict=True)
    ]
    x0 = sum(
        p / sum(density) * (mean + (1 - sigma) * deviation**2 / variance * (x - (1 - sigma) * mean))
        for p, mean in zip(density, means, strict=True)
    )
    return (x - x0) / sigma


def test_kdmd_gradient_is_the_analytic_one() -> None:
    """Of all three terms, with mixtures as teachers and critic, against a loop over samples in numpy."""
    generator = torch.Generator().manual_seed(7)
    means = [torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(3)]
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    many, few, fake = (Mixture(weights, mean, 0.3) for mean in means)
    count = 16
    x_t, noise = (torch.randn(count, 1, 1, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    sigma = torch.tensor([1, 0.9, 0.75, 0.5]).double()[torch.randint(4, (count,), generator=generator)]
    tau = torch.rand(count, generator=generator, dtype=torch.float64).clamp(0.02, 0.98)
    student, networks = AffineStudent(), {mixture: MixtureVelocity(mixture).double() for mixture in (many, few, fake)}
    scores = SimpleNamespace(
        real=lambda x, level, text, empty, scale: networks[many](x, 1000 * level).detach(),
        few_step=lambda x, level, text: (
            networks[few](x, 1000 * level).detach(),
            networks[few](x, 1000 * level).detach().flatten(2),
        ),
    )
    config = KDMDConfig(dmd_weight=0.7, output_weight=1.3, feature_weight=0.4)
    batch = KDMDBatch(x_t=x_t, sigma=sigma, tau=tau, noise=noise, text=())
    student_loss(student, networks[fake], scores, batch, (), config, 1.0).backward()  # type: ignore[arg-type]

    expected, (a, b, c) = np.zeros(3), student.slope.tolist()
    for row in range(count):
        x, s, t, eps = x_t[row, 0, 0].numpy(), sigma[row].item(), tau[row].item(), noise[row, 0, 0].numpy()
        v = a * x + b * s + c
        by_slope = np.stack([x, np.full(2, s), np.ones(2)])
        x0 = x - s * v
        noised = (1 - t) * x0 + t * eps
        clean_fake = noised - t * mean_velocity(fake, noised, t)
        clean_real = noised - t * mean_velocity(many, noised, t)
        pushed = (clean_fake - clean_real) / np.mean(np.abs(x0 - clean_real))
        target = mean_velocity(few, x, s)
        normed = (target - target.mean()) / math.sqrt(target.var() + 1e-5)
        # The mean is over 2 * count numbers; x0 falls by s where v rises.
        expected += by_slope @ (
            0.7 * pushed * -s / (2 * count)
            + 1.3 * 2 * (v - target) / (2 * count)
            + 0.4 * 2 * (v - normed) / (2 * count)
        )
    assert student.slope.grad is not None
    np.testing.assert_allclose(student.slope.grad.numpy(), expected, rtol=1e-4)
