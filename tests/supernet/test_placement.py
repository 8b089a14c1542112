"""Device and type follow the model: bfloat16 against float32, another device by fake tensors, CUDA where there is one.

Every parameter is redrawn, and rounded to bfloat16 first, so that what differs is the computing alone.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call

from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.evaluation.samples import generate
from supernet.evaluation.training_free import activation_code_score
from supernet.evaluation.training_free import synaptic_diversity_score
from supernet.evaluation.validation_loss import predicted_velocities
from supernet.evaluation.validation_loss import validation_loss
from supernet.evaluation.validation_loss import validation_losses
from supernet.evaluation.validation_loss import validation_set
from supernet.evaluation.validation_loss import velocity_function
from supernet.export.exporter import export_tflite
from supernet.flow_matching import mean_squared_error
from supernet.model.attention import SelfAttention
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.model.placement import model_inputs
from supernet.model.rope import RotaryGrid
from supernet.model.rope import rotate
from supernet.model.templates import empty_sub_dit
from supernet.sampling import sample_euler
from supernet.training.balance import balanced_scales
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import StepLosses
from supernet.training.elastic_step import elastic_step
from tests.supernet.digit_data import condition_on
from tests.supernet.digit_data import digit_data
from tests.supernet.digit_data import word_tensors
from tests.supernet.shrunk import shrunk
from tests.supernet.two_encoders import two_encoder_space

SPACE = get_space("digits")
SPECS = [SPACE.named["tiny"], *SPACE.decode(SPACE.sample(np.random.default_rng(3), 2))]
HALF = torch.bfloat16

by_hash = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.hash)


def redrawn(space: str = "digits") -> ElasticDiT:
    """A float32 supernet whose weights are bfloat16 numbers."""
    model = ElasticDiT(space=space)
    redraw_(model, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(HALF))
    return model.train()


def drawn_batch(space_name: str = "digits", count: int = 6) -> Batch:
    space, generator = get_space(space_name), torch.Generator().manual_seed(1)
    shape = (count, space.latent_channels, space.latent_size, space.latent_size)
    latents, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    text = tuple(example_inputs(space, batch=count, seed=2).values())[2:]
    return Batch(latents, noise, torch.rand(count, generator=generator), text)


def gradients(model: ElasticDiT) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Of all gradients together, over the size of what is expected."""
    assert found.keys() == expected.keys()
    off = sum(float((found[name].double().cpu() - expected[name].double()).square().sum()) for name in expected)
    return (off / sum(float(gradient.double().square().sum()) for gradient in expected.values())) ** 0.5


# Rotary tables --------------------------------------------------------------------------------------------------------


def attentions(model: nn.Module) -> list[SelfAttention]:
    return [module for module in model.modules() if isinstance(module, SelfAttention)]


def tables(model: nn.Module) -> set[int]:
    return {id(table) for each in attentions(model) for table in (each.rope_cos, each.rope_sin)}


