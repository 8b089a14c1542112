"""K-DMD with a LoRA on student and critic: who learns from whom, what is shared, merging, resuming."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch import nn

import supernet.training.step_loop as step_loop
from subdit.core.errors import ConfigError
from subdit.core.errors import RunError
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import save_model
from supernet.distillation.kdmd import KDMDConfig
from supernet.distillation.kdmd import Scores
from supernet.distillation.kdmd import Student
from supernet.distillation.kdmd import _critic
from supernet.distillation.kdmd import critic_loss
from supernet.distillation.kdmd import distill_kdmd
from supernet.distillation.kdmd import student_loss
from supernet.lora import add_lora
from supernet.lora import merge_lora
from supernet.model.dit import SubDiT
from supernet.recipe import FEW_STEPS
from supernet.training.resume_state import trainable
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

LORA = KDMDConfig(steps=4, batch_size=4, trained="lora", lora_rank=2, lora_alpha=4)


def redraw_loras(*models: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    for model in models:
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.data.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def members() -> tuple[Student, SubDiT]:
    """Student and critic with redrawn LoRAs."""
    model = redrawn_supernet().extract(TINY)
    critic = _critic(model, "lora", LORA)
    redraw_loras(model, critic)
    return Student(model, SPACE.full_width), critic


def named_gradients(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("term", ["dmd_weight", "output_weight", "feature_weight"])
def test_each_term_reaches_the_students_lora_alone(term: str) -> None:
    (student, critic), teacher = members(), teacher_with_adapter().requires_grad_(True)
    weights = {"dmd_weight": 0.0, "output_weight": 0.0, "feature_weight": 0.0, term: 1.0}
    student_loss(student, critic, Scores(teacher), drawn_batch(), EMPTY, KDMDConfig(**weights), 1.5).backward()
    assert all(".student." in name or name.startswith("phi") for name in named_gradients(student))
    # A term of weight 0 leaves zeros.
    reached = {
        name for name, parameter in student.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    assert any(name.startswith("phi") for name in reached) == (term == "feature_weight")
    assert any("final_layer" in name for name in reached) == (term != "feature_weight")
    assert not named_gradients(critic) and not named_gradients(teacher)


def test_critic_loss_reaches_the_critics_lora_alone() -> None:
    student, critic = members()
    critic_loss(student, critic, drawn_batch()).backward()
    reached = named_gradients(critic)
    assert reached == {name for name, parameter in critic.named_parameters() if parameter.requires_grad}
    assert reached and all(".critic." in name for name in reached)
    assert not named_gradients(student)


def test_student_and_critic_share_the_frozen_network_and_begin_equal() -> None:
    model = redrawn_supernet().extract(TINY)
    plain, batch = copy.deepcopy(model), drawn_batch()
    critic = _critic(model, "lora", LORA)
    with torch.no_grad():
        inputs = (batch.x_t, 1000 * batch.sigma, *batch.text)
        expected = plain(*inputs)
        torch.testing.assert_close(model(*inputs), expected)
        torch.testing.assert_close(critic(*inputs), expected)
    frozen = [{p.data_ptr() for p in member.parameters() if not p.requires_grad} for member in (model, critic)]
    assert frozen[0] == frozen[1] and len(frozen[0]) == len(list(plain.parameters()))
    own = [{p.data_ptr() for p in trainable(member)} for member in (model, critic)]
    assert own[0] and own[1] and not own[0] & own[1]


def test_a_merged_lora_is_a_plain_model_that_draws_the_same(tmp_path: Path) -> None:
    model = redrawn_supernet().extract(TINY)
    plain, batch = weights_of(model), drawn_batch()
    add_lora(model, "student", rank=3, alpha=6)
    redraw_loras(model)
    by_hand = {}
    for name, weight in plain.items():
        path = name.removesuffix(".weight")
        adapted = {key: value for key, value in model.named_parameters() if key.startswith(f"{path}.lora")}
        by_hand[name] = weight
        if adapted:
            first, second = (adapted[f"{path}.lora_{side}.student.weight"].detach() for side in "AB")
            by_hand[name] = weight + 6 / 3 * second @ first
    with torch.no_grad():
        inputs = (batch.x_t, 1000 * batch.sigma, *batch.text)
        expected = model(*inputs)
        merge_lora(model)
        found = model(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    merged = weights_of(model)
    assert merged.keys() == plain.keys() and not same(merged, plain)
    for name, weight in merged.items():
        torch.testing.assert_close(weight, by_hand[name])
    assert all(parameter.requires_grad for parameter in model.parameters())
    save_model(model, tmp_path / "saved", recipe=FEW_STEPS)
    assert same(weights_of(load_sub_dit(tmp_path / "saved")), merged)


@pytest.mark.parametrize("trained", ["full", "lora"])
def test_each_step_changes_one_member_and_its_optimiser_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: str
) -> None:
    """Critic and student take turns; of the other no bit of weights, moments or average moves."""
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    states: list[dict[str, Tensor]] = []
    distill_kdmd(
        redrawn_supernet().extract(TINY),
        teacher_with_adapter(),
        DATA,
        tmp_path / "s",
        config=KDMDConfig(steps=6, batch_size=4, trained=trained, lora_rank=2, student_every=2),
        guidance_scale=1.0,
        progress=lambda done, total, note: states.append(load_file(str(tmp_path / "s"))),
    )
    for step in range(2, 6):
        before, after = states[step - 1], states[step]
        moved = {name.partition(".")[0] for name in after if not torch.equal(before[name], after[name])}
        assert moved == {"student" if step % 2 else "critic"}, step
    assert any(name.startswith("critic") and "exp_avg_sq" in name for name in states[-1])


def test_no_second_teacher_is_made(tmp_path: Path) -> None:
    """While it distils, no new tensor has the shape of a weight that only the teacher has."""
    student, teacher = redrawn_supernet().extract(TINY), teacher_with_adapter()

    def shapes(module: nn.Module) -> set[torch.Size]:
        return {parameter.shape for parameter in module.parameters() if parameter.ndim == 2}

    own = shapes(teacher) - shapes(student) - shapes(Student(copy.deepcopy(student), SPACE.full_width))
    assert len(own) > 3
    known = {id(item) for item in gc.get_objects()}
    found: list[torch.Size] = []

    def look(done: float, total: float, note: str) -> None:
        tensors = [item for item in gc.get_objects() if id(item) not in known and issubclass(type(item), Tensor)]
        found.extend(item.shape for item in tensors if item.shape in own)

    how: dict[str, Any] = {"config": KDMDConfig(steps=2, batch_size=3), "guidance_scale": 1.5, "progress": look}
    distill_kdmd(student, teacher, DATA, tmp_path / "s", **how)
    assert not found


def test_interrupted_kdmd_with_loras_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_loop, "time", leaping_clock())

    def run(state: Path, **options: Any) -> dict[str, Tensor]:
        student, how = redrawn_supernet().extract(TINY), {"config": LORA, "guidance_scale": 1.0, **options}
        distill_kdmd(student, teacher_with_adapter(), DATA, state, **how)
        return weights_of(student)

    expected = run(tmp_path / "whole")
    assert expected.keys() == weights_of(redrawn_supernet().extract(TINY)).keys()
    with pytest.raises(KilledError):
        run(tmp_path / "broken", progress=stop_after(3))
    with pytest.raises(RunError, match="trained lora, not full; ask for the same"):
        run(tmp_path / "broken", config=KDMDConfig(steps=4, batch_size=4))
    assert same(run(tmp_path / "broken"), expected)
    assert not same(expected, weights_of(redrawn_supernet().extract(TINY)))


@pytest.mark.parametrize(("width", "trained"), [(64, "full"), (255, "full"), (256, "lora"), (2048, "lora")])
def test_narrow_students_are_trained_in_full(width: int, trained: str) -> None:
    class OfWidth:
        config = {"width": width}

    assert KDMDConfig().trained_of(OfWidth()) == trained  # type: ignore[arg-type]
    assert KDMDConfig(trained="lora").trained_of(OfWidth()) == "lora"  # type: ignore[arg-type]
    assert (KDMDConfig().lora_rank, KDMDConfig().lora_alpha) == (64, 128)


def test_nothing_else_can_be_trained() -> None:
    with pytest.raises(ConfigError, match="choose auto, full or lora"):
        KDMDConfig(trained="norms")
