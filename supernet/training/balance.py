"""How gradients of sub-networks are added to the full network's: the paper's adaptive scaling (section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import torch
from torch import Tensor
from torch import nn

from supernet.model.elastic import ParameterSlice
from supernet.model.placement import full_precision


def balanced_scales(
    full_gradients: Sequence[Tensor], sub_gradients: Sequence[Tensor], balance: str = "tensor"
) -> list[Tensor]:
    """Factors of a sub-network's gradients, one scalar for each slice that it shares with the full network.

    Both sequences have a tensor per slice, of equal shapes pair by pair; factors are float32 at least. The paper asks
    for adaptive scaling without a formula. "tensor" is min(1, |g_full| / |g_sub|) of each slice, which keeps a
    sub-network from outvoting the full network on any tensor they share, the failure that elastic training is known
    for. "global" is that of all slices together, so that the gradient keeps its direction. "none" is 1. These are the
    settings `BALANCES`.
    """
    kind = torch.promote_types(full_gradients[0].dtype, torch.float32)
    full, sub = (torch.stack(torch._foreach_norm(list(of), dtype=kind)) for of in (full_gradients, sub_gradients))
    return scales_of_norms(full, sub, balance)


def scales_of_norms(full: Tensor, sub: Tensor, balance: str) -> list[Tensor]:
    """As `balanced_scales`, of the norms (slices,) of the full network's gradients and of the sub-network's."""
    if balance == "none":
        return list(torch.ones_like(full).unbind())
    if balance == "global":
        full, sub = full.norm().expand_as(full), sub.norm().expand_as(sub)
    return list((full / sub.clamp_min(1e-12)).clamp(max=1.0).unbind())


def add_balanced(
    owners: Mapping[str, nn.Parameter],
    slices: Sequence[Mapping[str, ParameterSlice]],
    gradients: Sequence[Sequence[Tensor]],
    balance: str,
) -> None:
    """Add each sub-network's gradients to the full network's, by which all are scaled before any is added.

    Args:
        owners: the supernet's parameters by name, with the full network's gradients in `.grad`; others begin at zero.
        slices: per sub-network where each of its parameters lies.
        gradients: per sub-network a gradient in each parameter's own shape, in the order of its slices.
        balance: one of `BALANCES`.
    """
    added: list[tuple[list[Tensor], list[Tensor]]] = []
    for own_slices, own_gradients in zip(slices, gradients, strict=True):
        shared: list[tuple[Tensor, Tensor]] = []
        for part, gradient in zip(own_slices.values(), own_gradients, strict=True):
            owner = owners[part.owner]
            if owner.grad is None:
                owner.grad = torch.zeros_like(owner)
            whole, own = part.view(owner.grad), part.write_view(full_precision(gradient))
            if part.owner.startswith("apart."):
                whole.add_(own)
            else:
                shared.append((whole, own))
        wholes, owns = [whole for whole, _ in shared], [own for _, own in shared]
        added.append((wholes, list(torch._foreach_mul(owns, balanced_scales(wholes, owns, balance)))))
    for wholes, owns in added:
        # In float32 up to the one rounding that the sum takes where it lies.
        torch._foreach_add_(wholes, owns)
