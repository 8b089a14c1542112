"""K-DMD: closed forms, directions, who learns from whom, and resuming."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn

import supernet.training.step_loop as step_loop
from subdit.core.errors import CheckpointError
from subdit.core.errors import ConfigError
from subdit.core.errors import RunError
from supernet.distillation.backward_simulation import simulate
from supernet.distillation.kdmd import KDMDBatch
from supernet.distillation.kdmd import KDMDConfig
from supernet.distillation.kdmd import Scores
from supernet.distillation.kdmd import Student
from supernet.distillation.kdmd import critic_loss
from supernet.distillation.kdmd import distill_kdmd
from supernet.distillation.kdmd import draw_batch
from supernet.distillation.kdmd import student_loss
from supernet.distillation.losses import dmd_gradient
from supernet.distillation.losses import dmd_loss
from supernet.distillation.losses import feature_loss
from supernet.distillation.losses import output_loss
from supernet.flow_matching import guided_velocity
from supernet.model.dit import SubDiT
from supernet.model.dit import redraw_
from supernet.recipe import few_step_recipe
from supernet.sampling import sample_euler
from tests.supernet.killed import KilledError
from tests.supernet.killed import stop_after
from tests.supernet.small_teacher import DATA
from tests.supernet.small_teacher import EMPTY
from tests.supernet.small_teacher import SPACE
from tests.supernet.small_teacher import TINY
from tests.supernet.small_teacher import drawn_batch
from tests.supernet.small_teacher import leaping_clock
from tests.supernet.small_teacher import redrawn_supernet
from tests.supernet.small_teacher import same
from tests.supernet.small_teacher import teacher_with_adapter
from tests.supernet.small_teacher import weights_of

# Closed forms ---------------------------------------------------------------------------------------------------------


def test_dmd_gradient_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    student, critic, real = rng.standard_normal((3, 4, 2, 3, 3))
    found = dmd_gradient(*(torch.from_numpy(x) for x in (student, critic, real)))
    for row in range(4):
        distance = np.mean([abs(a - b) for a, b in zip(student[row].ravel(), real[row].ravel(), strict=True)])
        np.testing.assert_allclose(found[row].numpy(), (critic[row] - real[row]) / distance, rtol=1e-12)


def test_dmd_loss_pushes_the_student_alone_along_that_gradient() -> None:
    student, critic, real = (
        torch.randn(4, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        for seed in range(3)
    )
    dmd_loss(student, critic, real).backward()
    expected = dmd_gradient(student, critic, real) / student.numel()
    torch.testing.assert_close(student.grad, expected.detach(), rtol=1e-12, atol=0)
    assert critic.grad is None and real.grad is None


def test_dmd_of_a_perfect_student_is_finite() -> None:
    x = torch.ones(2, 1, 2, 2)
    assert torch.isfinite(dmd_gradient(x, x, x)).all()


def test_output_and_feature_losses() -> None:
    student, teacher = (torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    student.requires_grad_()
    teacher.requires_grad_()
    mine, theirs = student.detach().numpy(), teacher.detach().numpy()
    assert output_loss(student, teacher).item() == pytest.approx(np.mean((mine - theirs) ** 2), rel=1e-5)
    normed = (theirs - theirs.mean(-1, keepdims=True)) / np.sqrt(theirs.var(-1, keepdims=True) + 1e-5)
    assert feature_loss(student, teacher).item() == pytest.approx(np.mean((mine - normed) ** 2), rel=1e-5)
    (output_loss(student, teacher) + feature_loss(student, teacher)).backward()
    assert student.grad is not None and teacher.grad is None


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (-1.0, -1.0)])
def test_guidance(scale: float, expected: float) -> None:
    assert guided_velocity(torch.tensor(3.0), torch.tensor(1.0), scale).item() == expected


# K-DMD where everything is known: one-dimensional Gaussians -----------------------------------------------------------


class GaussianVelocity(nn.Module):
    """The exact velocity of N(mean, 1) under rectified flow: E[eps - x0 | x_t]."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, x: Tensor, timestep: Tensor, *_: Tensor) -> Tensor:
        sigma = (timestep / 1000).reshape(-1, 1, 1, 1)
        gain = (1 - sigma) / ((1 - sigma) ** 2 + sigma**2)
        x0 = self.mean + gain * (x - (1 - sigma) * self.mean)
        return (x - x0) / sigma


