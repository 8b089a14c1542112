"""The average of a model's weights over its training, which is what is saved."""

from __future__ import annotations

from collections.abc import Iterable

from diffusers.training_utils import EMAModel
from torch import nn

from supernet.model.placement import full_precision


def moving_average(parameters: Iterable[nn.Parameter], *, decay: float) -> EMAModel:
    """An exponential moving average with a warm-up of its decay, on the parameters' device and in float32 at least.

    In bfloat16 it would stand still: its steps are smaller than one in 256 of a weight.
    """
    shadows = [nn.Parameter(full_precision(parameter.detach())) for parameter in parameters]
    return EMAModel(shadows, decay=decay, use_ema_warmup=True, power=0.75, foreach=True)
