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
from supernet.training.balance import balanced_scales
from supernet.training.config import BALANCES
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import elastic_step
from tests.supernet.live_memory import LiveMemory

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

OTHER_BNA = replace(
    SPACE.named["full"],
    bna_blocks=tuple(SPACE.bna_blocks[0] for _ in range(2)),
    bna_radius=tuple(SPACE.bna_radii[0] for _ in range(2)),
)


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

    losses = elastic_step(model, [spec], batch, sub_weight=sub_weight, distill_weight=distill_weight, shards=shards)

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


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("full_spec", [None, OTHER_BNA], ids=["own", "drawn"])
def test_every_sub_network_is_balanced_against_the_full_one_alone(balance: str, full_spec: SubDiTSpec | None) -> None:
    """Plain autograd of each member by itself: no sub-network's scale depends on what another one adds."""
    model, batch, specs = redrawn(), drawn_batch(), SPECS[3:5]
    target = batch.noise - batch.latents

    def own(spec: SubDiTSpec | None) -> Tensor:
        at = batch.sigma[:, None, None, None]
        return model((1 - at) * batch.latents + at * batch.noise, 1000 * batch.sigma, *batch.text, spec=spec)

    full = own(full_spec)
    teacher = torch.tensor(full.detach().numpy())
    from_full = gradients(model, (full - target).square().mean())
    expected = {name: gradient.clone() for name, gradient in from_full.items()}
    losses = []
    for spec in specs:
        sub = own(spec)
        terms = (sub - target).square().mean(), (sub - teacher).square().mean()
        losses.append([term.item() for term in terms])
        added = gradients(model, 8 / 2 * (terms[0] + 0.3 * terms[1]))
        shared = [name for name in added if name in from_full]
        inside = {name: from_full[name][added[name] != 0] for name in shared}
        factors = {name: min(1.0, float(inside[name].norm() / added[name].norm().clamp_min(1e-12))) for name in shared}
        if balance == "none":
            factors = dict.fromkeys(shared, 1.0)
        elif balance == "global":
            factors = dict.fromkeys(shared, min(1.0, norm_of(inside) / norm_of({n: added[n] for n in shared})))
            assert factors[shared[0]] < 1, "otherwise the scale was not tested"
        for name, gradient in added.items():
            expected[name] = expected.get(name, 0) + factors.get(name, 1.0) * gradient

    found = elastic_step(model, specs, batch, sub_weight=8, distill_weight=0.3, full_spec=full_spec, balance=balance)

    assert [found.sub, found.distill] == pytest.approx(np.mean(losses, axis=0).tolist())
    assert taken(model).keys() == expected.keys()
    for name, gradient in taken(model).items():
        if not name.endswith("cross_attn.k_norm.bias"):
            torch.testing.assert_close(gradient, expected[name], rtol=1e-8, atol=1e-12)


def test_a_step_without_sub_networks_is_plain_training() -> None:
    model, batch = redrawn(), drawn_batch()
    full, _, target = outputs(model, batch, SPECS[1])
    expected = gradients(model, (full - target).square().mean())
    found = elastic_step(model, [], batch, shards=2)
    assert (found.sub, found.distill, found.sub_gradient_norm) == (0.0, 0.0, 0.0)
    torch.testing.assert_close(taken(model), expected, rtol=1e-9, atol=1e-12)


def norm_of(found: dict[str, Tensor]) -> float:
    return sum(float(gradient.square().sum()) for gradient in found.values()) ** 0.5


@pytest.mark.parametrize("shards", [2, 3, 9])
def test_sharded_equals_whole(shards: int) -> None:
    """In float32, as in training; more shards than images, and unequal ones, too."""
    batch = single(drawn_batch(7))
    whole, sharded = redrawn().float(), redrawn().float()
    one = elastic_step(whole, [SPECS[3]], batch)
    many = elastic_step(sharded, [SPECS[3]], batch, shards=shards)
    assert many.full == pytest.approx(one.full, rel=1e-5)
    assert many.sub == pytest.approx(one.sub, rel=1e-5)
    expected = taken(whole)
    for name, gradient in taken(sharded).items():
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm() + 1e-7, name


@pytest.mark.parametrize(("accumulation", "shards"), [(1, 2), (2, 1), (4, 1), (3, 2), (7, 1), (50, 2)])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(accumulation: int, shards: int) -> None:
    """Of seven images: equal parts, unequal ones, one for each, and more than there are images."""
    batch, spec = single(drawn_batch(7)), SPECS[3]
    whole, parts = redrawn().float(), redrawn().float()
    expected = elastic_step(whole, [spec], batch)
    found = elastic_step(parts, [spec], batch, accumulation=accumulation, shards=shards)
    for key in ("full", "sub", "distill", "full_gradient_norm", "sub_gradient_norm"):
        assert getattr(found, key) == pytest.approx(getattr(expected, key), rel=1e-5), key
    wanted = taken(whole)
    off = {name: gradient - wanted[name] for name, gradient in taken(parts).items()}
    assert off.keys() == wanted.keys()
    assert norm_of(off) <= 1e-6 * norm_of(wanted)
    for name in off:
        assert off[name].norm() <= 3e-6 * wanted[name].norm() + 1e-7, name