class ShiftStudent(nn.Module):
    """Makes N(mean, 1) in one step from noise: x0 = x_1 + mean, so v = -mean."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, x: Tensor, sigma: Tensor, text: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return -self.mean.expand_as(x), x


def run_one_dimensional(*, start: float, teacher_mean: float, learned_critic: bool, steps: int = 500) -> float:
    """K-DMD's own losses with analytic scores; returns where the student's mean ends."""
    student, critic, teacher = ShiftStudent(start), GaussianVelocity(start), GaussianVelocity(teacher_mean)
    scores = SimpleNamespace(real=lambda x, sigma, text, empty, scale: teacher(x, 1000 * sigma).detach())
    config = KDMDConfig(output_weight=0, feature_weight=0)
    slow, fast = torch.optim.SGD(student.parameters(), lr=0.1), torch.optim.SGD(critic.parameters(), lr=0.3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        noise = [torch.randn(64, 1, 1, 1, generator=generator) for _ in range(2)]
        tau = torch.rand(64, generator=generator).clamp(0.02, 0.98)
        batch = KDMDBatch(x_t=noise[0], sigma=torch.ones(64), tau=tau, noise=noise[1], text=())
        if learned_critic:
            for _ in range(3):
                fast.zero_grad()
                critic_loss(student, critic, batch).backward()  # type: ignore[arg-type]
                fast.step()
        else:
            critic.mean.data = student.mean.data.clone()
        slow.zero_grad()
        student_loss(student, critic, scores, batch, (), config, 1.0).backward()  # type: ignore[arg-type]
        slow.step()
    assert teacher.mean.grad is None
    return student.mean.item()


@pytest.mark.parametrize("start", [-3.0, 0.0, 6.0])
@pytest.mark.parametrize("learned_critic", [False, True])
def test_students_mean_moves_to_the_teachers(start: float, learned_critic: bool) -> None:
    assert run_one_dimensional(start=start, teacher_mean=2.0, learned_critic=learned_critic) == pytest.approx(
        2, abs=0.1
    )


@pytest.mark.parametrize("start", [-1.0, 3.5])
def test_the_same_difference_of_velocities_would_drive_it_away(start: float) -> None:
    """Why the gradient is formed in x0 space: x0 = x_t - sigma v turns the sign round."""
    fake, real = GaussianVelocity(start), GaussianVelocity(2.0)
    generator = torch.Generator().manual_seed(1)
    noise, again = (torch.randn(512, 1, 1, 1, generator=generator) for _ in range(2))
    tau = torch.full((512,), 0.5)
    at = tau.reshape(-1, 1, 1, 1)
    x0 = noise + start
    x_tau = (1 - at) * x0 + at * again
    velocities = [model(x_tau, 1000 * tau).detach() for model in (fake, real)]
    clean = [x_tau - at * v for v in velocities]
    towards = np.sign(2.0 - start)
    assert np.sign(-dmd_gradient(x0, *clean).mean().item()) == towards
    assert np.sign(-dmd_gradient(x0, *velocities).mean().item()) == -towards


# Who learns from whom -------------------------------------------------------------------------------------------------


@pytest.fixture
def members() -> tuple[Student, SubDiT, SubDiT]:
    """Student, critic and teacher, all of them free to learn, so that only the losses hold them back."""
    model = redrawn_supernet().extract(TINY)
    critic = copy.deepcopy(model)
    redraw_(critic, seed=9)
    return Student(model, SPACE.full_width), critic, teacher_with_adapter().requires_grad_(True)


def test_student_loss_reaches_the_student_alone(members: tuple[Student, SubDiT, SubDiT]) -> None:
    student, critic, teacher = members
    loss = student_loss(student, critic, Scores(teacher), drawn_batch(), EMPTY, KDMDConfig(), 1.5)
    loss.backward()
    assert all(
        p.grad is not None and p.grad.any() for p in (*student.phi.parameters(), student.model.up[0].ffn.fc1.weight)
    )
    assert all(p.grad is None for p in (*critic.parameters(), *teacher.parameters()))


def test_critic_loss_reaches_the_critic_alone(members: tuple[Student, SubDiT, SubDiT]) -> None:
    student, critic, teacher = members
    critic_loss(student, critic, drawn_batch()).backward()
    assert all(p.grad is not None for p in critic.parameters())
    assert all(p.grad is None for p in (*student.parameters(), *teacher.parameters()))


def test_student_loss_is_the_sum_of_its_terms(members: tuple[Student, SubDiT, SubDiT]) -> None:
    student, critic, teacher = members

    def loss(**weights: float) -> float:
        config = KDMDConfig(**{"dmd_weight": 0.0, "output_weight": 0.0, "feature_weight": 0.0, **weights})
        return student_loss(student, critic, Scores(teacher), drawn_batch(), EMPTY, config, 1.0).item()

    terms = [loss(dmd_weight=1.0), loss(output_weight=1.0), loss(feature_weight=1.0)]
    assert min(terms) > 0
    assert loss(dmd_weight=1.0, output_weight=2.0, feature_weight=3.0) == pytest.approx(
        np.dot(terms, [1, 2, 3]), rel=1e-5
    )


@pytest.mark.parametrize(("steps", "moved"), [(2, False), (3, True)])
def test_distillation_alternates_and_leaves_the_teacher_alone(tmp_path: Path, steps: int, moved: bool) -> None:
    """Of three iterations two are the critic's: after those the student is bit for bit what it was."""
    student, teacher = redrawn_supernet().extract(TINY), teacher_with_adapter()
    before, teacher_before = weights_of(student), weights_of(teacher)
    distill_kdmd(
        student,
        teacher,
        DATA,
        tmp_path / "s",
        config=KDMDConfig(steps=steps, batch_size=8, student_every=3, ceiling_s=None),
        guidance_scale=1.0,
    )
    assert same(before, weights_of(student)) != moved
    assert same(teacher_before, weights_of(teacher))
    assert all(p.grad is None for p in teacher.parameters())