CONVERSIONS: dict[str, Callable[[ElasticDiT], nn.Module]] = {
    "as built": lambda model: model,
    "bfloat16": lambda model: model.to(HALF),
    "half": lambda model: model.half(),
    "float64 and back": lambda model: model.double().float(),
    "deep copy": lambda model: copy.deepcopy(model).to(HALF),
    "meta and back": lambda model: model.to("meta").to_empty(device="cpu"),
    "block by block": lambda model: model.full.down.to(HALF) and model.to(HALF),
    "extracted": lambda model: model.to(HALF).extract(SPECS[0]),
    "template": lambda model: model.to(HALF).template(SPECS[0]),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_there_is_one_table_a_grid_and_it_stays_float32(name: str) -> None:
    model = CONVERSIONS[name](redrawn())
    assert len(attentions(model)) > 5 and len(tables(model)) == 4, "cosines and sines of the grid and of half of it"
    for each in attentions(model):
        cos, sin = RotaryGrid(
            each.rotary_grid.grid, SPACE.head_dim, theta=SPACE.rope_theta, stride=each.rotary_grid.stride
        ).table()
        assert torch.equal(each.rope_cos, cos) and torch.equal(each.rope_sin, sin)
        assert cos.dtype == torch.float32 and each.rotary_grid.grid**2 == len(cos)
    assert {each.rotary_grid.grid for each in attentions(model)} == {SPACE.grid, SPACE.grid // 2}


def test_a_template_has_the_supernets_tables_and_no_weights() -> None:
    supernet = redrawn()
    template = supernet.template(SPECS[0])
    assert tables(template) == tables(supernet.full)
    assert all(parameter.is_meta for parameter in template.parameters())
    assert all(buffer.is_meta for buffer in empty_sub_dit(SPACE, SPECS[0]).buffers())


def test_tables_are_no_part_of_what_is_saved() -> None:
    assert not [name for name in redrawn().state_dict() if "rope" in name or "rotary" in name]


def test_a_file_is_the_same_with_a_table_for_each_block(tmp_path: Path) -> None:
    """So that no export, and no profile measured on one, is of another file since tables are shared."""
    model = redrawn().extract(SPECS[0])
    files = [export_tflite(model.eval(), model.example_inputs(), tmp_path / "shared.tflite")]
    for each in attentions(model):
        each.rope_cos, each.rope_sin = each.rope_cos.clone(), each.rope_sin.clone()
    assert len(tables(model)) == 2 * len(attentions(model)) > 4
    files.append(export_tflite(model, model.example_inputs(), tmp_path / "apart.tflite"))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_heads_in_bfloat16_are_rotated_with_one_rounding() -> None:
    """Against float64; bfloat16 tables, which a cast of the model would leave, are further off."""
    exact = RotaryGrid(8, 16, theta=100.0).table()
    x = torch.randn(2, 64, 3, 16, generator=torch.Generator().manual_seed(0)).to(HALF)
    reference = rotate(x.double(), *(table.double() for table in exact))
    # Half a unit in the last of eight bits is at most 1/256, and float32 adds a little before.
    bound = 2.0**-8 * reference.abs() + 1e-5
    found = rotate(x, *exact)
    assert found.dtype == HALF
    assert ((found.double() - reference).abs() <= bound).all()
    cast = rotate(x, *(table.to(HALF) for table in exact))
    off, off_cast = ((each.double() - reference).abs() for each in (found, cast))
    assert (off_cast > bound).any() and off_cast.mean() > 1.3 * off.mean()
    turned = rotate(x.float(), *exact)
    assert turned.dtype == torch.float32
    torch.testing.assert_close(turned.double(), reference, rtol=1e-5, atol=1e-5)


# The elastic step -----------------------------------------------------------------------------------------------------


def step_by_fresh_templates(supernet: ElasticDiT, spec: SubDiTSpec, batch: Batch, shards: int) -> StepLosses:
    """The step as it was when each shard built its own template, with real tables; float32 on a processor alone."""
    owners = dict(supernet.named_parameters())
    full_parameters = dict(supernet.full.named_parameters())
    slices = supernet.slices(spec)
    leaves = {name: part.read(owners[part.owner].detach()).clone().requires_grad_() for name, part in slices.items()}
    count = len(batch.latents)
    ends = [round(count * at / shards) for at in range(shards + 1)]
    parts = []
    for start, end in zip(ends[:-1], ends[1:], strict=True):
        rows = slice(start, end)
        template = SubDiT.from_spec(supernet.space, spec).requires_grad_(False)
        latents, noise, sigma = batch.latents[rows], batch.noise[rows], batch.sigma[rows]
        at = sigma.reshape(-1, 1, 1, 1)
        x_t = (1 - at) * latents + at * noise
        inputs = (x_t, 1000 * sigma, *(text[rows] for text in batch.text))
        part, target = len(latents) / count, noise - latents
        full = supernet.full(*inputs)
        full_loss = part * (full - target).square().mean()
        of_full = torch.autograd.grad(full_loss, list(full_parameters.values()))
        sub = functional_call(template, leaves, inputs)
        sub_loss = part * (sub - target).square().mean()
        distill = part * (sub - full.detach()).square().mean()
        of_sub = torch.autograd.grad(1.0 * (sub_loss + 0.5 * distill), list(leaves.values()))
        parts.append(((full_loss.item(), sub_loss.item(), distill.item()), list(of_full), list(of_sub)))
    losses, of_full, of_sub = parts[0]
    for further, more_full, more_sub in parts[1:]:
        losses = tuple(one + other for one, other in zip(losses, further, strict=True))
        torch._foreach_add_(of_full, more_full)
        torch._foreach_add_(of_sub, more_sub)
    supernet.zero_grad(set_to_none=True)
    for parameter, gradient in zip(full_parameters.values(), of_full, strict=True):
        parameter.grad = gradient
    norms = [torch.stack(torch._foreach_norm(of_full)).norm().item()]
    for part, gradient in zip(slices.values(), of_sub, strict=True):
        owner = owners[part.owner]
        if owner.grad is None:
            owner.grad = torch.zeros_like(owner)
        own, added = part.view(owner.grad), part.write_view(gradient)
        scale = (own.norm() / added.norm().clamp_min(1e-12)).clamp(max=1.0)
        own.add_(added if part.owner.startswith("apart.") else scale * added)
    return StepLosses(*losses, *norms, torch.stack(torch._foreach_norm(of_sub)).norm().item())


@by_hash
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_in_float32_no_bit_of_a_gradient_has_changed(spec: SubDiTSpec, shards: int) -> None:
    """One thread for each operator on both sides, as shards have: where sums are cut decides their last bit."""
    threads = torch.get_num_threads()
    old, new, batch = redrawn(), redrawn(), drawn_batch(count=7)
    torch.set_num_threads(1)
    try:
        expected = step_by_fresh_templates(old, spec, batch, shards)
        for _ in range(2):
            assert elastic_step(new, [spec], batch, shards=shards) == expected, "built, and from the store"
            found, before = gradients(new), gradients(old)
            assert found.keys() == before.keys()
            assert all(torch.equal(found[name], before[name]) for name in before)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("spec", "shards"), [(SPECS[0], 1), (SPECS[1], 3)], ids=["one shard", "three"])
def test_a_bfloat16_step_is_the_float32_step_within_its_eight_bits(spec: SubDiTSpec, shards: int) -> None:
    plain, half, batch = redrawn(), redrawn().to(HALF), drawn_batch(count=4)
    expected = elastic_step(plain, [spec], batch, shards=shards)
    found = elastic_step(half, [spec], batch, shards=shards)
    for key in ("full", "sub", "distill", "full_gradient_norm", "sub_gradient_norm"):
        assert getattr(found, key) == pytest.approx(getattr(expected, key), rel=0.03), key
    assert all(gradient.dtype == HALF for gradient in gradients(half).values())
    assert distance(gradients(half), gradients(plain)) < 0.05


def test_a_bfloat16_step_goes_without_text_that_is_dropped() -> None:
    """Two encoders, a mask over their tokens, and gradients for the one of them that stays."""
    space = two_encoder_space()
    spec, batch = space.named["tiny"], drawn_batch(two_encoder_space().name)
    mask = torch.ones(6, sum(text.tokens for text in space.text_inputs), dtype=torch.bool)
    mask[:, : space.text_inputs[0].tokens] = False
    plain, half = redrawn(space.name), redrawn(space.name).to(HALF)
    masked = replace(batch, text_mask=mask)
    elastic_step(plain, [spec], masked, shards=2)
    elastic_step(half, [spec], masked, shards=2)
    assert distance(gradients(half), gradients(plain)) < 0.05
    dropped = [name for name in gradients(half) if f"encoders.{space.text_inputs[0].name}." in name]
    assert dropped and not any(gradients(half)[name].any() for name in dropped)


def test_a_batch_goes_to_a_device_whole_and_keeps_its_types() -> None:
    batch = replace(drawn_batch(), text_mask=torch.ones(6, 4, dtype=torch.bool))
    moved = batch.on(torch.device("meta"))
    for key in ("latents", "noise", "sigma", "text_mask"):
        assert getattr(moved, key).is_meta and getattr(moved, key).dtype == getattr(batch, key).dtype
    assert all(tokens.is_meta for tokens in moved.text)


def test_scales_and_losses_are_float32_whatever_comes_in() -> None:
    generator = torch.Generator().manual_seed(0)
    own, added = (torch.randn(1000, generator=generator).to(HALF) for _ in range(2))
    scale = balanced_scales([own], [added * 2])[0]
    assert scale.dtype == torch.float32
    assert scale.item() == pytest.approx(own.double().norm().item() / (added * 2).double().norm().item(), rel=1e-6)
    loss = mean_squared_error(own, added)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((own.double() - added.double()).square().mean().item(), rel=1e-6)
    assert mean_squared_error(own.double(), added).dtype == torch.float64
    assert balanced_scales([own.double()], [added.double()])[0].dtype == torch.float64


def test_a_timestep_keeps_its_digits_in_a_bfloat16_model() -> None:
    model = redrawn().to(HALF)
    x, timestep, text = model_inputs(model, torch.zeros(1, 1, 8, 8), torch.tensor([997.3]), [None])
    assert x is not None and x.dtype == HALF and text is None
    assert timestep is not None and timestep.dtype == torch.float32 and timestep.item() == np.float32(997.3)


# What runs sub-networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["digits", "mid-256"])
def test_a_sub_network_in_bfloat16_equals_its_extraction(space: str) -> None:
    shrunken = shrunk(get_space(space))
    model = redrawn(shrunken.name).to(HALF).eval()
    for spec in shrunken.decode(shrunken.sample(np.random.default_rng(0), 3)):
        inputs = model_inputs(model, *(drawn := list(example_inputs(shrunken, batch=2).values()))[:2], drawn[2:])
        with torch.no_grad():
            inside, alone = model(*inputs, spec=spec), model.extract(spec)(*inputs)
        assert inside.dtype == alone.dtype == HALF
        assert (inside - alone).float().norm() <= 0.01 * alone.float().norm()
    assert all(parameter.dtype == HALF for parameter in model.extract(spec).parameters())


def test_a_bfloat16_supernet_is_validated_probed_and_sampled() -> None:
    plain, half, spec = redrawn().eval(), redrawn().to(HALF).eval(), SPECS[1]
    data = validation_set(digit_data(), per_image=1).spread(12)
    assert validation_loss(half, data, spec=spec) == pytest.approx(validation_loss(plain, data, spec=spec), rel=0.02)
    found, expected = predicted_velocities(half, spec, data), predicted_velocities(plain, spec, data)
    assert found.dtype == np.float32 and np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)
    assert validation_losses(half, spec, data).mean() == pytest.approx(validation_loss(half, data, spec=spec), rel=0.01)
    assert activation_code_score(half, spec, data) == pytest.approx(activation_code_score(plain, spec, data), rel=0.05)
    score = synaptic_diversity_score(plain, spec, data)
    assert synaptic_diversity_score(half, spec, data) == pytest.approx(score, abs=0.1)
    text, noise = word_tensors(("", "")), np.random.default_rng(0).standard_normal((2, 1, 8, 8))
    drawn = [
        sample_euler(velocity_function(model, spec, text), noise.astype(np.float32), steps=3) for model in (half, plain)
    ]
    assert np.linalg.norm(drawn[0] - drawn[1]) < 0.05 * np.linalg.norm(drawn[1])
    captions = condition_on(("a handwritten one", "a handwritten two", "a handwritten three"))
    judged = [generate(m.extract(spec), "digits", captions, steps=2, guidance_scale=2.0) for m in (half, plain)]
    assert np.linalg.norm(judged[0] - judged[1]) < 0.08 * np.linalg.norm(judged[1])


