"""Muon with the Newton-Schulz iterations in a chosen dtype, and matrices of one shape in one batched product.

torch's own Muon always iterates in bfloat16, one matrix at a time. A processor without bfloat16 products emulates them:
`benchmarks/step_time.py` prints how much slower that is.

The iterations need whole matrices. Where FSDP2 has cut them by rows, each process puts some of them together, iterates
on those, and gives everyone its rows back; momentum and weights stay cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch import nn

from subdit.core.errors import RunError
from supernet.model.linear import product
from supernet.model.linear import suits
from supernet.training.row_shards import exchange_shards
from supernet.training.row_shards import local_part
from supernet.training.row_shards import processes_of

MUON_DTYPES = ("auto", "float32", "bfloat16")
"""What a configuration may ask for; "auto" is bfloat16 on CUDA and float32 elsewhere."""

BATCH_ELEMENTS = 2**22
"""Numbers in one batched product at most: large matrices gain nothing from it, and would take memory."""

LONE_WORK = 2**21
"""Multiply-adds of X X^T from which a matrix alone is faster by oneDNN than in a batched product (AMD EPYC)."""


def muon_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a configuration's `muon_dtype` on a device; raises `RunError` where there is no such name."""
    if name not in MUON_DTYPES:
        raise RunError(f"There is no muon_dtype {name!r}; it is one of {', '.join(MUON_DTYPES)}.")
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`: the same mathematics, options and state.

    Attributes:
        iteration_dtype: of the Newton-Schulz iterations; parameters and momentum keep their own.
    """

    def __init__(self, params: Iterable[nn.Parameter], *, iteration_dtype: torch.dtype, **options: Any) -> None:
        super().__init__(params, adjust_lr_fn="match_rms_adamw", **options)
        self.iteration_dtype = iteration_dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, as torch's; `closure` recomputes the loss, and its value is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_kind = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_kind[parameter.shape, parameter.device, parameter.dtype].append(parameter)
            for (shape, *_), alike in by_kind.items():
                count = max(1, BATCH_ELEMENTS // shape.numel()) * processes_of(alike[0])
                for first in range(0, len(alike), count):
                    self._step_batch(alike[first : first + count], group)
        return loss

    def _step_batch(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """One step of matrices of one shape."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(gradient)
        gradients = [local_part(gradient) for gradient in gradients]
        momenta = [local_part(self.state[parameter]["momentum_buffer"]) for parameter in parameters]
        momentum, rate = group["momentum"], float(group["lr"])
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, momenta, momentum) if group["nesterov"] else momenta
        orthogonal = exchange_shards(
            parameters[0],
            torch.stack(list(updates)).to(self.iteration_dtype),
            partial(orthogonalize, coefficients=group["ns_coefficients"], steps=group["ns_steps"], eps=group["eps"]),
        ).to(parameters[0].dtype)
        weights = [local_part(parameter) for parameter in parameters]
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        torch._foreach_add_(weights, list(orthogonal), alpha=-rate * 0.2 * max(parameters[0].shape) ** 0.5)


def orthogonalize(matrices: Tensor, *, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Newton-Schulz iterations on matrices (count, rows, columns), in their dtype: singular values go to about 1.

    The quintic iteration of Keller Jordan's Muon, as in torch: X <- a X + (b G + c G^2) X with G = X X^T.
    """
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    # The Frobenius norm bounds the spectral norm, which the iterations want to be at most 1.
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=eps)
    rows, columns = x.shape[-2:]
    if rows * rows * columns >= LONE_WORK and suits(x):
        x = torch.stack([_lone_iterations(matrix, coefficients, steps) for matrix in x])
    else:
        for _ in range(steps):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _lone_iterations(x: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """The iterations on one matrix (rows, columns), by oneDNN."""
    a, b, c = coefficients
    for _ in range(steps):
        gram = product(x, x)
        # G G^T is G^2, because G is symmetric.
        x = product(torch.add(b * gram, product(gram, gram), alpha=c), x.t()).add_(x, alpha=a)
    return x
