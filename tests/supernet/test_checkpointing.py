"""Gradient checkpointing in an elastic step: the same gradients, with fewer tensors kept for the backward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.model.dit import SubDiT
from supernet.model.elastic import ElasticDiT
from supernet.training.elastic_step import elastic_step
from tests.supernet.test_autocast import drawn_batch
from tests.supernet.test_autocast import gradients
from tests.supernet.test_autocast import redrawn

SPACE = get_space("digits")
SPECS = [SPACE.named["tiny"], SPACE.named["full"], *SPACE.decode(SPACE.sample(np.random.default_rng(3), 1))]


def pair() -> tuple[ElasticDiT, ElasticDiT]:
    plain, checkpointed = redrawn(), redrawn()
    checkpointed.enable_gradient_checkpointing()
    return plain, checkpointed


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.hash)
@pytest.mark.parametrize(("shards", "autocast"), [(1, None), (2, None), (2, torch.bfloat16)])
def test_no_bit_of_a_gradient_depends_on_checkpointing(
    spec: SubDiTSpec, shards: int, autocast: torch.dtype | None
) -> None:
    (plain, checkpointed), batch = pair(), drawn_batch(5)
    expected = elastic_step(plain, [spec], batch, shards=shards, autocast=autocast)
    for _ in range(2):
        assert elastic_step(checkpointed, [spec], batch, shards=shards, autocast=autocast) == expected
        assert gradients(checkpointed).keys() == gradients(plain).keys()
        for name, gradient in gradients(checkpointed).items():
            assert torch.equal(gradient, gradients(plain)[name]), name


def kept_bytes(model: ElasticDiT, spec: SubDiTSpec) -> int:
    """What a step's forward passes keep for their backward passes."""
    total = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.nbytes if not isinstance(tensor, torch.nn.Parameter) else 0
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        elastic_step(model, [spec], drawn_batch(5))
    return total


def runs(model: ElasticDiT, monkeypatch: pytest.MonkeyPatch, spec: SubDiTSpec) -> list[str]:
    """In which member each run of a block is, in a step."""
    seen: list[str] = []
    plain = SubDiT._run

    def watched(self: SubDiT, block: torch.nn.Module, *inputs: Tensor | None) -> Tensor:
        block.register_forward_pre_hook(lambda *_: seen.append("full" if self is model.full else "sub"))
        return plain(self, block, *inputs)

    monkeypatch.setattr(SubDiT, "_run", watched)
    elastic_step(model, [spec], drawn_batch(2))
    return seen


def test_both_members_keep_less_for_the_backward_pass() -> None:
    plain, checkpointed = pair()
    for spec in SPECS:
        assert kept_bytes(checkpointed, spec) < 0.3 * kept_bytes(plain, spec)


def test_each_block_of_both_members_runs_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS[0]
    _, checkpointed = pair()
    seen = runs(checkpointed, monkeypatch, spec)
    assert seen.count("full") == 2 * sum(SPACE.named["full"].depth)
    assert seen.count("sub") == 2 * sum(spec.depth)


def test_checkpointing_ends_where_it_is_disabled() -> None:
    plain, checkpointed = pair()
    elastic_step(checkpointed, [SPECS[0]], drawn_batch(5))
    checkpointed.disable_gradient_checkpointing()
    assert kept_bytes(checkpointed, SPECS[0]) == kept_bytes(plain, SPECS[0])


def test_a_sub_network_within_the_supernet_goes_without() -> None:
    """Its backward pass comes after the call that had its slices in place."""
    plain, checkpointed = pair()
    batch = drawn_batch(3)
    elastic_step(checkpointed, [SPECS[0]], batch)
    for model in (plain, checkpointed):
        model.zero_grad(set_to_none=True)
        model(batch.latents, 1000 * batch.sigma, *batch.text, spec=SPECS[0]).square().mean().backward()
    assert gradients(plain).keys() == gradients(checkpointed).keys()
    assert all(torch.equal(gradient, gradients(plain)[name]) for name, gradient in gradients(checkpointed).items())
    assert not checkpointed.extract(SPECS[0]).is_gradient_checkpointing
