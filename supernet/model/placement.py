"""Where a model lies and in which numbers it computes: what goes into it follows, what comes out is reduced in float32.

Latents, noise and sigmas stay float32 until they enter a model, and timesteps even then, as they do in diffusers: a
bfloat16 has eight bits, so that a timestep near 1000 would be off by up to 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter."""
    return next(model.parameters()).device


def model_inputs(
    model: nn.Module, hidden_states: Tensor, timestep: Tensor, texts: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Positional inputs of a sub-DiT on the model's device, latents and text in its type, the timestep in its own."""
    like = next(model.parameters())
    placed = (None if text is None else text.to(like.device, like.dtype) for text in texts)
    return hidden_states.to(like.device, like.dtype), timestep.to(like.device), *placed


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32, or as it is where it is that or wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def float_array(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The tensor's numbers, wherever it lies, as float32."""
    return np.asarray(full_precision(tensor.detach()).cpu().numpy(), dtype=np.float32)
