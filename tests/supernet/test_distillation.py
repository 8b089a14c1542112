"""K-DMD and the few-step teacher: closed forms, directions, who learns from whom, and resuming."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
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
from subdit.core.errors import RunError
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.core.training_record import STUDENT
from subdit.core.training_record import TEACHER
from subdit.core.training_record import TrainingRecord
from subdit.core.training_record import training_records
from subdit.space import get_space
from supernet.checkpoints import load_sub_dit
from supernet.data.digits import load_data
from supernet.distillation import FewStepConfig
from supernet.distillation import KDMDConfig
from supernet.distillation import distill
from supernet.distillation import few_step_teacher
from supernet.distillation.few_step_teacher import draw_trajectories
from supernet.distillation.few_step_teacher import segment_sigmas
from supernet.distillation.few_step_teacher import train_few_step_teacher
from supernet.distillation.kdmd import KDMDBatch
from supernet.distillation.kdmd import Scores
from supernet.distillation.kdmd import Student
from supernet.distillation.kdmd import critic_loss
from supernet.distillation.kdmd import distill_kdmd
from supernet.distillation.kdmd import draw_batch
from supernet.distillation.kdmd import student_loss
from supernet.distillation.losses import dmd_gradient
from supernet.distillation.losses import dmd_loss
from supernet.distillation.losses import feature_loss
from supernet.distillation.losses import guided
from supernet.distillation.losses import output_loss
from supernet.evaluation.validation_loss import text_tensors
from supernet.few_step_adapter import add_few_step_adapter
from supernet.few_step_adapter import load_few_step_teacher
from supernet.model.dit import SubDiT
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT

SPACE = get_space("digits")
TINY = SPACE.decode(SPACE.enumerate(0, 1))[0]
TRAIN = load_data("digits").train.take(range(40))
TEXT = text_tensors("digits", TRAIN.captions)
EMPTY = text_tensors("digits", ("",))


class KilledError(Exception):
    """Stands for a kill: work stops in the middle."""


def redrawn_supernet() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.eval()


def teacher_with_adapter() -> SubDiT:
    teacher = redrawn_supernet().full
    add_few_step_adapter(teacher, rank=2)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if "lora" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return teacher.eval()


def drawn_batch(count: int = 8) -> KDMDBatch:
    return draw_batch(torch.from_numpy(TRAIN.latents), TEXT, count, seed=5)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def leaping_clock() -> Any:
    """A clock by which every step takes so long that a resume state is written after it."""
    now = iter(range(0, 10**6, 20))
    return SimpleNamespace(perf_counter=lambda: float(next(now)))


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
    assert guided(torch.tensor(3.0), torch.tensor(1.0), scale).item() == expected


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
        TRAIN,
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


# The few-step teacher -------------------------------------------------------------------------------------------------


def test_segments_hold_28_steps_and_the_four_step_schedule() -> None:
    sigmas = segment_sigmas(7)
    assert len(sigmas) == 29
    assert sigmas[::7] == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    assert all(high > low for high, low in zip(sigmas[:-1], sigmas[1:], strict=True))


def test_trajectories_are_plain_euler() -> None:
    teacher = redrawn_supernet().extract(TINY)
    rows = torch.arange(3)
    drawn = draw_trajectories(teacher, TEXT, rows, (1, 8, 8), substeps=3, seed=4)
    assert drawn.points.shape == (3, 5, 1, 8, 8) and torch.equal(drawn.rows, rows)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(4)).numpy()
    ends = [x]
    for high, low in ((1.0, 0.9), (0.9, 0.75), (0.75, 0.5), (0.5, 0.0)):
        for at in range(3):
            sigma = high + (low - high) * at / 3
            with torch.no_grad():
                v = teacher(torch.from_numpy(x), torch.full((3,), 1000 * sigma), TEXT[0][:3]).numpy()
            x = x + (low - high) / 3 * v
        ends.append(x)
    np.testing.assert_allclose(drawn.points.numpy(), np.stack(ends, axis=1), atol=1e-4)


def test_a_fresh_adapter_is_an_identity_and_alone_learns() -> None:
    teacher, plain = redrawn_supernet().full, redrawn_supernet().full
    add_few_step_adapter(teacher, rank=2)
    batch = drawn_batch()
    with torch.no_grad():
        inputs = (batch.x_t, 1000 * batch.sigma, *batch.text)
        torch.testing.assert_close(teacher(*inputs), plain(*inputs))
    assert all(parameter.requires_grad == ("lora" in name) for name, parameter in teacher.named_parameters())


def few_step_error(teacher: SubDiT) -> float:
    """How far four Euler steps land from where 28 steps of the plain network do."""
    plain = redrawn_supernet().full
    rows = torch.arange(20)
    far, near = (draw_trajectories(model, TEXT, rows, (1, 8, 8), substeps=n, seed=77).points[:, -1]
                 for model, n in ((plain, 7), (teacher, 1)))  # fmt: skip
    return (far - near).square().mean().item()


def test_trained_adapter_brings_four_steps_nearer_to_28(tmp_path: Path) -> None:
    teacher = redrawn_supernet().full
    before, base = few_step_error(teacher), weights_of(teacher)
    config = FewStepConfig(steps=25, trajectories=48, rank=4, batch_size=16, ceiling_s=None)
    train_few_step_teacher(teacher, TRAIN, tmp_path, config=config)
    assert few_step_error(teacher) < 0.9 * before
    again = redrawn_supernet().full
    train_few_step_teacher(again, TRAIN, tmp_path, config=config)
    assert same(weights_of(teacher), weights_of(again)), "the second call loads what the first has saved"
    after = {
        name.replace(".base_layer", ""): value for name, value in weights_of(teacher).items() if "lora" not in name
    }
    assert same(base, after)


@pytest.mark.parametrize("name", ["few_step_lora.safetensors", "trajectories.safetensors", "state.safetensors"])
def test_damaged_teacher_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"torn")
    config = FewStepConfig(steps=1, trajectories=2, rank=2, batch_size=2, ceiling_s=None)
    with pytest.raises(CheckpointError, match=name):
        train_few_step_teacher(redrawn_supernet().full, TRAIN, tmp_path, config=config)


# Interrupted and resumed ----------------------------------------------------------------------------------------------


def stop_after(calls: int) -> Callable[..., None]:
    left = iter(range(calls - 1))

    def stop(*_: object) -> None:
        if next(left, None) is None:
            raise KilledError

    return stop


@pytest.mark.parametrize("stops", [(1,), (4, 2)])
def test_interrupted_kdmd_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...]
) -> None:
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    config = KDMDConfig(steps=7, batch_size=4, ceiling_s=None)

    def run(state: Path, **options: Any) -> dict[str, Tensor]:
        student = redrawn_supernet().extract(TINY)
        teacher = teacher_with_adapter()
        distill_kdmd(student, teacher, TRAIN, state, config=config, guidance_scale=1.0, **options)
        return weights_of(student)

    expected = run(tmp_path / "whole")
    for stop in stops:
        with pytest.raises(KilledError):
            run(tmp_path / "broken", progress=stop_after(stop))
    assert same(run(tmp_path / "broken"), expected)
    assert not same(expected, weights_of(redrawn_supernet().extract(TINY)))


def test_damaged_kdmd_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"\x00" * 50)
    with pytest.raises(CheckpointError, match="damaged"):
        distill_kdmd(
            redrawn_supernet().extract(TINY),
            teacher_with_adapter(),
            TRAIN,
            tmp_path / "state",
            config=KDMDConfig(steps=1, batch_size=2, ceiling_s=None),
            guidance_scale=1.0,
        )


@pytest.mark.parametrize("stops", [(1,), (2,), (5,), (1, 1, 3, 2)], ids=str)
def test_interrupted_few_step_teacher_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...]
) -> None:
    """Killed while it draws (three calls of progress) or trains, however long either took."""
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    monkeypatch.setattr(few_step_teacher, "CHUNK", 4)
    config = FewStepConfig(steps=6, trajectories=10, substeps=1, rank=2, batch_size=4, ceiling_s=None)

    def run(folder: Path, **options: Any) -> dict[str, Tensor]:
        teacher = redrawn_supernet().full
        train_few_step_teacher(teacher, TRAIN, folder, config=config, **options)
        return weights_of(teacher)

    expected = run(tmp_path / "whole")
    for stop in stops:
        with pytest.raises(KilledError):
            run(tmp_path / "broken", progress=stop_after(stop))
    notes: list[str] = []
    assert same(run(tmp_path / "broken", progress=lambda done, total, note: notes.append(note)), expected)
    assert len(notes) == 9 - sum(stops), "it goes on, and does not start anew"
    trajectories = [(tmp_path / name / "trajectories.safetensors").read_bytes() for name in ("whole", "broken")]
    assert trajectories[0] == trajectories[1]


def test_a_teacher_of_other_steps_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    config = FewStepConfig(steps=6, trajectories=8, substeps=1, rank=2, batch_size=4, ceiling_s=None)
    with pytest.raises(KilledError):
        train_few_step_teacher(redrawn_supernet().full, TRAIN, tmp_path, config=config, progress=stop_after(4))
    with pytest.raises(RunError, match="one of 6 steps, not 7.*delete that file"):
        train_few_step_teacher(redrawn_supernet().full, TRAIN, tmp_path, config=replace(config, steps=7))


# The verb -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def searched(tmp_path: Path) -> Run:
    """A run with a supernet and the picks of a search."""
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    redrawn_supernet().save_pretrained(run.supernet)
    write_json(run.search("default") / "picks.json", {"balanced": {"spec": TINY.to_dict(), "spec_hash": TINY.hash}})
    return run


FAST: dict[str, Any] = {
    "few_step": FewStepConfig(steps=1, trajectories=4, substeps=1, batch_size=4, ceiling_s=None),
    "kdmd": KDMDConfig(steps=3, batch_size=4, guidance_scale=1.0, ceiling_s=None),
}


def test_distilling_a_pick(searched: Run) -> None:
    with pytest.raises(RunError, match="no few-step teacher"):
        load_few_step_teacher(searched)
    folder = distill(searched.path, **FAST)
    first = weights_of(load_sub_dit(folder))
    assert load_sub_dit(folder).spec == TINY
    assert folder == searched.pick(TINY.hash) / "distilled"
    assert not list(folder.parent.glob("*state*"))
    assert any("lora" in name for name in weights_of(load_few_step_teacher(searched)))
    with pytest.raises(RunError, match="--force"):
        distill(searched.path, **FAST)
    assert same(weights_of(load_sub_dit(distill(searched.path, force=True, **FAST))), first)


def test_a_supernet_trained_anew_gets_a_teacher_of_its_own(searched: Run) -> None:
    distill(searched.path, **FAST)
    old = (searched.teacher / "few_step_lora.safetensors").read_bytes()
    other = ElasticDiT(space="digits")
    redraw_(other, seed=1)
    other.save_pretrained(searched.supernet)
    distill(searched.path, force=True, **FAST)
    assert (searched.teacher / "few_step_lora.safetensors").read_bytes() != old


@pytest.mark.parametrize("stop", [1, 2])
def test_a_second_pick_half_distilled_from_an_older_supernet_begins_anew(
    searched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Distilling the first one under the new supernet must not make the other's state pass for one of that."""
    second = SPACE.decode(SPACE.enumerate(1, 2))[0]
    picks = {"balanced": TINY, "best": second}
    write_json(
        searched.search("default") / "picks.json",
        {name: {"spec": spec.to_dict(), "spec_hash": spec.hash} for name, spec in picks.items()},
    )
    monkeypatch.setattr(step_loop, "time", leaping_clock())

    def kill(done: float, total: float, note: str) -> None:
        if note.startswith(f"step {stop} of ") and "of the student" in note:
            raise KilledError

    for pick in picks:
        with pytest.raises(KilledError):
            distill(searched.path, pick=pick, progress=kill, **FAST)
        assert list(searched.pick(picks[pick].hash).glob("kdmd_state*"))
    other = ElasticDiT(space="digits")
    redraw_(other, seed=1)
    other.save_pretrained(searched.supernet)
    fresh = Run(Path(shutil.copytree(searched.path, tmp_path / "fresh")))
    for made in (fresh.teacher, fresh.path / "picks"):
        shutil.rmtree(made)
    expected = {pick: weights_of(load_sub_dit(distill(fresh.path, pick=pick, **FAST))) for pick in picks}
    for pick in picks:
        with pytest.warns(UserWarning, match="is of the supernet .*, and the run's is now"):
            found = distill(searched.path, pick=pick, **FAST)
        assert same(weights_of(load_sub_dit(found)), expected[pick]), pick