def test_gradients_are_balanced_once_over_all_parts() -> None:
    """Exact numbers, in float64: balanced part by part, the sums would differ in their second digit."""
    whole, parts, batch = redrawn(), redrawn(), drawn_batch(6)
    elastic_step(whole, [SPECS[3]], batch)
    elastic_step(parts, [SPECS[3]], batch, accumulation=3)
    for name, gradient in taken(parts).items():
        torch.testing.assert_close(gradient, taken(whole)[name], rtol=1e-9, atol=1e-12)
    one_by_one: dict[str, Tensor] = {}
    for rows in (slice(0, 2), slice(2, 4), slice(4, 6)):
        latents, noise, sigma = batch.latents[rows], batch.noise[rows], batch.sigma[rows]
        elastic_step(parts, [SPECS[3]], Batch(latents, noise, sigma, tuple(text[rows] for text in batch.text)))
        for name, gradient in taken(parts).items():
            one_by_one[name] = one_by_one.get(name, torch.zeros_like(gradient)) + gradient / 3
    off = {name: float((one_by_one[name] - gradient).norm()) for name, gradient in taken(whole).items()}
    assert sum(off.values()) > 0.01 * sum(float(gradient.norm()) for gradient in taken(whole).values())


def test_memory_falls_with_the_parts_and_does_not_grow_with_their_number() -> None:
    """Activations of one part live at a time, and one sum of gradients, however many parts there are."""

    def peak_bytes(count: int, accumulation: int) -> int:
        model, batch = redrawn().float(), single(drawn_batch(count))
        with LiveMemory() as memory:
            elastic_step(model, [SPECS[1]], batch, accumulation=accumulation)
        return memory.peak_bytes

    assert peak_bytes(48, 4) < 0.6 * peak_bytes(48, 1)
    assert peak_bytes(8, 4) < 1.02 * peak_bytes(4, 2)


def single(batch: Batch) -> Batch:
    return Batch(batch.latents.float(), batch.noise.float(), batch.sigma.float(), tuple(t.float() for t in batch.text))


def test_dropped_text_is_dropped_for_both_members() -> None:
    model, batch = redrawn(), drawn_batch()
    mask = torch.rand(6, 4, generator=torch.Generator().manual_seed(5)) < 0.5
    mask[:, 0] = True
    found = elastic_step(model, [SPECS[3]], replace(batch, text_mask=mask), shards=2)
    garbage = tuple(tokens.masked_fill(~mask[..., None], 1e3) for tokens in batch.text)
    other = elastic_step(model, [SPECS[3]], replace(batch, text_mask=mask, text=garbage), shards=2)
    assert (found.full, found.sub, found.distill) == (other.full, other.sub, other.distill)
    whole = elastic_step(model, [SPECS[3]], batch, shards=2)
    assert abs(whole.full - found.full) > 1e-6 and abs(whole.sub - found.sub) > 1e-6


def test_distillation_teaches_the_sub_network_alone() -> None:
    """The full network's share of the gradient is the same however much its output is copied."""
    spec = SPECS[2]
    model, batch = redrawn(), drawn_batch()
    from_full = gradients(model, (outputs(model, batch, spec)[0] - (batch.noise - batch.latents)).square().mean())
    outside = {name for name in from_full if name not in {share.owner for share in model.slices(spec).values()}}
    assert outside, "a shallower sub-network leaves blocks to the full one"
    elastic_step(model, [spec], batch, distill_weight=100.0)
    found = taken(model)
    for name in outside:
        torch.testing.assert_close(found[name], from_full[name], rtol=1e-10, atol=1e-14)


def test_a_step_leaves_nothing_of_the_one_before() -> None:
    model, batch = redrawn(), drawn_batch()
    elastic_step(model, [SPECS[0]], batch)
    elastic_step(model, [SPECS[2]], batch)
    again = taken(model)
    fresh = redrawn()
    elastic_step(fresh, [SPECS[2]], batch)
    assert again.keys() == taken(fresh).keys()
    assert all(torch.equal(again[name], gradient) for name, gradient in taken(fresh).items())


@pytest.mark.parametrize(
    ("full", "sub", "expected"),
    [([3.0, 4.0], [1.0, 0.0], 1.0), ([3.0, 4.0], [0.0, 10.0], 0.5), ([0.0, 0.0], [1.0, 1.0], 0.0)],
)
def test_balanced_scales(full: list[float], sub: list[float], expected: float) -> None:
    assert balanced_scales([torch.tensor(full)], [torch.tensor(sub)])[0].item() == pytest.approx(expected)


def test_balanced_scale_of_silence_is_finite() -> None:
    assert torch.isfinite(balanced_scales([torch.ones(3)], [torch.zeros(3)])[0])
    assert torch.isfinite(balanced_scales([torch.zeros(3)], [torch.zeros(3)])[0])
