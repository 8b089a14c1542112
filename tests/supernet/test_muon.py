"""Muon against torch's own, against float64 one matrix at a time, and against itself without batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch import nn
from torch.optim import _muon

from subdit.core.errors import RunError
from supernet.training.muon import Muon
from supernet.training.muon import muon_dtype
from supernet.training.muon import orthogonalize

SHAPES = ((12, 40), (40, 12), (16, 16), (12, 40), (40, 12), (1, 7), (7, 1), (40, 12), (16, 16))
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def drawn(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


def after_steps(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], dtype: torch.dtype) -> list[Tensor]:
    """Parameters after six steps with gradients that change, one of them missing now and then."""
    parameters = [nn.Parameter(value) for value in drawn(0, dtype)]
    optimizer = make(parameters)
    for step in range(6):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 / (step + 1)
        for index, (parameter, gradient) in enumerate(zip(parameters, drawn(step + 1, dtype), strict=True)):
            parameter.grad = None if (index, step) == (3, 2) else gradient
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def slow_orthogonal(update: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Newton-Schulz on the singular values, which is all that it changes: x <- a x + b x^3 + c x^5."""
    left, values, right = torch.linalg.svd(update.double(), full_matrices=False)
    values = values / values.square().sum().sqrt().clamp(min=eps)
    a, b, c = coefficients
    for _ in range(steps):
        values = a * values + b * values**3 + c * values**5
    return (left @ torch.diag(values) @ right).to(update.dtype)


@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_are_those_of_torch_with_exact_iterations(monkeypatch: pytest.MonkeyPatch, nesterov: bool) -> None:
    monkeypatch.setattr(_muon, "_zeropower_via_newtonschulz", slow_orthogonal)
    options = {"weight_decay": 0.3, "momentum": 0.9, "nesterov": nesterov}
    expected = after_steps(
        lambda owned: torch.optim.Muon(owned, adjust_lr_fn="match_rms_adamw", **options), torch.float64
    )
    found = after_steps(lambda owned: Muon(owned, iteration_dtype=torch.float64, **options), torch.float64)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)
    near = after_steps(lambda owned: Muon(owned, iteration_dtype=torch.float32, **options), torch.float32)
    for mine, theirs in zip(near, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=2e-5)


def test_bfloat16_steps_are_those_of_torch() -> None:
    expected = after_steps(lambda owned: torch.optim.Muon(owned, adjust_lr_fn="match_rms_adamw"), torch.float32)
    found = after_steps(lambda owned: Muon(owned, iteration_dtype=torch.bfloat16), torch.float32)
    exact = after_steps(lambda owned: Muon(owned, iteration_dtype=torch.float32), torch.float32)
    for mine, theirs, truth in zip(found, expected, exact, strict=True):
        assert mine.dtype == torch.float32
        # Two orders of bfloat16 products differ by no more than either is off.
        assert (mine - theirs).norm() <= 1.5 * (theirs - truth).norm() + 1e-6
        assert not torch.equal(mine, truth)


@pytest.mark.parametrize("shape", [(5, 12, 40), (5, 40, 12), (3, 16, 16)])
def test_a_batch_is_its_matrices(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    options = {"coefficients": COEFFICIENTS, "steps": 5, "eps": 1e-7}
    batched = orthogonalize(matrices, **options)  # type: ignore[arg-type]
    single = torch.cat([orthogonalize(each[None], **options) for each in matrices])  # type: ignore[arg-type]
    torch.testing.assert_close(batched, single, rtol=1e-6, atol=1e-6)
    values = torch.linalg.svdvals(batched)
    assert 0.6 < values.min() and values.max() < 1.3
    assert torch.equal(orthogonalize(torch.zeros(shape), **options), torch.zeros(shape))  # type: ignore[arg-type]


def test_batches_are_cut_where_matrices_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = after_steps(lambda owned: Muon(owned, iteration_dtype=torch.float64), torch.float64)
    monkeypatch.setattr("supernet.training.muon.BATCH_ELEMENTS", 2 * 12 * 40)
    cut = after_steps(lambda owned: Muon(owned, iteration_dtype=torch.float64), torch.float64)
    for mine, theirs in zip(cut, whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(3, 12, 20), (3, 20, 12)])
def test_large_matrices_go_alone_to_the_same_result(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    together = orthogonalize(matrices, coefficients=COEFFICIENTS, steps=5, eps=1e-7)
    monkeypatch.setattr("supernet.training.muon.LONE_WORK", 0)
    alone = orthogonalize(matrices, coefficients=COEFFICIENTS, steps=5, eps=1e-7)
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_its_state_is_that_of_torch() -> None:
    """So that the resume states of earlier versions load."""
    states = []
    for kind in (lambda owned: torch.optim.Muon(owned), lambda owned: Muon(owned, iteration_dtype=torch.float32)):
        parameter = nn.Parameter(torch.ones(3, 4))
        optimizer = kind([parameter])
        parameter.grad = torch.ones(3, 4)
        optimizer.step()
        states.append(optimizer.state[parameter])
    assert states[0].keys() == states[1].keys() == {"momentum_buffer"}
    assert torch.equal(states[0]["momentum_buffer"], states[1]["momentum_buffer"])


def test_dtype_by_name_and_device() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert muon_dtype("auto", cpu) == torch.float32 and muon_dtype("auto", cuda) == torch.bfloat16
    assert muon_dtype("bfloat16", cpu) == torch.bfloat16 and muon_dtype("float32", cuda) == torch.float32
    with pytest.raises(RunError, match="'half'; it is one of auto, float32, bfloat16"):
        muon_dtype("half", cpu)
