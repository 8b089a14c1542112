"""Training in bfloat16: products in that type, everything that adds up in float32."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from subdit.space import get_space
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.training.config import TrainingConfig
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import elastic_step
from supernet.training.optimizers import optimizers_of

SPACE = get_space("digits")
SPEC = SPACE.named["tiny"]
HALF = torch.bfloat16


def redrawn() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.train()


def drawn_batch(count: int = 6, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    latents, noise = (torch.randn((count, 1, 8, 8), generator=generator) for _ in range(2))
    text = tuple(example_inputs(SPACE, batch=count, seed=2).values())[2:]
    return Batch(latents, noise, torch.rand(count, generator=generator), text)


def gradients(model: ElasticDiT) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Of all gradients together, over the size of what is expected."""
    assert found.keys() == expected.keys()
    off = sum(float((found[name] - expected[name]).square().sum()) for name in expected)
    return (off / sum(float(gradient.square().sum()) for gradient in expected.values())) ** 0.5


class OperatorTypes(TorchDispatchMode):
    """The types of the floating-point tensors that each operator is given, in the calling thread."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: defaultdict[str, set[torch.dtype]] = defaultdict(set)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim:
                self.seen[func.overloadpacket.__name__].add(leaf.dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("shards", "accumulation"), [(1, 1), (2, 1), (2, 2)])
def test_an_autocast_step_is_the_float32_step_within_eight_bits(shards: int, accumulation: int) -> None:
    plain, cast, batch = redrawn(), redrawn(), drawn_batch()
    expected = elastic_step(plain, [SPEC], batch)
    found = elastic_step(cast, [SPEC], batch, shards=shards, accumulation=accumulation, autocast=HALF)
    for key in ("full", "sub", "distill", "full_gradient_norm", "sub_gradient_norm"):
        assert getattr(found, key) == pytest.approx(getattr(expected, key), rel=0.03), key
    assert {gradient.dtype for gradient in gradients(cast).values()} == {torch.float32}
    # Each thread has an autocast of its own: where one goes without, the gradients are as exact as float32.
    assert 1e-3 < distance(gradients(cast), gradients(plain)) < 0.05


def test_products_are_in_bfloat16_and_losses_and_sums_are_not() -> None:
    model, batch = redrawn(), drawn_batch()
    with OperatorTypes() as types:
        elastic_step(model, [SPEC], batch, accumulation=2, autocast=HALF)
    for product in ("mm", "addmm", "convolution", "_scaled_dot_product_flash_attention_for_cpu"):
        assert types.seen[product] == {HALF}, product
    for exact in ("sin", "pow", "mean", "_foreach_add_", "_foreach_norm", "linalg_vector_norm", "add_"):
        assert types.seen[exact] == {torch.float32}, exact
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_some_steps_in_bfloat16_stay_near_those_in_float32() -> None:
    """Weights that are master weights: in bfloat16 such small updates would be rounded away."""
    ends, config = [], replace(TrainingConfig(), learning_rate=1e-4, muon_learning_rate=1e-4)
    for autocast in (None, HALF):
        model = redrawn()
        begun = torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
        optimizers = [each for each, _ in optimizers_of(model.full, list(model.parameters()), config)]
        for step in range(4):
            losses = elastic_step(model, [SPEC], drawn_batch(seed=step), shards=2, autocast=autocast)
            for optimizer in optimizers:
                optimizer.step()
        assert {value.dtype for each in optimizers for state in each.state.values() for value in state.values()} == {
            torch.float32
        }
        ends.append((losses, torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) - begun))
    (expected, whole), (found, half) = ends
    assert found.full == pytest.approx(expected.full, rel=0.03) and found.sub == pytest.approx(expected.sub, rel=0.03)
    assert 0 < (half - whole).norm() < 0.2 * whole.norm()