def test_both_teachers_are_the_same_network_with_the_adapter_off_and_on() -> None:
    batch, plain, teacher = drawn_batch(), redrawn_supernet().full, teacher_with_adapter()
    scores = Scores(teacher)
    inputs = (batch.x_t, 1000 * batch.sigma, *batch.text)
    with torch.no_grad():
        base = plain(*inputs)
        free = plain(*inputs[:2], EMPTY[0].expand(8, -1, -1))
    own = {name: value for name, value in teacher.named_parameters() if "lora" not in name}
    weights = {name.replace(".base_layer", ""): value for name, value in own.items()}
    assert same(weights, dict(plain.named_parameters())), "an adapter leaves every weight as it is"
    first = scores.real(batch.x_t, batch.sigma, batch.text, EMPTY, 1.0)
    # Of two models with equal weights the last bits may differ: products depend on where in memory they lie.
    torch.testing.assert_close(first, base)
    for _ in range(2):
        real = scores.real(batch.x_t, batch.sigma, batch.text, EMPTY, 1.0)
        assert torch.equal(real, first), "with the adapter off the base teacher is restored bit for bit"
        few_step, tokens = scores.few_step(batch.x_t, batch.sigma, batch.text)
        assert (few_step - base).std() > 0.01, "with the adapter on it is another"
        assert tokens.shape == (8, SPACE.tokens, SPACE.full_width)
    strong = scores.real(batch.x_t, batch.sigma, batch.text, EMPTY, 3.0)
    torch.testing.assert_close(strong, free + 3 * (base - free))


def test_batches_lie_on_the_four_step_schedule() -> None:
    batch = drawn_batch(200)
    assert sorted(set(batch.sigma.tolist())) == pytest.approx([0.5, 0.75, 0.9, 1.0])
    assert 0.02 <= batch.tau.min() < 0.2 and 0.9 < batch.tau.max() <= 0.98
    assert torch.equal(batch.x_t, drawn_batch(200).x_t)