@pytest.mark.parametrize("low_memory", [True, False])
def test_a_checkpoint_is_loaded_in_bfloat16(low_memory: bool, tmp_path: Path) -> None:
    supernet = redrawn().eval()
    supernet.save_pretrained(tmp_path)
    loaded = ElasticDiT.from_pretrained(tmp_path, torch_dtype=HALF, low_cpu_mem_usage=low_memory)
    assert loaded.dtype == HALF and len(tables(loaded.full)) <= len(attentions(loaded.full)) * 2
    assert all(each.rope_cos.dtype == torch.float32 for each in attentions(loaded.full))
    inputs = model_inputs(loaded, *(drawn := list(example_inputs(SPACE, batch=2).values()))[:2], drawn[2:])
    with torch.no_grad():
        torch.testing.assert_close(loaded(*inputs, spec=SPECS[0]), supernet.to(HALF)(*inputs, spec=SPECS[0]))


# Other devices --------------------------------------------------------------------------------------------------------


def test_nothing_stays_on_the_processor() -> None:
    """Fake tensors of another device, which refuse any operation with one that was left behind."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.supernet.pretend_device"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    assert "FakeTensorDeviceMismatchError" in found.pop("mixed"), "otherwise nothing would have been noticed"
    assert len(found) == 12 and not {name: error for name, error in found.items() if error}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@by_hash
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (HALF, 0.05)])
def test_a_step_on_cuda_is_the_processors(spec: SubDiTSpec, dtype: torch.dtype, tolerance: float) -> None:
    plain, there, batch = redrawn(), redrawn().to("cuda", dtype), drawn_batch()
    expected, found = elastic_step(plain, [spec], batch), elastic_step(there, [spec], batch, shards=2)
    assert found.full == pytest.approx(expected.full, rel=tolerance)
    assert distance(gradients(there), gradients(plain)) < tolerance
    assert all(each.rope_cos.is_cuda for each in attentions(there.template(spec)))
    elastic_step(there, [spec], batch, accumulation=2, autocast=HALF)
    assert distance(gradients(there), gradients(plain)) < 0.05
    data = validation_set(digit_data(), per_image=1).spread(8)
    expected = validation_loss(plain, data, spec=spec)
    assert validation_loss(there, data, spec=spec) == pytest.approx(expected, rel=tolerance)
    assert np.isfinite(activation_code_score(there, spec, data))
    assert np.isfinite(synaptic_diversity_score(there, spec, data))
