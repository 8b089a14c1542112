"""Balanced gradients (`supernet/training/balance.py`) where FSDP2 has cut them by rows among processes.

Gradients are reduced before they are balanced, because the scale of a sum is not the sum of scales. What a scale needs
of all rows are two norms, whose squares are summed over processes, once for all tensors of a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch import nn
from torch.distributed import ProcessGroup

from supernet.model.elastic import ParameterSlice
from supernet.training.balance import scales_of_norms
from supernet.training.row_shards import local_part
from supernet.training.row_shards import own_rows


def local_slice(part: ParameterSlice, tensor: Tensor) -> Tensor:
    """What of a sub-network's slice of a tensor lies in this process's rows; its shape is (rows, groups, kept, ...)."""
    groups, kept = part.axes[0]
    rows = own_rows(tensor)
    at = torch.arange(rows.start, rows.stop) % (tensor.shape[0] // groups) < kept
    found = local_part(tensor)[at.to(tensor.device)]
    for axis, (groups, kept) in enumerate(part.axes[1:]):
        found = found.unflatten(2 * axis + 1, (groups, -1)).narrow(2 * axis + 2, 0, kept)
    return found


def add_balanced_shards(
    owners: Mapping[str, nn.Parameter],
    slices: Sequence[Mapping[str, ParameterSlice]],
    gradients: Sequence[Mapping[str, Tensor]],
    balance: str,
    group: ProcessGroup,
) -> None:
    """As `add_balanced`, on cut gradients in the owners' own shapes, which are zero outside of a sub-network's slice.

    Args:
        owners: the supernet's parameters by name, with the full network's gradients in `.grad`.
        slices: per sub-network where each of its parameters lies.
        gradients: per sub-network a gradient by the owner's name.
        balance: one of `BALANCES`.
        group: the processes among which all are cut.
    """
    shared = [[part for part in own.values() if not part.owner.startswith("apart.")] for own in slices]
    fulls = [_squares([local_slice(part, _gradient(owners[part.owner])) for part in parts]) for parts in shared]
    subs = [
        _squares([local_part(of[part.owner]) for part in parts]) for parts, of in zip(shared, gradients, strict=True)
    ]
    if not fulls:
        return
    squares = torch.cat([*fulls, *subs])
    dist.all_reduce(squares, group=group)
    norms = squares.sqrt().split([len(parts) for parts in (*shared, *shared)])
    for own, parts, of, full, sub in zip(
        slices, shared, gradients, norms[: len(shared)], norms[len(shared) :], strict=True
    ):
        for part, scale in zip(parts, scales_of_norms(full, sub, balance), strict=True):
            local_part(_gradient(owners[part.owner])).add_(scale * local_part(of[part.owner]))
        for part in own.values():
            if part.owner.startswith("apart."):
                owner = owners[part.owner]
                owner.grad = of[part.owner] if owner.grad is None else owner.grad + of[part.owner]


def _gradient(owner: nn.Parameter) -> Tensor:
    assert owner.grad is not None, "what is shared has a gradient of the full network"
    return owner.grad


def _squares(tensors: Sequence[Tensor]) -> Tensor:
    kind = torch.promote_types(tensors[0].dtype, torch.float32)
    return torch.stack(torch._foreach_norm(list(tensors), dtype=kind)).square()
