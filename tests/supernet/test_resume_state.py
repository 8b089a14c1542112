"""Resume states: where and in which type everything is that comes back from one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch import nn

from supernet.training.ema import moving_average
from supernet.training.muon import Muon
from supernet.training.resume_state import ResumeState
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState

BUDGET = StepBudget(9)


def made(device: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, list[torch.optim.Optimizer], EMAModel]:
    """Two layers, of which Muon has the second one's matrix and AdamW, in another order, the rest."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 4)).to(device, dtype)
    (first, first_bias), (second, second_bias) = (layer.parameters() for layer in model)
    rest = [{"params": [second_bias]}, {"params": [first_bias, first], "weight_decay": 0.0}]
    muon = Muon([second], lr=0.1, iteration_dtype=torch.float32)
    return model, [muon, torch.optim.AdamW(rest, lr=0.1)], moving_average(model.parameters(), decay=0.9)


def kept(path: Path, parts: tuple[nn.Module, list[torch.optim.Optimizer], EMAModel]) -> ResumeState:
    model, optimizers, ema = parts
    return ResumeState(path / "state.safetensors", {"model": (model, optimizers)}, {"model": ema})


def train(parts: tuple[nn.Module, list[torch.optim.Optimizer], EMAModel], steps: int, seed: int) -> None:
    model, optimizers, ema = parts
    generator = torch.Generator().manual_seed(seed)
    like = next(model.parameters())
    for _ in range(steps):
        model.zero_grad()
        model(torch.randn(7, 3, generator=generator).to(like.dtype)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        ema.step(model.parameters())


def states(optimizers: list[torch.optim.Optimizer]) -> list[tuple[str, Tensor]]:
    return [
        (key, value)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        for key, value in sorted(optimizer.state[parameter].items())
    ]


def test_what_is_restored_goes_on_as_what_was_saved(tmp_path: Path) -> None:
    whole, begun, again = made("cpu"), made("cpu"), made("cpu")
    train(whole, 3, seed=1)
    train(begun, 3, seed=1)
    kept(tmp_path, begun).save(BUDGET, StepState(3, 1.5))
    train(again, 1, seed=5)
    assert kept(tmp_path, again).load(BUDGET) == StepState(3, 1.5)
    train(whole, 2, seed=2)
    train(again, 2, seed=2)
    for one, other in zip(whole[0].parameters(), again[0].parameters(), strict=True):
        assert torch.equal(one, other)
    assert all(
        torch.equal(one, other) for one, other in zip(whole[2].shadow_params, again[2].shadow_params, strict=True)
    )
    for (key, one), (same, other) in zip(states(whole[1]), states(again[1]), strict=True):
        assert key == same and torch.equal(one, other)
    assert again[1][1].param_groups[1]["weight_decay"] == 0.0 != again[1][1].param_groups[0]["weight_decay"]


def test_states_that_kills_left_half_written_are_deleted(tmp_path: Path) -> None:
    parts = made("cpu")
    for name in (".state.safetensors.abc.tmp", ".state.safetensors.def.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".other.safetensors.abc.tmp").write_bytes(b"another's")
    assert kept(tmp_path, parts).load(BUDGET) == StepState()
    kept(tmp_path, parts).save(BUDGET, StepState(3, 1.5))
    (tmp_path / ".state.safetensors.abc.tmp").write_bytes(b"half")
    assert kept(tmp_path, parts).load(BUDGET) == StepState(3, 1.5)
    assert {path.name for path in tmp_path.iterdir()} == {"state.safetensors", ".other.safetensors.abc.tmp"}


def test_a_state_goes_to_the_device_of_its_parameters(tmp_path: Path) -> None:
    """Moments with the weights; AdamW's count of steps stays on the processor, where torch keeps it."""
    here = made("cpu")
    train(here, 2, seed=1)
    kept(tmp_path, here).save(BUDGET, StepState(2, 0.5))
    model, optimizers, ema = there = made("meta")
    kept(tmp_path, there).load(BUDGET)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert all(shadow.is_meta for shadow in ema.shadow_params)
    found = states(optimizers)
    assert {key for key, _ in found} == {"momentum_buffer", "step", "exp_avg", "exp_avg_sq"} and len(found) == 10
    assert {key: value.device.type for key, value in found} == {
        "momentum_buffer": "meta",
        "step": "cpu",
        "exp_avg": "meta",
        "exp_avg_sq": "meta",
    }


def test_an_average_of_a_bfloat16_model_is_float32_and_moves(tmp_path: Path) -> None:
    model, _, ema = parts = made("cpu", torch.bfloat16)
    # The first step takes the weights as they are.
    ema.step(model.parameters())
    before = copy.deepcopy(ema.shadow_params)
    assert {shadow.dtype for shadow in ema.shadow_params} == {torch.float32}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.02)
    ema.decay = ema.min_decay = 0.9
    ema.step(model.parameters())
    for shadow, old, new in zip(ema.shadow_params, before, model.parameters(), strict=True):
        torch.testing.assert_close(shadow, 0.9 * old + 0.1 * new.float())
    kept(tmp_path, parts).save(BUDGET, StepState(1, 0.5))
    again = made("cpu", torch.bfloat16)
    kept(tmp_path, again).load(BUDGET)
    assert all(torch.equal(one, other) for one, other in zip(ema.shadow_params, again[2].shadow_params, strict=True))
    ema.copy_to(model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_average_is_diffusers_own(dtype: torch.dtype) -> None:
    model, optimizers, ema = made("cpu", dtype)
    plain = EMAModel(model.parameters(), decay=0.9, use_ema_warmup=True, power=0.75)
    for seed in range(3):
        train((model, optimizers, ema), 1, seed=seed)
        plain.step(model.parameters())
    for one, other in zip(ema.shadow_params, plain.shadow_params, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one, other)
