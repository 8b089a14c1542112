"""Linear layers whose products oneDNN makes in training, in float32 on a processor.

Torch gives those products to MKL, which on processors of other makers than Intel uses vectors of half the width:
`benchmarks/step_profile.py` prints both libraries' floor. oneDNN chooses by what the processor has. Without gradients
torch's own product stays: it rounds a slice of a weight almost as it does the slice's copy, and oneDNN does not, so
that an extracted sub-DiT of the paper's width would differ by more than 1e-6 from what it was in the supernet.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.autograd.function import once_differentiable

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b by oneDNN: x (..., inner), weight (outer, inner), both float32 on a processor; strides are free.

    Without gradients of its own: see `Linear`.
    """
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")


def _dense(factor: Tensor) -> Tensor:
    """The factor, copied where it is a slice: oneDNN has nothing but its slow reference code for those."""
    return factor if factor.is_contiguous() or factor.mT.is_contiguous() else factor.contiguous()


def suits(*tensors: Tensor) -> bool:
    """Whether `product` may take these tensors here: nothing traces, counts or converts what is computed."""
    return (
        _ONEDNN
        and all(type(tensor) in (Tensor, nn.Parameter) for tensor in tensors)
        and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]  # public, though not in its __all__
    )


def trains(*tensors: Tensor) -> bool:
    """Whether a step of training computes with these tensors here, so that kernels made for it may take them."""
    return torch.is_grad_enabled() and suits(*tensors)


class Linear(nn.Linear):
    """`torch.nn.Linear`, faster in training in float32 on processors; results are the same but for rounding."""

    def forward(self, input: Tensor) -> Tensor:
        if trains(input, self.weight):
            return _Linear.apply(input, self.weight, self.bias)
        return super().forward(input)


class _Linear(torch.autograd.Function):
    """`product` with gradients."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        context.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        wants_x, wants_weight, wants_bias = context.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(rows, weight.t()).view(x.shape) if wants_x else None,
            product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )
