"""The elastic step against plain autograd through the supernet, each term by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import balanced_scale
from supernet.training.elastic_step import elastic_step

SPACE = get_space("digits")
SPECS = [
    SPACE.named["tiny"],
    SPACE.named["full"],
    replace(
        SPACE.named["full"],
        depth=tuple(values[0] for values in SPACE.depths),
        ffn_ratio=tuple(values[0] for values in SPACE.ffn_ratios),
    ),
    *SPACE.decode(SPACE.sample(np.random.default_rng(3), 3)),
]


def redrawn() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.double().train()


def drawn_batch(count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    shape = (count, 1, 8, 8)
    text = list(example_inputs(SPACE, batch=count, seed=2).values())[2:]
    return Batch(
        latents=torch.randn(shape, generator=generator).double(),
        noise=torch.randn(shape, generator=generator).double(),
        sigma=torch.rand(count, generator=generator).double(),
        text=tuple(tokens.double() for tokens in text),
    )


def outputs(model: ElasticDiT, batch: Batch, spec: SubDiTSpec) -> tuple[Tensor, Tensor, Tensor]:
    """The velocities of the full network and of the sub-network, and the target."""
    at = batch.sigma[:, None, None, None]
    x_t = (1 - at) * batch.latents + at * batch.noise
    inputs = (x_t, 1000 * batch.sigma, *batch.text)
    return model(*inputs), model(*inputs, spec=spec), batch.noise - batch.latents


def gradients(model: ElasticDiT, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def taken(model: ElasticDiT) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.hash)
@pytest.mark.parametrize("shards", [1, 2])
def test_gradients_are_those_of_plain_autograd_balanced(spec: SubDiTSpec, shards: int) -> None:
    model, batch = redrawn(), drawn_batch()
    sub_weight, distill_weight = 0.7, 0.3
    full, _, target = outputs(model, batch, spec)
    full_loss = (full - target).square().mean()
    from_full = gradients(model, full_loss)
    full, sub, target = outputs(model, batch, spec)
    teacher = torch.tensor(full.detach().numpy())
    sub_loss, distill_loss = (sub - target).square().mean(), (sub - teacher).square().mean()
    from_sub = gradients(model, sub_weight * (sub_loss + distill_weight * distill_loss))
    reads = {name: share for name, share in ((s.owner, s) for s in model.slices(spec).values())}

    losses = elastic_step(model, spec, batch, sub_weight=sub_weight, distill_weight=distill_weight, shards=shards)

    assert losses.full == pytest.approx(full_loss.item())
    assert losses.sub == pytest.approx(sub_loss.item())
    assert losses.distill == pytest.approx(distill_loss.item(), rel=1e-9, abs=1e-20)
    found = taken(model)
    assert found.keys() == from_full.keys() | reads.keys()
    scaled_down = 0
    for name, gradient in found.items():
        expected = from_full.get(name, torch.zeros_like(gradient)).clone()
        if name in reads:
            added = from_sub[name]
            if name in from_full:
                own = torch.ones_like(added)
                reads[name].view(own).zero_()
                inside = from_full[name][own == 0]
                scale = min(1.0, float(inside.norm() / max(float(added.norm()), 1e-12)))
                scaled_down += scale < 1
                added = scale * added
                assert added.norm() <= inside.norm() * (1 + 1e-9), "the sub-network outvotes the full one"
            expected += added
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    if spec != SPACE.named["full"]:
        assert scaled_down > 5, "otherwise the scale was not tested"
    assert losses.full_gradient_norm == pytest.approx(norm_of(from_full))
    assert losses.sub_gradient_norm == pytest.approx(norm_of(from_sub))


def norm_of(found: dict[str, Tensor]) -> float:
    return sum(float(gradient.square().sum()) for gradient in found.values()) ** 0.5


@pytest.mark.parametrize("shards", [2, 3, 9])
def test_sharded_equals_whole(shards: int) -> None:
    """In float32, as in training; more shards than images, and unequal ones, too."""
    batch = drawn_batch(7)
    batch = Batch(batch.latents.float(), batch.noise.float(), batch.sigma.float(), tuple(t.float() for t in batch.text))
    whole, sharded = redrawn().float(), redrawn().float()
    one = elastic_step(whole, SPECS[3], batch)
    many = elastic_step(sharded, SPECS[3], batch, shards=shards)
    assert many.full == pytest.approx(one.full, rel=1e-5)
    assert many.sub == pytest.approx(one.sub, rel=1e-5)
    expected = taken(whole)
    for name, gradient in taken(sharded).items():
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm() + 1e-7, name


def test_dropped_text_is_dropped_for_both_members() -> None:
    model, batch = redrawn(), drawn_batch()
    mask = torch.rand(6, 4, generator=torch.Generator().manual_seed(5)) < 0.5
    mask[:, 0] = True
    found = elastic_step(model, SPECS[3], replace(batch, text_mask=mask), shards=2)
    garbage = tuple(tokens.masked_fill(~mask[..., None], 1e3) for tokens in batch.text)
    other = elastic_step(model, SPECS[3], replace(batch, text_mask=mask, text=garbage), shards=2)
    assert (found.full, found.sub, found.distill) == (other.full, other.sub, other.distill)
    whole = elastic_step(model, SPECS[3], batch, shards=2)
    assert abs(whole.full - found.full) > 1e-6 and abs(whole.sub - found.sub) > 1e-6


def test_distillation_teaches_the_sub_network_alone() -> None:
    """The full network's share of the gradient is the same however much its output is copied."""
    spec = SPECS[2]
    model, batch = redrawn(), drawn_batch()
    from_full = gradients(model, (outputs(model, batch, spec)[0] - (batch.noise - batch.latents)).square().mean())
    outside = {name for name in from_full if name not in {share.owner for share in model.slices(spec).values()}}
    assert outside, "a shallower sub-network leaves blocks to the full one"
    elastic_step(model, spec, batch, distill_weight=100.0)
    found = taken(model)
    for name in outside:
        torch.testing.assert_close(found[name], from_full[name], rtol=1e-10, atol=1e-14)


def test_a_step_leaves_nothing_of_the_one_before() -> None:
    model, batch = redrawn(), drawn_batch()
    elastic_step(model, SPECS[0], batch)
    elastic_step(model, SPECS[2], batch)
    again = taken(model)
    fresh = redrawn()
    elastic_step(fresh, SPECS[2], batch)
    assert again.keys() == taken(fresh).keys()
    assert all(torch.equal(again[name], gradient) for name, gradient in taken(fresh).items())


@pytest.mark.parametrize(
    ("full", "sub", "expected"),
    [([3.0, 4.0], [1.0, 0.0], 1.0), ([3.0, 4.0], [0.0, 10.0], 0.5), ([0.0, 0.0], [1.0, 1.0], 0.0)],
)
def test_balanced_scale(full: list[float], sub: list[float], expected: float) -> None:
    assert balanced_scale(torch.tensor(full), torch.tensor(sub)).item() == pytest.approx(expected)


def test_balanced_scale_of_silence_is_finite() -> None:
    assert torch.isfinite(balanced_scale(torch.ones(3), torch.zeros(3)))
    assert torch.isfinite(balanced_scale(torch.zeros(3), torch.zeros(3)))
