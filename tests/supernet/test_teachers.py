"""Teachers of diffusers' families, on tiny random ones: what their pipelines compute, adapters, tokens, guidance."""

from __future__ import annotations

import configparser
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers import DDPMScheduler
from diffusers import FluxPipeline
from diffusers import FluxTransformer2DModel
from diffusers import PixArtTransformer2DModel
from diffusers import QwenImageTransformer2DModel
from diffusers import SanaTransformer2DModel
from diffusers import SD3Transformer2DModel
from peft import LoraConfig
from peft import inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor
from torch import nn

from subdit.core.errors import ConfigError
from subdit.core.errors import DataError
from supernet.distillation.diffusers_teacher import DiffusersTeacher
from supernet.distillation.diffusers_teacher import diffusers_teacher
from supernet.distillation.diffusers_teacher import flow_sigmas
from supernet.distillation.diffusers_teacher import open_diffusers_teacher
from supernet.distillation.diffusers_teacher import steps_at
from supernet.distillation.kdmd import Scores
from supernet.distillation.supernet_teacher import SupernetTeacher
from supernet.distillation.supernet_teacher import open_supernet_teacher
from supernet.distillation.teacher import Conditions
from supernet.distillation.teacher import adapter
from supernet.distillation.teacher import check_shared_latents
from supernet.distillation.teacher import last_tokens
from supernet.distillation.teachers import open_teacher
from supernet.distillation.teachers import teacher_names
from supernet.few_step_adapter import adapter_tensors
from tests.supernet.small_teacher import EMPTY
from tests.supernet.small_teacher import drawn_batch
from tests.supernet.small_teacher import redrawn_supernet
from tests.supernet.small_teacher import same
from tests.supernet.small_teacher import teacher_with_adapter
from tests.supernet.small_teacher import weights_of
from tests.supernet.teacher_contract import Inputs
from tests.supernet.teacher_contract import TeacherContract

TEXT, WIDTH, COUNT = 5, 16, 3
LATENTS: dict[str, Any] = {"class": "AutoencoderKL", "weights": "ab12", "mean": [0.0], "std": [1.0]}
PIXELS: dict[str, Any] = {"class": "pixels", "channels": 1}


def sd3() -> nn.Module:
    return SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=WIDTH, caption_projection_dim=16, pooled_projection_dim=6,
        pos_embed_max_size=8,
    )  # fmt: skip


def flux() -> nn.Module:
    return FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=6, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip


def qwen_image() -> nn.Module:
    return QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip


def sana() -> nn.Module:
    return SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=WIDTH,
        sample_size=8, timestep_scale=0.001,
    )  # fmt: skip


def pixart() -> nn.Module:
    return PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, norm_num_groups=1,
        cross_attention_dim=16, sample_size=8, caption_channels=WIDTH, use_additional_conditions=False,
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "sd3": sd3,
    "flux": flux,
    "qwen_image": qwen_image,
    "sana": sana,
    "pixart": pixart,
}


def redrawn(name: str) -> nn.Module:
    """A network with every parameter redrawn, so that none is silent."""
    network, generator = NETWORKS[name](), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def with_lora(network: nn.Module) -> nn.Module:
    """The network with a random LoRA on the linears of its blocks."""
    targets = [path for path, each in network.named_modules() if isinstance(each, nn.Linear) and "blocks" in path]
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=targets), network)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            if "lora" in path:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return network


def drawn(name: str, seed: int = 0) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    conditions = {"encoder_hidden_states": torch.randn(COUNT, TEXT, WIDTH, generator=generator)}
    if name in ("sd3", "flux"):
        conditions["pooled_projections"] = torch.randn(COUNT, 6, generator=generator)
    masks = {"qwen_image": "encoder_hidden_states_mask", "sana": "encoder_attention_mask"}
    masks["pixart"] = masks["sana"]
    if name in masks:
        conditions[masks[name]] = torch.tensor([[1] * TEXT, [1] * TEXT, [1] * TEXT])
    x_t = torch.randn(COUNT, 4, 8, 8, generator=generator)
    return x_t, torch.tensor([0.9, 0.5, 0.2]), conditions


def of_pipeline(name: str, network: Any, x: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
    """The velocity as the family's pipeline computes it, with the pipelines' own packing."""
    timestep = 1000 * sigma
    if name == "sd3":
        return network(hidden_states=x, timestep=timestep, **conditions, return_dict=False)[0]
    if name == "sana":
        return network(x, timestep=0.001 * timestep, **conditions, return_dict=False)[0]
    packed = FluxPipeline._pack_latents(x, len(x), 4, 8, 8)
    if name == "flux":
        how: dict[str, Any] = {
            "img_ids": FluxPipeline._prepare_latent_image_ids(len(x), 4, 4, "cpu", torch.float32),
            "txt_ids": torch.zeros(TEXT, 3),
            "guidance": torch.full((len(x),), 3.5),
        }
    else:
        how = {"img_shapes": [[(1, 4, 4)]] * len(x)}
    output = network(hidden_states=packed, timestep=timestep / 1000, **conditions, **how, return_dict=False)[0]
    return FluxPipeline._unpack_latents(output, 64, 64, 8)


@pytest.mark.parametrize("name", ["sd3", "flux", "qwen_image", "sana"])
def test_velocity_is_that_of_the_pipeline(name: str) -> None:
    network = redrawn(name)
    x_t, sigma, conditions = drawn(name)
    with torch.no_grad():
        expected = of_pipeline(name, network, x_t, sigma, conditions)
    found = diffusers_teacher(network, latents=LATENTS).velocity(x_t, sigma, conditions)
    torch.testing.assert_close(found, expected)


def test_pixart_is_asked_at_its_own_timestep_and_scale() -> None:
    """At the sigma of a step of its schedule: what its pipeline computes there, as a velocity by hand."""
    network, step = redrawn("pixart"), 400
    x_t, _, conditions = drawn("pixart")
    kept = DDPMScheduler().alphas_cumprod[step].item()
    data, noise = kept**0.5, (1 - kept) ** 0.5
    sigma = noise / (noise + data)
    with torch.no_grad():
        preserving = x_t * (data + noise)
        extra = {"resolution": None, "aspect_ratio": None}
        asked = {"timestep": torch.full((COUNT,), step), "added_cond_kwargs": extra, **conditions}
        epsilon = network(preserving, **asked, return_dict=False)[0][:, :4]
    x0 = (preserving - noise * epsilon) / data
    found = diffusers_teacher(network, latents=LATENTS).velocity(x_t, torch.full((COUNT,), sigma), conditions)
    torch.testing.assert_close(found, epsilon - x0, rtol=2e-3, atol=2e-3)


def test_variance_preserving_steps_are_found_again() -> None:
    sigmas = flow_sigmas(DDPMScheduler().alphas_cumprod.double())
    assert (sigmas.diff() > 0).all() and 0.99 < sigmas[-1] < 1
    steps = torch.tensor([0, 1, 250, 998, 999])
    torch.testing.assert_close(steps_at(sigmas[steps], sigmas), steps.double(), rtol=0, atol=1e-6)
    between = steps_at((sigmas[10:11] + sigmas[11:12]) / 2, sigmas)
    assert 10 < between.item() < 11


@pytest.mark.parametrize("sigma", [0.0, 0.001, 0.999, 1.0])
def test_pixart_is_finite_at_both_ends(sigma: float) -> None:
    x_t, _, conditions = drawn("pixart")
    teacher = diffusers_teacher(redrawn("pixart"), latents=LATENTS)
    assert torch.isfinite(teacher.velocity(x_t, torch.full((COUNT,), sigma), conditions)).all()


@pytest.mark.parametrize("name", NETWORKS)
class TestTeachersOfDiffusers(TeacherContract):
    @pytest.fixture
    def teacher(self, name: str) -> DiffusersTeacher:
        return diffusers_teacher(with_lora(redrawn(name)), latents=LATENTS)

    @pytest.fixture
    def inputs(self, name: str) -> Inputs:
        return drawn(name)

    @pytest.fixture
    def empty(self, name: str) -> Conditions:
        return drawn(name, seed=1)[2]

    def test_no_weight_moves_or_can_be_trained(self, teacher: DiffusersTeacher, inputs: Inputs) -> None:
        weights = weights_of(teacher.network)
        teacher.few_step(*inputs)
        assert same(weights, weights_of(teacher.network))
        assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
        assert teacher.latents == LATENTS

    def test_without_its_adapter_it_is_the_network_alone(
        self, name: str, teacher: DiffusersTeacher, inputs: Inputs
    ) -> None:
        plain = diffusers_teacher(redrawn(name), latents=LATENTS)
        torch.testing.assert_close(teacher.velocity(*inputs), plain.velocity(*inputs))
        with pytest.raises(ConfigError, match="no few-step adapter"):
            plain.few_step(*inputs)

    def test_last_tokens_are_what_the_final_norm_is_given(self, teacher: DiffusersTeacher, inputs: Inputs) -> None:
        """The hook is found; the tests know the name of what follows the last block."""
        given: list[Tensor] = []
        final: Any = teacher.network.norm_out
        handle = final.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        _, tokens = teacher.few_step(*inputs)
        handle.remove()
        assert tokens.shape[:2] == (COUNT, teacher.token_count(inputs[0])) and torch.equal(tokens, given[-1])
        assert not any(each._forward_hooks for each in teacher.network.modules()), "a hook is left"


class TestSupernetTeacher(TeacherContract):
    @pytest.fixture
    def teacher(self) -> SupernetTeacher:
        return SupernetTeacher(teacher_with_adapter(), latents=PIXELS)

    @pytest.fixture
    def inputs(self) -> Inputs:
        batch = drawn_batch(3)
        return batch.x_t, batch.tau, {"words": batch.text[0]}

    @pytest.fixture
    def empty(self) -> Conditions:
        return {"words": EMPTY[0].expand(3, -1, -1)}


def test_a_supernet_teaches_as_it_does_in_kdmd() -> None:
    """Bit for bit: velocity, guidance, few-step velocity and tokens."""
    network, batch = teacher_with_adapter(), drawn_batch()
    scores, teacher = Scores(network), SupernetTeacher(network, latents=PIXELS)
    (name, _, _) = network.config["text_inputs"][0]
    conditions, empty = {name: batch.text[0]}, {name: EMPTY[0].expand(8, -1, -1)}
    for scale in (1.0, 2.5):
        found = teacher.velocity(batch.x_t, batch.tau, conditions, empty=empty, guidance_scale=scale)
        assert torch.equal(found, scores.real(batch.x_t, batch.tau, batch.text, EMPTY, scale))
    for found, expected in zip(
        teacher.few_step(batch.x_t, batch.sigma, conditions),
        scores.few_step(batch.x_t, batch.sigma, batch.text),
        strict=True,
    ):
        assert torch.equal(found, expected)
    assert teacher.latents == PIXELS


def test_an_adapter_is_off_after_an_error() -> None:
    network = with_lora(redrawn("sd3"))
    with pytest.raises(ZeroDivisionError), adapter(network, on=True), last_tokens(network, 16):
        raise ZeroDivisionError
    x_t, sigma, conditions = drawn("sd3")
    with torch.no_grad():
        found = of_pipeline("sd3", network, x_t, sigma, conditions)
        torch.testing.assert_close(found, of_pipeline("sd3", redrawn("sd3"), x_t, sigma, conditions))
    assert not any(each._forward_hooks for each in network.modules())


def test_text_before_the_picture_in_one_sequence_is_left_out() -> None:
    class Joint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Identity(), nn.Identity()])

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x + 1)
            return x

    network, tokens = Joint(), torch.arange(14.0).reshape(1, 7, 2)
    with last_tokens(network, 4) as found:
        network(tokens)
    assert torch.equal(found[-1], tokens[:, 3:] + 2)


