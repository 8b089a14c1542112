"""The pipeline against Euler steps written by hand, and against subdit's own sampler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from subdit.core.errors import SampleError
from supernet.checkpoints import save_model
from supernet.model.dit import SubDiT
from supernet.pipeline import SubDiTPipeline
from supernet.recipe import SamplingRecipe
from supernet.sampling import euler_sigmas
from supernet.sampling import sample_euler
from tests.supernet.two_encoders import redrawn


@pytest.fixture(scope="module")
def model() -> SubDiT:
    return redrawn()


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=3,
        block_out_channels=(4,),
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.36,
        shift_factor=0.12,
    ).eval()


def pipeline_of(model: SubDiT, vae: AutoencoderKL | None = None, shift: float = 3.0) -> SubDiTPipeline:
    made = SubDiTPipeline(transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(shift=shift), vae=vae)
    made.set_progress_bar_config(disable=True)
    return made


def text(seed: int, batch: int = 2) -> list[Tensor]:
    return list(redrawn().example_inputs(batch=batch, seed=seed).values())[2:]


def by_hand(model: SubDiT, noise: Tensor, sigmas: list[float], cond: list[Tensor], empty: list[Tensor], scale: float):
    x = noise
    with torch.no_grad():
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            at = torch.full((len(x),), 1000 * sigma)
            with_text, without = model(x, at, *cond), model(x, at, *empty)
            x = x + (following - sigma) * (without + scale * (with_text - without))
    return x


def test_four_guided_steps_by_hand(model: SubDiT) -> None:
    cond, empty = text(1), text(2)
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    expected = by_hand(model, noise, [1.0, 0.9, 0.75, 0.5, 0.0], cond, empty, 2.5)
    found = pipeline_of(model)(
        cond,
        num_inference_steps=4,
        guidance_scale=2.5,
        negative_prompt_embeds=empty,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("steps", "shift"), [(1, 1.0), (5, 1.0), (4, 3.0)])
def test_it_samples_as_subdit_itself_does(model: SubDiT, steps: int, shift: float) -> None:
    cond = text(1)
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(7))

    def velocity(x: np.ndarray, timestep: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(x), torch.from_numpy(timestep), *cond).numpy()

    expected = sample_euler(velocity, noise.numpy(), steps=steps, shift=shift)
    made = pipeline_of(model, shift=shift)
    found = made(cond, num_inference_steps=steps, latents=noise, output_type="latent").images.numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_an_encoder_may_be_left_out(model: SubDiT) -> None:
    clip, _ = text(1)
    noise = torch.randn(2, 3, 16, 16)
    found = pipeline_of(model)([clip, None], num_inference_steps=1, latents=noise, output_type="latent").images
    with torch.no_grad():
        expected = noise - model(noise, torch.full((2,), 1000.0), clip, None)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_vae_undoes_its_scale_and_shift(model: SubDiT, vae: AutoencoderKL) -> None:
    made, cond = pipeline_of(model, vae), text(1)
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    latents = made(cond, num_inference_steps=2, latents=noise, output_type="latent").images
    with torch.no_grad():
        pixels = vae.decode(latents / 0.36 + 0.12).sample
    expected = ((pixels / 2 + 0.5).clamp(0, 1)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(made(cond, num_inference_steps=2, latents=noise, output_type="np").images, expected)
    pictures = made(cond, num_inference_steps=2, latents=noise).images
    assert [picture.size for picture in pictures] == [(16, 16)] * 2
    assert np.abs(np.asarray(pictures[0]) / 255 - expected[0]).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("with_vae", [True, False])
def test_it_comes_back_whole(model: SubDiT, vae: AutoencoderKL, with_vae: bool, tmp_path: Path) -> None:
    made, cond = pipeline_of(model, vae if with_vae else None), text(1)
    made.save_pretrained(tmp_path)
    assert (tmp_path / "model_index.json").exists()
    loaded = SubDiTPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.transformer, SubDiT) and (loaded.vae is not None) is with_vae
    noise = torch.randn(2, 3, 16, 16)
    ran = [each(cond, num_inference_steps=2, latents=noise, output_type="pt").images for each in (made, loaded)]
    assert torch.equal(*ran)


def test_a_pipeline_loads_in_a_process_that_knows_only_the_package(model: SubDiT, tmp_path: Path) -> None:
    pipeline_of(model).save_pretrained(tmp_path)
    code = (
        "import supernet, sys; assert 'torch' not in sys.modules\n"
        f"made = supernet.SubDiTPipeline.from_pretrained({str(tmp_path)!r})\n"
        "print(type(made.transformer).__name__, made.scheduler.config.shift)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert ran.stdout.split() == ["SubDiT", "3.0"]


def test_what_it_cannot_do_is_refused(model: SubDiT) -> None:
    made, cond = pipeline_of(model), text(1)
    with pytest.raises(SampleError, match="negative_prompt_embeds"):
        made(cond, guidance_scale=2.0)
    with pytest.raises(SampleError, match="0 steps"):
        made(cond, num_inference_steps=0)
    with pytest.raises(SampleError, match="4 channels"):
        pipeline_of(redrawn(latent_channels=4))(cond)


# Schedulers -----------------------------------------------------------------------------------------------------------


def of_scheduler(model: SubDiT, scheduler: object) -> SubDiTPipeline:
    made = pipeline_of(model)
    made.scheduler = scheduler  # As users of diffusers exchange it.
    return made


OTHERS = sorted(
    name
    for name in dir(diffusers)
    if name.endswith("Scheduler") and not name.startswith(("Flax", "FlowMatchEulerDiscrete"))
)


def test_schedulers_of_other_steps_are_refused_by_name(model: SubDiT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SubDiT, "forward", lambda *_, **__: pytest.fail("a refusal comes before the first step"))
    cond, tried = text(1), 0
    for name in OTHERS:
        try:
            scheduler = getattr(diffusers, name)()
        except (ImportError, TypeError, ValueError):  # needs another library, or arguments
            continue
        with pytest.raises(SampleError, match=f"a {name}; give it a FlowMatchEulerDiscreteScheduler") as refused:
            of_scheduler(model, scheduler)(cond, num_inference_steps=4, output_type="latent")
        assert "\n" not in str(refused.value)
        tried += 1
    assert tried > 20


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"use_dynamic_shifting": True}, 4),
        ({"invert_sigmas": True}, 4),
        ({"num_train_timesteps": 500}, 4),
        ({"shift_terminal": 0.1}, 1),  # 0 / 0
        ({"shift": 0.0}, 4),
    ],
)
def test_options_that_the_pipeline_cannot_follow_are_refused(
    model: SubDiT, options: dict[str, Any], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SubDiT, "forward", lambda *_, **__: pytest.fail("a refusal comes before the first step"))
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    with pytest.raises(SampleError, match=next(iter(options))) as refused:
        of_scheduler(model, scheduler)(text(1), num_inference_steps=steps, output_type="latent")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
        {"use_beta_sigmas": True},
        {"shift_terminal": 0.1},
        {"shift": 2.0, "time_shift_type": "linear"},
    ],
)
def test_other_options_are_euler_steps_along_the_schedulers_own_sigmas(model: SubDiT, options: dict[str, Any]) -> None:
    made, cond = of_scheduler(model, FlowMatchEulerDiscreteScheduler(**options)), text(1)
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    found = made(cond, num_inference_steps=4, latents=noise, output_type="latent").images
    expected = by_hand(model, noise, made.scheduler.sigmas.tolist(), cond, cond, 1.0)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_noise_between_steps_is_of_the_generator(model: SubDiT) -> None:
    made = of_scheduler(model, FlowMatchEulerDiscreteScheduler(stochastic_sampling=True))

    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return made(text(1), num_inference_steps=3, generator=generator, output_type="latent").images

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


def test_the_scheduler_of_a_checkpoint_brings_its_steps(model: SubDiT, tmp_path: Path) -> None:
    save_model(model, tmp_path / "student", recipe=SamplingRecipe(steps=3, shift=2.5))
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "student")
    made, cond = of_scheduler(SubDiT.from_pretrained(tmp_path / "student"), scheduler), text(1)
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    found = made(cond, latents=noise, output_type="latent").images
    expected = by_hand(model, noise, euler_sigmas(3, shift=2.5).tolist(), cond, cond, 1.0)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    made.save_pretrained(tmp_path / "pipeline")
    loaded = SubDiTPipeline.from_pretrained(tmp_path / "pipeline")
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(loaded(cond, latents=noise, output_type="latent").images, found)
    made(cond, num_inference_steps=2, latents=noise, output_type="latent")
    assert len(made.scheduler.timesteps) == 2
