"""The few-step teacher: its trajectories, what its adapter learns, and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import supernet.training.step_loop as step_loop
from subdit.core.errors import CheckpointError
from subdit.core.errors import ConfigError
from subdit.core.errors import RunError
from supernet.distillation import few_step_teacher
from supernet.distillation.few_step_teacher import FewStepConfig
from supernet.distillation.few_step_teacher import draw_trajectories
from supernet.distillation.few_step_teacher import segment_sigmas
from supernet.distillation.few_step_teacher import train_few_step_teacher
from supernet.few_step_adapter import add_few_step_adapter
from supernet.model.dit import SubDiT
from supernet.recipe import FEW_STEPS
from supernet.recipe import SamplingRecipe
from supernet.recipe import few_step_recipe
from tests.supernet.killed import KilledError
from tests.supernet.killed import stop_after
from tests.supernet.small_teacher import DATA
from tests.supernet.small_teacher import TEXT
from tests.supernet.small_teacher import TINY
from tests.supernet.small_teacher import drawn_batch
from tests.supernet.small_teacher import leaping_clock
from tests.supernet.small_teacher import redrawn_supernet
from tests.supernet.small_teacher import same
from tests.supernet.small_teacher import weights_of


def test_segments_hold_28_steps_and_the_four_step_schedule() -> None:
    sigmas = segment_sigmas(7)
    assert len(sigmas) == 29
    assert sigmas[::7] == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    assert all(high > low for high, low in zip(sigmas[:-1], sigmas[1:], strict=True))


@pytest.mark.parametrize(
    ("steps", "ends", "in_all"),
    [(1, [1, 0], 28), (2, [1, 0.75, 0], 28), (8, [1, 21 / 22, 0.9, 5 / 6, 0.75, 9 / 14, 0.5, 0.3, 0], 32)],
)
def test_segments_of_other_numbers_of_steps(steps: int, ends: list[float], in_all: int) -> None:
    """Half as many steps have every second sigma; all have at least 28 substeps."""
    recipe = few_step_recipe(steps)
    substeps = FewStepConfig().segment_substeps(recipe)
    sigmas = segment_sigmas(substeps, recipe)
    assert sigmas[::substeps] == pytest.approx(ends) and len(sigmas) == in_all + 1


def test_defaults_of_four_steps_are_those_of_the_paper() -> None:
    assert few_step_recipe(4) == FEW_STEPS and FewStepConfig().segment_substeps(FEW_STEPS) == 7


@pytest.mark.parametrize("steps", [0, 17, 2000])
def test_students_of_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match="1 to 16 as --steps.*--iterations"):
        few_step_recipe(steps)


def test_trajectories_are_plain_euler() -> None:
    teacher = redrawn_supernet().extract(TINY)
    rows = torch.arange(3)
    drawn = draw_trajectories(teacher, DATA, rows, substeps=3, seed=4)
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


def few_step_error(teacher: SubDiT, recipe: SamplingRecipe = FEW_STEPS) -> float:
    """How far few Euler steps land from where 28 steps of the plain network do."""
    plain = redrawn_supernet().full
    rows, many = torch.arange(20), 28 // recipe.steps
    far, near = (draw_trajectories(model, DATA, rows, substeps=n, seed=77, recipe=recipe).points[:, -1]
                 for model, n in ((plain, many), (teacher, 1)))  # fmt: skip
    return (far - near).square().mean().item()


def test_trained_adapter_brings_four_steps_nearer_to_28(tmp_path: Path) -> None:
    teacher = redrawn_supernet().full
    before, base = few_step_error(teacher), weights_of(teacher)
    config = FewStepConfig(steps=25, trajectories=48, rank=4, batch_size=16, ceiling_s=None)
    train_few_step_teacher(teacher, DATA, tmp_path, config=config)
    assert few_step_error(teacher) < 0.9 * before
    again = redrawn_supernet().full
    train_few_step_teacher(again, DATA, tmp_path, config=config)
    assert same(weights_of(teacher), weights_of(again)), "the second call loads what the first has saved"
    after = {
        name.replace(".base_layer", ""): value for name, value in weights_of(teacher).items() if "lora" not in name
    }
    assert same(base, after)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2])
def test_adapters_of_other_numbers_of_steps_learn_too(tmp_path: Path, steps: int) -> None:
    teacher, recipe = redrawn_supernet().full, few_step_recipe(steps)
    before = few_step_error(teacher, recipe)
    config = FewStepConfig(steps=25, trajectories=48, rank=4, batch_size=16)
    train_few_step_teacher(teacher, DATA, tmp_path, config=config, recipe=recipe)
    assert few_step_error(teacher, recipe) < 0.9 * before


@pytest.mark.parametrize("name", ["few_step_lora.safetensors", "trajectories.safetensors", "state.safetensors"])
def test_damaged_teacher_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"torn")
    config = FewStepConfig(steps=1, trajectories=2, rank=2, batch_size=2, ceiling_s=None)
    with pytest.raises(CheckpointError, match=name):
        train_few_step_teacher(redrawn_supernet().full, DATA, tmp_path, config=config)


@pytest.mark.parametrize(
    "stops", [*(pytest.param(stops, marks=pytest.mark.slow) for stops in ((1,), (2,), (5,))), (1, 1, 3, 2)], ids=str
)
def test_interrupted_few_step_teacher_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...]
) -> None:
    """Killed while it draws (three calls of progress) or trains, however long either took."""
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    monkeypatch.setattr(few_step_teacher, "CHUNK", 4)
    config = FewStepConfig(steps=6, trajectories=10, substeps=1, rank=2, batch_size=4, ceiling_s=None)

    def run(folder: Path, **options: Any) -> dict[str, Tensor]:
        teacher = redrawn_supernet().full
        train_few_step_teacher(teacher, DATA, folder, config=config, **options)
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
        train_few_step_teacher(redrawn_supernet().full, DATA, tmp_path, config=config, progress=stop_after(4))
    with pytest.raises(RunError, match="one of 6 steps, not 7.*delete that file"):
        train_few_step_teacher(redrawn_supernet().full, DATA, tmp_path, config=replace(config, steps=7))
