"""Costs of a module, measured on the meta device: no weight is read and no number computed, so size does not matter.

FLOPs come from torch.utils.flop_counter, with attention taken apart into its matrix products, since the counter knows
nothing of some of the fused kernels. Activation memory is the largest sum of live tensors at any moment of the forward.
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


@dataclass(frozen=True)
class Costs:
    """What one forward costs, by the module's own dtype and the inputs' batch.

    Attributes:
        flops: a multiply-add is two; matrix products, convolutions and attention, not elementwise work.
        activation_bytes: largest live set of tensors, inputs in and weights out, where attention is matrix product,
            softmax, matrix product, each of which writes its output, as exporters write it.
        fused_activation_bytes: the same where attention never writes its scores, as torch's fused kernels.
        weights: parameters, split by what decides their stored size.
        parts: for each submodule by its path, the FLOPs of all its calls and the largest live sets, of the whole
            model, while it runs.
    """

    flops: int
    activation_bytes: int
    fused_activation_bytes: int
    weights: WeightSizes
    parts: Mapping[str, PartCosts]


@dataclass(frozen=True)
class PartCosts:
    """`Costs` of a submodule where it stands."""

    flops: int
    activation_bytes: int
    fused_activation_bytes: int


def measure_costs(
    module: nn.Module, inputs: Mapping[str, Tensor] | Iterable[Tensor], *, dtype: torch.dtype | None = None
) -> Costs:
    """Costs of `module(*inputs)`; neither is changed, and both may be on any device, meta included.

    Args:
        module: its parameters and buffers are not counted as activations.
        inputs: positional inputs, or those by name in the order of `forward`.
        dtype: floating-point type that weights and inputs are taken to have; their own where none is given.
    """
    given = [_on_meta(value, dtype) for value in (inputs.values() if isinstance(inputs, Mapping) else inputs)]
    flops = FlopCounterMode(display=False)
    plain, fused = _LiveSet(), _LiveSet()
    # The flop counter takes operators apart, so the live set stands below it and sees the pieces.
    with as_exported(), plain, flops, _Attention(_plain_attention):
        _run(module, given, plain, dtype)
    with as_exported(), fused, _Attention(_fused_attention):
        _run(module, given, fused, dtype)
    root = type(module).__name__
    counted = {name: sum(by_operator.values()) for name, by_operator in flops.get_flop_counts().items()}
    parts = {
        name: PartCosts(counted.get(f"{root}.{name}", 0), plain.peak_of[name], fused.peak_of[name])
        for name in plain.peak_of
    }
    return Costs(flops.get_total_flops(), plain.peak, fused.peak, weight_sizes(module), parts)


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
def _run(module: nn.Module, inputs: list[Tensor], live: _LiveSet, dtype: torch.dtype | None) -> None:
    with live.paused():
        constants = {name: _on_meta(value, dtype) for name, value in module.named_parameters()}
        constants |= {name: _on_meta(value, dtype) for name, value in module.named_buffers()}
    for value in inputs:
        live.hold(value)
    with live.watching(module, constants.values()):
        functional_call(module, constants, tuple(inputs))


class _LiveSet(TorchDispatchMode):
    """Adds up the storages that operators make, for as long as each lives."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self.peak_of: dict[str, int] = {}
        self._now = 0
        self._held: set[int] = set()
        self._constants: set[int] = set()
        self._running: list[str] = []
        self._paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not self._paused:
            for leaf in tree_leaves(made):
                if isinstance(leaf, Tensor):
                    self.hold(leaf)
        return made

    def hold(self, tensor: Tensor) -> None:
        """Count the tensor's storage until it is freed; a view of one that is counted adds nothing."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._held or key in self._constants:
            return
        self._held.add(key)
        self._now += size
        self.peak = max(self.peak, self._now)
        for name in self._running:
            self.peak_of[name] = max(self.peak_of.get(name, 0), self._now)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._held.discard(key)
        self._now -= size

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Tensors made meanwhile are no activations."""
        self._paused = True
        yield
        self._paused = False

    @contextmanager
    def watching(self, module: nn.Module, constants: Iterable[Tensor]) -> Iterator[None]:
        """Note the peak while each submodule runs; `constants` are no activations."""
        self._constants = {id(tensor.untyped_storage()) for tensor in constants}
        handles = []
        for name, part in module.named_modules():
            if name:
                handles.append(part.register_forward_pre_hook(lambda *_, name=name: self._enter(name)))
                handles.append(part.register_forward_hook(lambda *_, name=name: self._leave(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> None:
        self._running.append(name)
        self.peak_of[name] = max(self.peak_of.get(name, 0), self._now)

    def _leave(self, name: str) -> None:
        self._running.remove(name)


class _Attention(TorchFunctionMode):
    """Puts another function in the place of torch's attention."""

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