def test_an_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no teacher of a Linear; give one of Flux"):
        diffusers_teacher(nn.Linear(2, 2), latents=LATENTS)


def test_other_latents_are_refused_by_name() -> None:
    check_shared_latents(LATENTS, dict(LATENTS))
    with pytest.raises(DataError, match="class 'AutoencoderKL', not 'pixels'; encode .*--vae"):
        check_shared_latents(LATENTS, PIXELS)
    with pytest.raises(DataError, match="weights 'ab12', not 'cd34'; encode"):
        check_shared_latents(LATENTS, LATENTS | {"weights": "cd34"})


# As plug-ins ----------------------------------------------------------------------------------------------------------


def saved_pipeline(folder: Path) -> nn.Module:
    """The parts of an SD3 pipeline that a teacher needs, in a folder; returns the transformer."""
    vae = AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=1, latent_channels=4, sample_size=8, use_quant_conv=False
    )
    vae.save_pretrained(folder / "vae")
    network = redrawn("sd3")
    network.save_pretrained(folder / "transformer")  # type: ignore[operator]
    return network


def test_a_saved_pipeline_is_opened_with_its_lora(tmp_path: Path) -> None:
    network: Any = saved_pipeline(tmp_path)
    targets = [path for path, each in network.named_modules() if isinstance(each, nn.Linear) and "blocks" in path]
    network.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=targets), adapter_name="few_step")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            if "lora" in path:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    network.save_lora_adapter(tmp_path, adapter_name="few_step", weight_name="lora.safetensors")
    expected = diffusers_teacher(network, latents=LATENTS)
    found = open_diffusers_teacher(str(tmp_path), lora=tmp_path / "lora.safetensors")
    x_t, sigma, conditions = drawn("sd3")
    assert torch.equal(found.velocity(x_t, sigma, conditions), expected.velocity(x_t, sigma, conditions))
    for mine, theirs in zip(
        found.few_step(x_t, sigma, conditions), expected.few_step(x_t, sigma, conditions), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
    assert found.latents["class"] == "AutoencoderKL"
    save_file({"transformer.x.alpha": torch.ones(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(DataError, match="not in diffusers' form .*pipeline"):
        open_diffusers_teacher(str(tmp_path), lora=tmp_path / "lora.safetensors")
    (tmp_path / "lora.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match="cannot be opened .*LoRA"):
        open_diffusers_teacher(str(tmp_path), lora=tmp_path / "lora.safetensors")
    with pytest.raises(DataError, match="no pipeline with a transformer"):
        open_diffusers_teacher(str(tmp_path / "nowhere"))


def test_a_supernets_checkpoint_is_opened_with_its_lora(tmp_path: Path) -> None:
    redrawn_supernet().save_pretrained(tmp_path)
    network, batch = teacher_with_adapter(), drawn_batch()
    save_file({name: value.contiguous() for name, value in adapter_tensors(network).items()}, tmp_path / "lora")
    teacher = open_supernet_teacher(str(tmp_path), lora=tmp_path / "lora")
    conditions = {network.config["text_inputs"][0][0]: batch.text[0]}
    expected = SupernetTeacher(network, latents=PIXELS)
    for mine, theirs in zip(
        teacher.few_step(batch.x_t, batch.sigma, conditions),
        expected.few_step(batch.x_t, batch.sigma, conditions),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    assert teacher.latents == PIXELS


def test_teachers_are_plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "schooling.py").write_text(
        "from supernet.distillation.supernet_teacher import SupernetTeacher\n"
        "from tests.supernet.small_teacher import teacher_with_adapter\n"
        "def make(argument, *, lora):\n"
        "    assert argument == 'strict' and lora is None\n"
        "    return SupernetTeacher(teacher_with_adapter(), latents={'class': 'pixels', 'channels': 1})\n"
        "def broken(argument, *, lora):\n"
        "    return object()\n"
    )
    folder = tmp_path / "schooling-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: schooling\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        "[subdit.teachers]\nschooling = schooling:make\nbroken = schooling:broken\ngone = schooling:gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "schooling" in teacher_names()
    assert open_teacher("schooling:strict").latents == PIXELS
    with pytest.raises(DataError, match="makes no `Teacher`"):
        open_teacher("broken")
    with pytest.raises(DataError, match="'gone' cannot be imported"):
        open_teacher("gone")
    with pytest.raises(DataError, match="no teacher 'absent:x'.*schooling"):
        open_teacher("absent:x")


def test_those_that_come_along_are_named_in_setup_cfg() -> None:
    """As installed ones are those of the last installation, the file itself is read."""
    parser = configparser.ConfigParser()
    parser.read(Path(__file__).parents[2] / "setup.cfg")
    lines = parser["options.entry_points"]["subdit.teachers"].strip().splitlines()
    named = dict(line.split(" = ") for line in lines)
    assert named.keys() == {"diffusers", "supernet"}
    assert [pkgutil.resolve_name(named[name]) for name in sorted(named)] == [
        open_diffusers_teacher,
        open_supernet_teacher,
    ]
