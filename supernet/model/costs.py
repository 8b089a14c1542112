"""Costs of a module, measured on the meta device: no weight is read and nothing computed, so a model may have any size.

FLOPs come from torch.utils.flop_counter, with attention split into its matrix products, because the counter does not
know all fused kernels. Activation memory is the largest sum of live tensors at any moment of the forward pass.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from subdit.space import WeightSizes
from supernet.model.attention import as_exported

_Live = TypeVar("_Live", bound="LiveSet")


@dataclass(frozen=True)
class Costs:
    """What one forward pass costs, in the module's dtype and for the inputs' batch.

    Attributes:
        flops: of matrix products, convolutions and attention, not of elementwise work; a multiply-add is two.
        activation_bytes: largest live set of tensors, with inputs and without weights. Attention is as exported: a
            matrix product, a softmax and a matrix product, each of which writes its output.
        fused_activation_bytes: the same, but attention never writes its scores, as in torch's fused kernels.
        weights: parameters, split by what decides their stored size.
    """

    flops: int
    activation_bytes: int
    fused_activation_bytes: int
    weights: WeightSizes


def measure_costs(
    module: nn.Module, inputs: Mapping[str, Tensor] | Iterable[Tensor], *, dtype: torch.dtype | None = None
) -> Costs:
    """Costs of `module(*inputs)`; neither is changed, and both may be on any device, meta included.

    Args:
        module: its parameters and buffers are not counted as activations.
        inputs: positional inputs, or inputs by name in the order of `forward`.
        dtype: floating-point type to assume for weights and inputs; by default their own.
    """
    flops, plain, fused = watch_forward(module, inputs, LiveSet(), LiveSet(), dtype=dtype)
    return Costs(flops.get_total_flops(), plain.peak, fused.peak, weight_sizes(module))


def watch_forward(
    module: nn.Module,
    inputs: Mapping[str, Tensor] | Iterable[Tensor],
    plain: _Live,
    fused: _Live,
    *,
    dtype: torch.dtype | None = None,
) -> tuple[FlopCounterMode, _Live, _Live]:
    """Run on the meta device, and return FLOPs and the live sets with plain and with fused attention.

    `plain` and `fused` are empty live sets.
    """
    given = [_on_meta(value, dtype) for value in (inputs.values() if isinstance(inputs, Mapping) else inputs)]
    flops = FlopCounterMode(display=False)
    # The flop counter splits operators, so the live set is entered before it and sees the parts.
    with as_exported(), plain, flops, _Attention(_plain_attention):
        _run(module, given, plain, dtype)
    with as_exported(), fused, _Attention(_fused_attention):
        _run(module, given, fused, dtype)
    return flops, plain, fused


def weight_sizes(module: nn.Module) -> WeightSizes:
    """The module's parameters, split by what decides their stored size."""
    matrices: dict[int, tuple[Tensor, int]] = {}
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            matrices[id(layer.weight)] = layer.weight, layer.weight.shape[0]
        elif isinstance(layer, nn.ConvTranspose2d):
            matrices[id(layer.weight)] = layer.weight, layer.out_channels
    in_matrices = sum(weight.numel() for weight, _ in matrices.values())
    return WeightSizes(
        matrix_params=in_matrices,
        vector_params=sum(parameter.numel() for parameter in module.parameters()) - in_matrices,
        matrices=len(matrices),
        output_channels=sum(channels for _, channels in matrices.values()),
    )


def _on_meta(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.detach().to("meta", dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)


@torch.no_grad()
def _run(module: nn.Module, inputs: list[Tensor], live: LiveSet, dtype: torch.dtype | None) -> None:
    with live.paused():
        constants = {name: _on_meta(value, dtype) for name, value in module.named_parameters()}
        constants |= {name: _on_meta(value, dtype) for name, value in module.named_buffers()}
    live.constants = {id(tensor.untyped_storage()) for tensor in constants.values()}
    for value in inputs:
        live.hold(value)
    functional_call(module, constants, tuple(inputs))


class LiveSet(TorchDispatchMode):
    """Adds up the bytes of the storages that operators make, each until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self.now = 0
        self._held: set[int] = set()
        self.constants: set[int] = set()
        self._paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not self._paused:
            for leaf in tree_leaves(made):
                if isinstance(leaf, Tensor):
                    self.hold(leaf)
        return made

    def hold(self, tensor: Tensor) -> None:
        """Count the tensor's storage until it is freed; a view of a counted storage adds nothing."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._held or key in self.constants:
            return
        self._held.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._held.discard(key)
        self.now -= size

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count tensors made inside."""
        self._paused = True
        yield
        self._paused = False


class _Attention(TorchFunctionMode):
    """Replaces torch's attention by another function."""

    def __init__(self, instead: Callable[..., Tensor]) -> None:
        super().__init__()
        self._instead = instead

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._instead if func is F.scaled_dot_product_attention else func)(*args, **(kwargs or {}))


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    weights = scores.softmax(-1)
    del scores
    return weights @ value


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    return query.new_empty(*query.shape[:-1], value.shape[-1])
