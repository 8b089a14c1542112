"""Teachers from diffusers: each family packs latents, counts time and predicts in its own way, as its pipeline does.

Conditions have the names of the transformer's arguments: `encoder_hidden_states` always, `pooled_projections` for SD3
and Flux, `encoder_hidden_states_mask` for Qwen-Image, `encoder_attention_mask` for Sana and PixArt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoModel
from diffusers import DDPMScheduler
from safetensors import SafetensorError
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch import nn

from subdit.core.errors import ConfigError
from subdit.core.errors import DataError
from supernet.data.vae import load_vae
from supernet.distillation.conversions import noise_to_velocity
from supernet.distillation.conversions import velocity_to_x0
from supernet.distillation.conversions import x0_to_velocity
from supernet.distillation.teacher import Conditions
from supernet.distillation.teacher import LatentsKey
from supernet.distillation.teacher import NetworkTeacher
from supernet.flow_matching import per_sample
from supernet.model.placement import full_precision


class DiffusersTeacher(NetworkTeacher):
    """A transformer that takes latents as they are, with timestep 1000 sigma, as SD3's does."""

    def __init__(self, network: nn.Module, *, latents: LatentsKey) -> None:
        """`network` is a diffusers transformer, `latents` the key of its pipeline's autoencoder."""
        self.config: Any = network.config
        super().__init__(network, latents)

    def token_count(self, x_t: Tensor) -> int:
        patch = self.config.patch_size
        return x_t.shape[-2] // patch * (x_t.shape[-1] // patch)

    def predict(self, x_t: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        return self.call(x_t, timestep=1000 * sigma, **conditions)

    def call(self, hidden_states: Tensor, *, timestep: Tensor, **others: Any) -> Tensor:
        """The network's output; what is floating-point takes its type, but the timestep."""
        like = next(self.network.parameters())
        placed = {
            name: value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)
            if isinstance(value, Tensor)
            else value
            for name, value in others.items()
        }
        states = hidden_states.to(like.device, like.dtype)
        output: Tensor = self.network(states, timestep=timestep.to(like.device), return_dict=False, **placed)[0]
        return output


