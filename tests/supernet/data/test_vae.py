"""Latents of diffusers' autoencoders: normalised as each one's own pipeline does, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from subdit.core.errors import ConfigError
from subdit.core.errors import DataError
from supernet.data.latents import LatentCodec
from supernet.data.latents import LatentStatistics
from supernet.data.latents import PixelCodec
from supernet.data.vae import LatentConstants
from supernet.data.vae import VaeCodec
from supernet.data.vae import load_vae
from supernet.model.placement import torch_device
from tests.supernet.data.tiny_models import VAES
from tests.supernet.data.tiny_models import save_vae
from tests.supernet.data.tiny_models import tiny_vae

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 24), dtype=np.uint8)
VALUES = torch.from_numpy(PIXELS.astype(np.float32) / 127.5 - 1)


@pytest.fixture(params=VAES)
def codec(request: pytest.FixtureRequest, tmp_path: Path) -> VaeCodec:
    return load_vae(save_vae(tmp_path, request.param), device=CPU)


@torch.no_grad()
def as_pipelines_do(vae: torch.nn.Module) -> torch.Tensor:
    """What the training scripts and pipelines of diffusers make of pictures, class by class."""
    name = type(vae).__name__
    if name == "AutoencoderKL":
        return (vae.encode(VALUES).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
    if name == "AutoencoderTiny":
        return vae.encode(VALUES).latents
    if name == "AutoencoderDC":
        return vae.encode(VALUES).latent * vae.config.scaling_factor
    latents = vae.encode(VALUES[:, :, None]).latent_dist.mode()
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = 1.0 / torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    return ((latents - mean) * std)[:, :, 0]


def test_latents_are_those_of_the_pipelines(codec: VaeCodec) -> None:
    found = codec.encode(PIXELS)
    assert found.dtype == np.float32
    assert found.shape == (3, codec.latent_channels, 16 // codec.factor, 24 // codec.factor)
    np.testing.assert_allclose(found, as_pipelines_do(codec.vae).numpy(), atol=1e-5)


def test_decoding_takes_the_constants_away(codec: VaeCodec) -> None:
    raw = codec._raw(VALUES)
    video = type(codec.vae).__name__ == "AutoencoderKLQwenImage"
    with torch.no_grad():
        decoded = codec.vae.decode(raw[:, :, None] if video else raw, return_dict=False)[0]
    expected = (decoded[:, :, 0] if video else decoded).clamp(-1, 1).numpy() * 127.5 + 127.5
    assert np.abs(codec.decode(codec.encode(PIXELS)) - expected).max() <= 1


def test_the_key_holds_weights_and_constants(codec: VaeCodec) -> None:
    before = codec.key
    with torch.no_grad():
        next(codec.vae.parameters()).view(-1)[0] += 1
    other = VaeCodec(codec.vae, path=codec.path, device=CPU).key
    assert other["weights"] != before["weights"]
    assert other["mean"] == before["mean"]


def test_other_constants_of_sdxl() -> None:
    """Mean and deviation per channel beside a scaling factor: (z - mean) * scale / std."""
    config = {"scaling_factor": 0.5, "latents_mean": [1.0, -2.0], "latents_std": [4.0, 8.0]}
    assert LatentConstants.of(config, 2) == LatentConstants((1.0, -2.0), (8.0, 16.0))
    with pytest.raises(DataError, match="2 means and 2 deviations of its 3 channels"):
        LatentConstants.of(config, 3)


def test_a_pipelines_folder_is_enough(tmp_path: Path) -> None:
    save_vae(tmp_path / "vae", "kl")
    assert load_vae(tmp_path, device=CPU).path == (tmp_path / "vae").resolve()


def test_given_constants_go_before_the_configurations(tmp_path: Path) -> None:
    codec = load_vae(save_vae(tmp_path, "qwen"), device=CPU, scaling_factor=4.0, shift_factor=0.25)
    assert codec.constants == LatentConstants((0.25,) * 4, (0.25,) * 4)


def test_what_is_no_autoencoder_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="no config.json"):
        load_vae(tmp_path, device=CPU)
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(DataError, match="'UNet2DModel', which is no autoencoder"):
        load_vae(tmp_path, device=CPU)
    save_vae(tmp_path / "cut", "kl")
    weights = tmp_path / "cut" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        load_vae(tmp_path / "cut", device=CPU)
    assert "\n" not in str(caught.value)
    weights.unlink()
    torch.save(tiny_vae("kl").state_dict(), weights.with_suffix(".bin"))
    capfd.readouterr()
    with pytest.raises(DataError, match="cannot be loaded"):
        load_vae(tmp_path / "cut", device=CPU)
    assert capfd.readouterr().err == ""


def test_weights_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from safetensors.torch import save_file

    save_vae(tmp_path, "kl")
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors.pop("quant_conv.weight")
    save_file(tensors, file)
    with pytest.raises(DataError, match="lacks the weights 'quant_conv.weight'|cannot be loaded"):
        load_vae(tmp_path, device=CPU)


def test_an_autoencoder_of_sound_is_refused(tmp_path: Path) -> None:
    import diffusers

    sound = diffusers.AutoencoderOobleck(
        encoder_hidden_size=8,
        downsampling_ratios=[2],
        channel_multiples=[1],
        decoder_channels=8,
        decoder_input_channels=4,
    )
    sound.save_pretrained(str(tmp_path))
    with pytest.raises(DataError, match="AutoencoderOobleck at .* does not encode pictures") as caught:
        load_vae(tmp_path, device=CPU)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_refused() -> None:
    assert torch_device("cpu") == CPU
    for name in ("nonsense", "cuda:99"):
        with pytest.raises(ConfigError, match="no device"):
            torch_device(name)


def test_pixels_are_their_own_latents() -> None:
    codec: LatentCodec = PixelCodec(3)
    assert np.array_equal(codec.decode(codec.encode(PIXELS)), PIXELS)
    with pytest.raises(DataError, match="name the VAE"):
        PixelCodec(4)


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    latents = np.random.default_rng(1).normal(3, 2, (10, 4, 5, 6)).astype(np.float32)
    found = LatentStatistics.of(latents[:3]) + LatentStatistics() + LatentStatistics.of(latents[3:])
    np.testing.assert_allclose(found.channel_mean, latents.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.channel_std, latents.std((0, 2, 3)), rtol=1e-5)
    assert found.mean == pytest.approx(latents.mean(), rel=1e-5)
    assert found.std == pytest.approx(latents.std(), rel=1e-5)
