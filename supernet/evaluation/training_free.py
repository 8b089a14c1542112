"""Training-free scores of a sub-DiT: how well its units distinguish inputs, how much its weights matter."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch import nn

from subdit.space import SubDiTSpec
from supernet.evaluation.validation_loss import ValidationSet
from supernet.flow_matching import add_noise
from supernet.flow_matching import mean_squared_error
from supernet.flow_matching import velocity
from supernet.model.elastic import ElasticDiT
from supernet.model.layers import FeedForward
from supernet.model.placement import full_precision
from supernet.model.placement import model_inputs

_ATTENTION = ("to_q", "to_k", "to_v", "to_out")


@torch.no_grad()
def activation_code_score(supernet: ElasticDiT, spec: SubDiTSpec, data: ValidationSet) -> float:
    """NASWOT (Mellor et al., ICML 2021, equation 2) on the FFNs' units: log |det K| over the number of inputs.

    K[i, j] is the share of units, over all FFNs and tokens, that are on or off alike for the inputs i and j.
    """
    model = supernet.extract(spec).eval()
    alike = torch.zeros(len(data.latents), len(data.latents), dtype=torch.float64)
    units = 0

    def note(_: nn.Module, __: Any, output: Tensor) -> None:
        nonlocal units
        codes = torch.where(output > 0, 1.0, -1.0).flatten(1).double()
        # For codes of +1 and -1 the product counts the equal ones minus the unequal ones.
        alike.add_(((codes @ codes.T + codes.shape[1]) / 2).cpu())
        units += codes.shape[1]

    for module in model.modules():
        if isinstance(module, FeedForward):
            module.fc1.register_forward_hook(note)
    model(*_inputs(model, data))
    # Two inputs whose codes are equal would make the determinant zero.
    kernel = alike / units + 1e-9 * torch.eye(len(alike), dtype=torch.float64)
    return float(torch.linalg.slogdet(kernel).logabsdet / len(alike))


def synaptic_diversity_score(supernet: ElasticDiT, spec: SubDiTSpec, data: ValidationSet) -> float:
    """Logarithm of DSS (Zhou et al., CVPR 2022, equations 5 to 7) with the flow-matching loss as its L."""
    model = supernet.extract(spec).eval()
    predicted = model(*_inputs(model, data))
    mean_squared_error(predicted, velocity(data.latents, data.noise).to(predicted.device)).backward()
    score = 0.0
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or module.weight.grad is None:
            continue
        weight, gradient = full_precision(module.weight.detach()), full_precision(module.weight.grad)
        owner = name.rpartition(".")[2]
        if owner in _ATTENTION:
            score += (_nuclear(gradient) * _nuclear(weight)).item()
        elif ".ffn." in f".{name}":
            score += float((gradient * weight).abs().sum())
    return math.log(score) if score > 0 else -math.inf


def _inputs(model: nn.Module, data: ValidationSet) -> tuple[Tensor | None, ...]:
    return model_inputs(model, add_noise(data.latents, data.noise, data.sigma), 1000 * data.sigma, data.text)


def _nuclear(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix).sum()