class PackedTeacher(DiffusersTeacher):
    """A transformer over latents packed 2 by 2 into tokens, with timestep sigma: Flux and Qwen-Image."""

    def token_count(self, x_t: Tensor) -> int:
        return x_t.shape[-2] // 2 * (x_t.shape[-1] // 2)

    def predict(self, x_t: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        height, width = x_t.shape[-2] // 2, x_t.shape[-1] // 2
        # Within a token channels come first, then the row and the column of the two by two.
        packed = nn.functional.pixel_unshuffle(x_t, 2).flatten(2).mT
        output = self.call(packed, timestep=sigma, **conditions, **self.places(height, width, conditions, sigma))
        return nn.functional.pixel_shuffle(output.mT.unflatten(2, (height, width)), 2)

    def places(self, height: int, width: int, conditions: Conditions, sigma: Tensor) -> dict[str, Any]:
        """What the family's rotary embedding takes."""
        raise NotImplementedError


class FluxTeacher(PackedTeacher):
    """Flux; a network with distilled guidance is given `embedded_guidance`."""

    embedded_guidance = 3.5

    def places(self, height: int, width: int, conditions: Conditions, sigma: Tensor) -> dict[str, Any]:
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        image = torch.stack((torch.zeros_like(rows), rows, columns), dim=-1).flatten(0, 1).float()
        found = {"img_ids": image, "txt_ids": torch.zeros(conditions["encoder_hidden_states"].shape[1], 3)}
        if self.config.guidance_embeds:
            found["guidance"] = torch.full_like(sigma, self.embedded_guidance)
        return found


class QwenImageTeacher(PackedTeacher):
    """Qwen-Image, the paper's teacher."""

    def places(self, height: int, width: int, conditions: Conditions, sigma: Tensor) -> dict[str, Any]:
        return {"img_shapes": [[(1, height, width)]] * len(sigma)}


class SanaTeacher(DiffusersTeacher):
    """Sana, whose config scales time."""

    def predict(self, x_t: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        timestep = 1000 * sigma * self.config.timestep_scale
        return self.call(x_t, timestep=timestep, **conditions)[:, : x_t.shape[1]]


class PixArtTeacher(DiffusersTeacher):
    """PixArt, which predicts the noise of a variance-preserving diffusion; converted to a velocity.

    At equal ratio of noise to data the two kinds of noised latents differ by a factor alone, and the noise is the same.
    """

    def __init__(self, network: nn.Module, *, latents: LatentsKey, scheduler: Any = None) -> None:
        """`scheduler` is the pipeline's, for its noise levels; by default PixArt's, linear from 1e-4 to 0.02."""
        super().__init__(network, latents=latents)
        levels = (DDPMScheduler() if scheduler is None else scheduler).alphas_cumprod.double()
        self.sigmas = flow_sigmas(levels)

    def predict(self, x_t: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        # Even its noisiest latents hold a little data; nearer to pure noise its estimate for those is taken.
        level = sigma.clamp(self.sigmas[0].item(), self.sigmas[-1].item())
        states = x_t / per_sample(((1 - level).square() + level.square()).sqrt(), x_t)
        extra = {"resolution": None, "aspect_ratio": None}
        timestep = steps_at(level, self.sigmas)
        output = self.call(states, timestep=timestep, added_cond_kwargs=extra, **conditions)[:, : x_t.shape[1]]
        noise = full_precision(output)
        x0 = velocity_to_x0(x_t, noise_to_velocity(x_t, noise, level), level)
        return x0_to_velocity(x_t, x0, sigma.clamp_min(self.sigmas[0].item()))


def flow_sigmas(alphas_cumprod: Tensor) -> Tensor:
    """Sigmas of rectified flow with the ratio of noise to data of variance-preserving steps, each (steps,)."""
    noise, data = (1 - alphas_cumprod).sqrt(), alphas_cumprod.sqrt()
    return noise / (noise + data)


def steps_at(sigma: Tensor, sigmas: Tensor) -> Tensor:
    """The steps, with fractions, at which rising `sigmas` (steps,) reach `sigma` (batch,); linear in the logit."""
    known, wanted = torch.logit(sigmas), torch.logit(sigma.to(sigmas))
    above = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
    low, high = known[above - 1], known[above]
    return (above - 1 + (wanted - low) / (high - low)).to(sigma)


_LORA_METADATA = "lora_adapter_metadata"

FAMILIES: dict[str, type[DiffusersTeacher]] = {
    "FluxTransformer2DModel": FluxTeacher,
    "PixArtTransformer2DModel": PixArtTeacher,
    "QwenImageTransformer2DModel": QwenImageTeacher,
    "SD3Transformer2DModel": DiffusersTeacher,
    "SanaTransformer2DModel": SanaTeacher,
}
"""Teachers by the class of their transformer."""


def diffusers_teacher(network: nn.Module, *, latents: LatentsKey) -> DiffusersTeacher:
    """The teacher of a diffusers transformer; raises `ConfigError` if its family is not known."""
    family = FAMILIES.get(type(network).__name__)
    if family is None:
        known = ", ".join(FAMILIES)
        raise ConfigError(f"There is no teacher of a {type(network).__name__}; give one of {known}, or add its family.")
    return family(network, latents=latents)


def open_diffusers_teacher(argument: str, *, lora: Path | None = None) -> DiffusersTeacher:
    """The transformer of a pipeline that diffusers saved in a folder, with its autoencoder's latents.

    `lora` is a safetensors file of a few-step LoRA. Nothing is downloaded. Raises `DataError` if transformer,
    autoencoder or LoRA is missing or damaged.
    """
    folder = Path(argument)
    if not (folder / "transformer" / "config.json").is_file():
        raise DataError(f"There is no pipeline with a transformer at {folder}; name a folder that diffusers saved.")
    codec = load_vae(folder, device=torch.device("cpu"))
    try:
        network = AutoModel.from_pretrained(str(folder / "transformer"), use_safetensors=True, local_files_only=True)
        if lora is not None:
            _load_lora(network, lora)
    except (OSError, ValueError, RuntimeError, AttributeError, SafetensorError) as error:
        raise DataError(f"The teacher at {folder} cannot be opened ({error}); copy it again, or its LoRA.") from error
    return diffusers_teacher(network, latents=codec.key)


def _load_lora(network: Any, file: Path) -> None:
    """Put a LoRA on a transformer, with the scale that it was saved with; raises `DataError` if it is of another form.

    Its tensors have the transformer's names, or these behind "transformer.", as a pipeline saves them.
    """
    with safe_open(str(file), framework="pt") as opened:
        stored = json.loads((opened.metadata() or {}).get(_LORA_METADATA, "null"))
    tensors = load_file(str(file))
    if any(name.endswith(".alpha") for name in tensors):
        # Left out, they would scale it otherwise, and say nothing.
        raise DataError(f"The LoRA {file} is not in diffusers' form (it has .alpha); load and save it by its pipeline.")
    prefix = "transformer" if any(name.startswith("transformer.") for name in tensors) else None
    # Read from a file by its path diffusers leaves the metadata out, and with them alpha.
    network.load_lora_adapter(tensors, prefix=prefix, adapter_name="few_step", metadata=stored)
