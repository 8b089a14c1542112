"""A model's device and floating-point type: inputs are moved to them, and outputs are reduced in float32.

Latents, noise and sigmas are float32 until they enter a model. Timesteps stay float32 within it, too, as in diffusers:
bfloat16 has eight bits of precision, so a timestep near 1000 would be off by up to 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn

from subdit.core.errors import ConfigError


def torch_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else Apple's MPS, else the CPU. Raises `ConfigError` if it is absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        # A missing device fails at its first tensor.
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        said = str(error).partition("\n")[0].rstrip(". ")
        raise ConfigError(f"There is no device {name!r} here ({said}); name another, such as cpu.") from error


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter."""
    return next(model.parameters()).device


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type for `torch.autocast` on a device by a configuration's precision; None if everything is float32.

    "auto" is bfloat16 on CUDA and float32 elsewhere.
    """
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    return torch.bfloat16 if precision == "bf16" else None


def model_inputs(
    model: nn.Module, hidden_states: Tensor, timestep: Tensor, texts: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Positional inputs of a sub-DiT on its device; latents and text take its type, the timestep keeps its own."""
    like = next(model.parameters())
    placed = (None if text is None else text.to(like.device, like.dtype) for text in texts)
    return hidden_states.to(like.device, like.dtype), timestep.to(like.device), *placed


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32; a wider type stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def float_array(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The tensor as a numpy array of float32, from any device and type."""
    return np.asarray(full_precision(tensor.detach()).cpu().numpy(), dtype=np.float32)