def test_distilling_what_is_no_pick_is_refused(searched: Run) -> None:
    with pytest.raises(RunError, match="no pick 'quickest'; it has balanced"):
        distill(searched.path, pick="quickest", **FAST)
    with pytest.raises(RunError, match="no finished search 'other'"):
        distill(searched.path, search="other", **FAST)
    with pytest.raises(RunError, match="no run folder"):
        distill(searched.path / "nowhere", **FAST)


def test_what_was_cut_is_recorded_and_made_anew_where_asked(searched: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes 20 seconds: ten fit under a ceiling of 200, and after nine of them that is decided."""
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    few_step = FewStepConfig(steps=25, trajectories=4, substeps=1, batch_size=4, ceiling_s=200.0)
    kdmd = KDMDConfig(steps=12, batch_size=4, guidance_scale=1.0, ceiling_s=200.0)
    distill(searched.path, few_step=few_step, kdmd=kdmd)
    records = training_records(searched, TINY.hash)
    assert records[TEACHER] == TrainingRecord(10, 25, 200.0, 9)
    assert records[STUDENT] == TrainingRecord(10, 12, 200.0, 9)
    adapter = searched.teacher / "few_step_lora.safetensors"
    cut = adapter.read_bytes()
    distill(searched.path, few_step=few_step, kdmd=kdmd, force=True)
    assert adapter.read_bytes() == cut, "the teacher that all picks share stays"
    distill(
        searched.path,
        few_step=replace(few_step, steps=11, ceiling_s=None),
        kdmd=replace(kdmd, steps=11, ceiling_s=None),
        force=True,
    )
    assert adapter.read_bytes() != cut
    assert training_records(searched, TINY.hash) == {
        TEACHER: TrainingRecord(11, 11, 220.0),
        STUDENT: TrainingRecord(11, 11, 220.0),
    }
