"""The optimisers of a supernet or a sub-DiT, and how their learning rates rise and fall."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from subdit.space import STAGES
from supernet.parallel import shard_count
from supernet.training.config import TrainingConfig
from supernet.training.muon import Muon
from supernet.training.muon import muon_dtype
from supernet.training.row_shards import RowAdamW
from supernet.training.row_shards import is_cut


def schedule(share: float, warmup: float) -> float:
    """Share of the peak learning rate at a share of the training: linear warm-up, then a cosine to zero."""
    if share < warmup:
        return max(share / warmup, 0.01)
    return (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup)))) / 2


def optimizers_of(
    model: nn.Module, parameters: Sequence[nn.Parameter], config: TrainingConfig
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Optimisers with their peak learning rates; they own disjoint parameters and may step side by side.

    Muon for the matrices inside blocks of `model`, a `SubDiT`, AdamW for the rest of `parameters`: embeddings,
    modulation, norms, convolutions, biases. In the minutes of a demo Muon gets much further than AdamW alone, which
    `config.optimizer` may ask for; the paper uses Adam. There is one Muon per shard, and the matrices of each shape are
    dealt among them.
    """
    matrices = [
        parameter
        for name, parameter in model.named_parameters()
        if config.optimizer == "muon" and parameter.ndim == 2 and name.split(".")[0] in STAGES and "table" not in name
    ]
    inside = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in parameters if id(parameter) not in inside]
    decay, rate = config.weight_decay, config.adamw_peak
    device = parameters[0].device
    # On a processor torch's default is a loop in Python. Its fused kernel reads a gradient in the order of its memory,
    # whatever the strides, and `torch.autograd.grad` gives those of convolutions in another order than the weights'.
    foreach = True if device.type == "cpu" else None
    kind = RowAdamW if is_cut(parameters[0]) else torch.optim.AdamW
    adamw = kind(rest, lr=rate, betas=(0.9, 0.99), weight_decay=decay, foreach=foreach)
    shards = shard_count() if device.type == "cpu" else 1
    alike = sorted(matrices, key=lambda matrix: tuple(matrix.shape))
    hands = [hand for index in range(shards) if (hand := alike[index::shards])]
    muon_rate, dtype = config.muon_peak, muon_dtype(config.muon_dtype, device)
    muons = [Muon(hand, lr=muon_rate, weight_decay=decay, iteration_dtype=dtype) for hand in hands]
    return [*((muon, muon_rate) for muon in muons), (adamw, rate)]
