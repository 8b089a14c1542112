"""`SubDiT` by itself: its options, what it refuses, its text, and its diffusers habits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import no_init_weights
from torch import Tensor

from subdit.core.errors import SpecError
from subdit.space import get_space
from supernet.model.assa import AdaptiveSparseSelfAttention
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.elastic import ElasticDiT
from tests.supernet.two_encoders import CONFIG
from tests.supernet.two_encoders import redrawn


@pytest.fixture(scope="module")
def model() -> SubDiT:
    return redrawn()


@pytest.fixture(scope="module")
def inputs(model: SubDiT) -> list[Tensor]:
    return list(model.example_inputs(batch=3, seed=1).values())


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


# Options --------------------------------------------------------------------------------------------------------------


def kinds(model: SubDiT) -> list[list[bool]]:
    stages = (model.down, model.middle, model.up)
    return [[isinstance(block.attn, AdaptiveSparseSelfAttention) for block in stage] for stage in stages]


def test_the_stages_attend_as_they_are_told(model: SubDiT) -> None:
    assert kinds(model) == [[True], [False, False], [True]]
    assert kinds(redrawn(attention=("full", "assa", "full"))) == [[False], [True, True], [False]]


def test_full_attention_is_assa_that_sees_everything_locally(inputs: list[Tensor]) -> None:
    """With r = B - 1 and the gate shut, ASSA is dense attention, so the option changes nothing else."""
    sparse, dense = redrawn(bna_radius=(3, 7)), redrawn(attention=("full", "full", "full"))
    dense.load_state_dict({k: v for k, v in sparse.state_dict().items() if k in dense.state_dict()})
    for block in (*sparse.down, *sparse.up):
        block.attn.branch_gate.weight.data.zero_()
        block.attn.branch_gate.bias.data.fill_(-1e4)
    with torch.no_grad():
        assert close(sparse(*inputs), dense(*inputs), 1e-5)


def test_without_stages_all_blocks_work_on_the_full_grid(inputs: list[Tensor]) -> None:
    """And nothing is left that could tell Middle from Down: the same blocks, full, in either place."""
    one = redrawn(three_stages=False, depth=(0, 3, 0), attention=("full",) * 3, middle_skips=False, ffn_ratio=(2,) * 3)
    assert one.downsample is None and one.upsample is None and not one.down and not one.up
    features, _ = one.features(*inputs)
    assert features.shape == (3, 64, 48)
    x, modulation = one.patch_embed(inputs[0]), one.time_embed(inputs[1])
    for block in one.middle:
        x = block(x, modulation, one.text_projection(*inputs[2:]))
    torch.testing.assert_close(one.final_layer(x, modulation[:, 6:8]), one(*inputs), rtol=1e-6, atol=1e-6)


def test_skips_can_be_left_out(inputs: list[Tensor]) -> None:
    plain = redrawn(middle_skips=False, depth=(1, 3, 1))
    assert all(block.skip is None for block in plain.middle) and len(plain.middle) == 3
    # A fusion that passes its main path through is as good as none.
    fused, plain = redrawn(), redrawn(middle_skips=False)
    plain.load_state_dict({k: v for k, v in fused.state_dict().items() if k in plain.state_dict()})
    for block in fused.middle:
        if block.skip is not None:
            block.skip.proj.weight.data.copy_(torch.eye(48, 96))
            block.skip.proj.bias.data.zero_()
    with torch.no_grad():
        assert close(fused(*inputs), plain(*inputs), 1e-5)


def test_cross_attention_may_have_its_own_kv_heads() -> None:
    model = redrawn(cross_kv_heads=4)
    assert model.down[0].cross_attn.to_k.out_features == 32 and model.down[0].attn.to_k.out_features == 16


# What cannot exist ----------------------------------------------------------------------------------------------------

IMPOSSIBLE: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "heads": ({"heads": 5}, ("5", "2")),
    "cross heads": ({"cross_kv_heads": 3}, ("4", "3")),
    "strips": ({"bna_blocks": (7, 8)}, ("8x8", "7")),
    "stride": ({"kv_compression": 3}, ("8x8", "3")),
    "odd grid, compressed": ({"latent_size": 14, "three_stages": False, "depth": (0, 2, 0), "attention": ("assa",) * 3,
                              "bna_blocks": (7, 7)}, ("7x7", "2")),
    "odd grid, halved": ({"latent_size": 14, "attention": ("full",) * 3}, ("7x7",)),
    "patches": ({"patch_size": 3}, ("3", "16")),
    "head_dim": ({"head_dim": 6}, ("6",)),
    "odd middle": ({"depth": (1, 3, 1)}, ("3",)),
    "two depths": ({"depth": (1, 3)}, ("(1, 3)",)),
    "attention": ({"attention": ("assa", "dense", "assa")}, ("dense",)),
    "stages": ({"three_stages": False}, ("(1, 2, 1)",)),
    "no width": ({"width": 0}, ("width", "0")),
    "unknown": ({"bna_block": (4, 4)}, ("bna_block",)),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("way", ["constructor", "from_config"])
def test_the_impossible_is_refused_with_its_values(name: str, way: str) -> None:
    changes, named = IMPOSSIBLE[name]
    config = {**CONFIG, **changes}
    with pytest.raises(SpecError) as refused:
        SubDiT(**config) if way == "constructor" else SubDiT.from_config(config)
    message = str(refused.value)
    assert all(value in message for value in named), message
    assert "\n" not in message and message.endswith(".")


def test_the_supernet_refuses_unknown_keys_too() -> None:
    config = {"space": "digits", "spaces": 1}
    with pytest.raises(SpecError, match="no option 'spaces'"):
        ElasticDiT(**config)
    with pytest.raises(SpecError, match="no option 'spaces'"):
        ElasticDiT.from_config(config)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(SpecError, match="needs the option 'width'"):
        SubDiT(**{key: value for key, value in CONFIG.items() if key != "width"})


def test_what_diffusers_itself_keeps_in_a_config_is_welcome() -> None:
    config = {**CONFIG, "_class_name": "SubDiT", "_diffusers_version": "0.42", "_name_or_path": "x"}
    with no_init_weights():
        assert SubDiT.from_config(config).config["width"] == 48


# Text -----------------------------------------------------------------------------------------------------------------


def test_leaving_an_encoder_out_is_masking_its_tokens(model: SubDiT, inputs: list[Tensor]) -> None:
    latent, timestep, clip, gemma = inputs
    with torch.no_grad():
        both = model(*inputs)
        for kept, mask in (((clip, None), [1] * 5 + [0] * 3), ((None, gemma), [0] * 5 + [1] * 3)):
            without = model(latent, timestep, *kept)
            masked = model(*inputs, encoder_attention_mask=torch.tensor([mask] * 3))
            assert close(without, masked)
            assert not close(without, both, 1e-2), "the encoder matters"


def test_each_sample_has_its_own_mask(model: SubDiT, inputs: list[Tensor]) -> None:
    mask = torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) < 0.6
    with torch.no_grad():
        together = model(*inputs, encoder_attention_mask=mask)
        for at in range(3):
            row = [tensor[at : at + 1] for tensor in inputs]
            assert close(together[at : at + 1], model(*row, encoder_attention_mask=mask[at : at + 1]), 1e-5)
            # By hand: the tokens that stay, each encoder cut to them.
            clip, gemma = row[2][:, mask[at, :5]], row[3][:, mask[at, 5:]]
            texts = [tokens if tokens.shape[1] else None for tokens in (clip, gemma)]
            assert close(together[at : at + 1], model(*row[:2], *texts), 1e-5)


@pytest.mark.parametrize("poison", [1e4, float("nan"), float("inf")])
def test_a_masked_token_is_never_read(model: SubDiT, inputs: list[Tensor], poison: float) -> None:
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[0, 6:] = mask[1, :5] = False
    poisoned = [tensor.clone() for tensor in inputs]
    poisoned[3][0, 1:], poisoned[2][1] = poison, poison
    found, expected = (model(*each, encoder_attention_mask=mask) for each in (poisoned, inputs))
    assert torch.equal(found, expected)
    gradients = torch.autograd.grad(found.square().sum(), list(model.parameters()), allow_unused=True)
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


def test_some_text_must_remain(model: SubDiT, inputs: list[Tensor]) -> None:
    latent, timestep, clip, gemma = inputs
    with pytest.raises(SpecError, match="clip, gemma"):
        model(latent, timestep, None, None)
    with pytest.raises(SpecError, match="1 text embeddings"):
        model(latent, timestep, clip)
    with pytest.raises(SpecError, match=r"\(3, 7\).*\(3, 8\)"):
        model(*inputs, encoder_attention_mask=torch.ones(3, 7))
    mask = torch.ones(3, 8)
    mask[1] = 0
    with pytest.raises(SpecError, match="hides every token"):
        model(*inputs, encoder_attention_mask=mask)


def test_the_supernet_passes_text_options_on() -> None:
    space = get_space("digits")
    supernet = ElasticDiT(space="digits").eval()
    inputs = list(example_inputs(space, batch=2).values())
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]])
    for name in ("full", "tiny"):
        spec = space.named_spec(name)
        expected = supernet.extract(spec)(*inputs, encoder_attention_mask=mask)
        torch.testing.assert_close(supernet(*inputs, spec=spec, encoder_attention_mask=mask), expected)


# Diffusers' habits ----------------------------------------------------------------------------------------------------


def test_forward_speaks_diffusers(model: SubDiT, inputs: list[Tensor]) -> None:
    latent, timestep, *texts = inputs
    with torch.no_grad():
        plain = model(*inputs)
        named = {"hidden_states": latent, "timestep": timestep, "encoder_hidden_states": texts}
        output = model(**named, return_dict=True)
        assert isinstance(output, Transformer2DModelOutput) and torch.equal(output.sample, plain)
        (sample,) = model(**named, return_dict=False)
        assert torch.equal(sample, plain) and torch.equal(model(**named), plain)
        assert torch.equal(model(latent, timestep, encoder_hidden_states=[texts[0], None]), model(*inputs[:3], None))


def test_one_timestep_serves_a_batch(model: SubDiT, inputs: list[Tensor]) -> None:
    latent, _, *texts = inputs
    with torch.no_grad():
        expanded = model(latent, torch.tensor([700.0]).expand(3), *texts)
        for timestep in (torch.tensor(700.0), torch.tensor([700.0]), torch.tensor([700] * 3)):
            assert close(model(latent, timestep, *texts), expanded)


def test_one_encoder_takes_a_plain_tensor(inputs: list[Tensor]) -> None:
    model = redrawn(text_inputs=(("clip", 12, 5),))
    with torch.no_grad():
        assert torch.equal(model(*inputs[:2], encoder_hidden_states=inputs[2]), model(*inputs[:3]))


def test_gradient_checkpointing_changes_no_gradient(inputs: list[Tensor]) -> None:
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[:, 4:] = False
    found = []
    for checkpointed in (False, True):
        model = redrawn().train()
        if checkpointed:
            model.enable_gradient_checkpointing()
        assert model.is_gradient_checkpointing is checkpointed
        model(*inputs, encoder_attention_mask=mask).square().sum().backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    plain, saved = found
    for name, gradient in plain.items():
        other = saved[name]
        assert (gradient is None) == (other is None) and (gradient is None or torch.equal(gradient, other)), name


def test_gradient_checkpointing_runs_blocks_twice(inputs: list[Tensor]) -> None:
    model, runs = redrawn().train(), []
    for block in (*model.down, *model.middle, *model.up):
        block.register_forward_pre_hook(lambda *_: runs.append(1))
    model.enable_gradient_checkpointing()
    model(*inputs).sum().backward()
    assert len(runs) == 8
    model.disable_gradient_checkpointing()
    model(*inputs).sum().backward()
    assert len(runs) == 12


def test_gradient_checkpointing_of_the_supernet_is_its_full_networks() -> None:
    supernet = ElasticDiT(space="digits")
    supernet.enable_gradient_checkpointing()
    assert supernet.full.is_gradient_checkpointing
    inputs = list(example_inputs(get_space("digits"), batch=2).values())
    for spec in get_space("digits").named.values():
        supernet(*inputs, spec=spec).sum().backward()
