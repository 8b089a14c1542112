"""`SubDiTPipeline`: a sub-DiT as the transformer of a diffusers pipeline.

    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder)
    pipeline = SubDiTPipeline(transformer=SubDiT.from_pretrained(folder), scheduler=scheduler, vae=vae)
    images = pipeline([clip_embeddings, gemma_embeddings]).images

The scheduler of a checkpoint holds the shift and the number of steps that the model was made for, see
`supernet/recipe.py`.

Text encoders stay outside: prompts are given as embeddings, one tensor per encoder of the model, or None to leave that
encoder out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from subdit.core.errors import SampleError
from supernet.flow_matching import guided_velocity
from supernet.model.dit import SubDiT
from supernet.recipe import MANY_STEPS
from supernet.recipe import SCHEDULER
from supernet.recipe import STEPS_KEY
from supernet.sampling import euler_sigmas

PromptEmbeds = Tensor | Sequence[Tensor | None]


class SubDiTPipeline(DiffusionPipeline):
    """Text embeddings to images, or to latents, by Euler steps along the model's velocity.

    Args:
        transformer: the sub-DiT.
        scheduler: its `shift` is the time shift; 3 for a 4-step student and for 1024 px. An unsupported scheduler is
            refused when sampling begins, because diffusers lets users replace it at any time.
        vae: decodes the latents; without one, a latent of 1 or 3 channels is taken to be the picture itself.
    """

    model_cpu_offload_seq = "transformer->vae"
    _optional_components = ["vae"]

    def __init__(
        self, transformer: SubDiT, scheduler: FlowMatchEulerDiscreteScheduler, vae: AutoencoderKL | None = None
    ) -> None:
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler, vae=vae)
        self.image_processor = VaeImageProcessor()

    @torch.no_grad()
    def __call__(
        self,
        prompt_embeds: PromptEmbeds,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float = 1.0,
        negative_prompt_embeds: PromptEmbeds | None = None,
        latents: Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """One image per row of the embeddings.

        Args:
            prompt_embeds: per text encoder (batch, its tokens, its width), or None to leave that encoder out.
            num_inference_steps: Euler steps; each evaluates the model once, or twice with guidance. The default is the
                number in the checkpoint's scheduler, else 28.
            guidance_scale: scale of classifier-free guidance; 1 turns it off.
            negative_prompt_embeds: embeddings of the empty prompt; needed with guidance.
            latents: initial noise, (batch, channels, size, size); drawn by default.
            generator: draws the noise.
            output_type: "latent", "pt", "np" or "pil".
            return_dict: False for a tuple.

        Raises:
            SampleError: guidance without negative embeddings, less than one step, no vae to decode with, or a scheduler
                whose steps are not Euler steps from sigma 1 to 0.
            SpecError: the text embeddings do not fit the model.
        """
        text, negative = _listed(prompt_embeds), _listed(negative_prompt_embeds)
        is_guided = guidance_scale != 1
        if is_guided and not negative:
            raise SampleError("Guidance needs negative_prompt_embeds; pass the embeddings of the empty prompt.")
        _check_scheduler(self.scheduler)
        if num_inference_steps is None:
            num_inference_steps = self.scheduler.config.get(STEPS_KEY, MANY_STEPS.steps)
        if not isinstance(num_inference_steps, int) or num_inference_steps < 1:
            raise SampleError(f"A sample cannot be drawn in {num_inference_steps} steps; take at least 1.")
        config = self.transformer.config
        if output_type != "latent" and self.vae is None and config["latent_channels"] not in (1, 3):
            raise SampleError(f"Latents of {config['latent_channels']} channels are no picture; pass a vae.")
        device, dtype = self._execution_device, self.transformer.dtype
        text, negative = ([_moved(tokens, device, dtype) for tokens in each] for each in (text, negative))
        batch = next((len(tokens) for tokens in text if tokens is not None), 0)
        shape = (batch, config["latent_channels"], config["latent_size"], config["latent_size"])
        x = randn_tensor(shape, generator=generator, device=device, dtype=dtype) if latents is None else latents
        x = x.to(device, dtype)
        # Evenly spaced sigmas, which the scheduler then shifts; its default ones end at its smallest sigma instead.
        sigmas = euler_sigmas(num_inference_steps)[:-1].tolist()
        # The sigmas are checked on the CPU, where reading them does not wait for a GPU.
        self.scheduler.set_timesteps(sigmas=sigmas, device="cpu")
        _check_sigmas(self.scheduler)
        self.scheduler.set_timesteps(sigmas=sigmas, device=device)
        # Otherwise the scheduler looks up its step on the device, and waits for the result.
        self.scheduler.set_begin_index(0)
        for timestep in self.progress_bar(self.scheduler.timesteps):
            timesteps = timestep.expand(batch)
            velocity = self.transformer(x, timesteps, encoder_hidden_states=text, return_dict=False)[0]
            if is_guided:
                unconditional = self.transformer(x, timesteps, encoder_hidden_states=negative, return_dict=False)[0]
                velocity = guided_velocity(velocity, unconditional, guidance_scale)
            x = self.scheduler.step(velocity, timestep, x, generator=generator, return_dict=False)[0]
        images = x if output_type == "latent" else self._decoded(x, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _decoded(self, latents: Tensor, output_type: str) -> Tensor | np.ndarray[Any, Any] | list[Any]:
        if self.vae is not None:
            scale, shift = self.vae.config.scaling_factor, getattr(self.vae.config, "shift_factor", None) or 0.0
            latents = self.vae.decode(latents / scale + shift, return_dict=False)[0]
        return self.image_processor.postprocess(latents, output_type=output_type)


def _check_scheduler(scheduler: Any) -> None:
    """Raise `SampleError` on a scheduler whose steps are not Euler steps of flow matching."""
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        raise SampleError(f"SubDiTPipeline cannot run a {type(scheduler).__name__}; give it a {SCHEDULER}.")
    # The model's timestep is 1000 sigma; dynamic shifting needs a parameter that no space defines.
    for option, value in (("use_dynamic_shifting", False), ("invert_sigmas", False), ("num_train_timesteps", 1000)):
        if scheduler.config[option] != value:
            raise SampleError(
                f"SubDiTPipeline cannot run a scheduler with {option}={scheduler.config[option]}; make it again with "
                f"{SCHEDULER}.from_config(scheduler.config, {option}={value})."
            )


def _check_sigmas(scheduler: FlowMatchEulerDiscreteScheduler) -> None:
    """Raise `SampleError` unless the scheduler's sigmas fall from 1 to 0; some shifts and end sigmas prevent that."""
    sigmas = scheduler.sigmas
    # NaN fails this check, too.
    if bool((sigmas.diff() < 0).all()) and abs(float(sigmas[0]) - 1) < 1e-4 and float(sigmas[-1]) == 0:
        return
    has = ", ".join(f"{float(sigma):g}" for sigma in sigmas[:3])
    raise SampleError(
        f"SubDiTPipeline cannot run a scheduler with shift={scheduler.shift:g} and shift_terminal="
        f"{scheduler.config['shift_terminal']} in {len(sigmas) - 1} steps: sigmas must fall from 1 to 0 and begin "
        f"{has}; change those options."
    )


def _listed(embeds: PromptEmbeds | None) -> list[Tensor | None]:
    if embeds is None:
        return []
    return [embeds] if isinstance(embeds, Tensor) else list(embeds)


def _moved(tokens: Tensor | None, device: torch.device, dtype: torch.dtype) -> Tensor | None:
    return None if tokens is None else tokens.to(device, dtype)