@pytest.mark.parametrize(
    ("steps", "sigmas"), [(1, [1.0]), (2, [0.75, 1.0]), (8, [0.3, 0.5, 9 / 14, 0.75, 5 / 6, 0.9, 21 / 22, 1.0])]
)
def test_batches_of_other_numbers_of_steps(steps: int, sigmas: list[float]) -> None:
    batch = draw_batch(DATA, 200, seed=0, recipe=few_step_recipe(steps))
    assert sorted(set(batch.sigma.tolist())) == pytest.approx(sigmas)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_backward_simulation_is_what_the_sampler_does(steps: int) -> None:
    """Up to each row's sigma: the sampler's own steps, in numpy, through a student that stops the rest of the way."""
    model = redrawn_supernet().extract(TINY)
    student, recipe = Student(model, SPACE.full_width), few_step_recipe(steps)
    batch = draw_batch(DATA, 8, seed=3, recipe=recipe)
    noise = torch.randn(batch.x_t.shape, generator=torch.Generator().manual_seed(4))
    found = simulate(student, noise, batch.sigma, batch.text, recipe)
    assert not found.requires_grad
    for row in range(8):
        sigma, text = batch.sigma[row].item(), [tokens[row : row + 1] for tokens in batch.text]

        def velocity(x: Any, timestep: Any, sigma: float = sigma, text: Any = text) -> Any:
            if timestep[0] < 1000 * sigma + 1e-2:
                return 0 * x
            with torch.no_grad():
                return model(torch.from_numpy(x), torch.from_numpy(timestep), *text).numpy()

        expected = sample_euler(velocity, noise[row : row + 1].numpy(), steps=steps, shift=recipe.shift)
        np.testing.assert_allclose(found[row : row + 1].numpy(), expected, atol=1e-4)
        assert torch.equal(found[row], noise[row]) == (sigma == 1)


# Interrupted and resumed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [(1,), pytest.param((4, 2), marks=pytest.mark.slow)])
def test_interrupted_kdmd_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...]
) -> None:
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    config = KDMDConfig(steps=7, batch_size=4, ceiling_s=None)

    def run(state: Path, **options: Any) -> dict[str, Tensor]:
        student = redrawn_supernet().extract(TINY)
        teacher = teacher_with_adapter()
        distill_kdmd(student, teacher, DATA, state, config=config, guidance_scale=1.0, **options)
        return weights_of(student)

    expected = run(tmp_path / "whole")
    for stop in stops:
        with pytest.raises(KilledError):
            run(tmp_path / "broken", progress=stop_after(stop))
    assert same(run(tmp_path / "broken"), expected)
    assert not same(expected, weights_of(redrawn_supernet().extract(TINY)))


@pytest.mark.parametrize(
    ("steps", "x_t"),
    [(2, "simulated"), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, "data"), (8, "simulated")))],
)
def test_interrupted_kdmd_of_other_steps_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, x_t: str
) -> None:
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    config = KDMDConfig(steps=4, batch_size=4, x_t=x_t)

    def run(state: Path, **options: Any) -> dict[str, Tensor]:
        student, how = redrawn_supernet().extract(TINY), {"config": config, "guidance_scale": 1.0, **options}
        distill_kdmd(student, teacher_with_adapter(), DATA, state, recipe=few_step_recipe(steps), **how)
        return weights_of(student)

    expected = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "broken", progress=stop_after(3))
    assert same(run(tmp_path / "broken"), expected)


def test_a_begun_distillation_does_not_go_on_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    student, teacher, config = (
        redrawn_supernet().extract(TINY),
        teacher_with_adapter(),
        KDMDConfig(steps=3, batch_size=2),
    )
    how: dict[str, Any] = {"guidance_scale": 1.0}
    with pytest.raises(KilledError):
        distill_kdmd(student, teacher, DATA, tmp_path / "s", config=config, progress=stop_after(1), **how)
    with pytest.raises(RunError, match="sampling_steps 4, not 2; ask for the same"):
        distill_kdmd(student, teacher, DATA, tmp_path / "s", config=config, recipe=few_step_recipe(2), **how)
    with pytest.raises(RunError, match="x_t data, not simulated; ask for the same"):
        distill_kdmd(student, teacher, DATA, tmp_path / "s", config=replace(config, x_t="simulated"), **how)


def test_an_unknown_x_t_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose data or simulated"):
        KDMDConfig(x_t="noise")


def test_damaged_kdmd_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"\x00" * 50)
    with pytest.raises(CheckpointError, match="damaged"):
        distill_kdmd(
            redrawn_supernet().extract(TINY),
            teacher_with_adapter(),
            DATA,
            tmp_path / "state",
            config=KDMDConfig(steps=1, batch_size=2, ceiling_s=None),
            guidance_scale=1.0,
        )
