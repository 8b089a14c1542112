"""Tensors that FSDP2 has cut by rows among processes: this process's part, and whole matrices where they are needed.

A tensor that is whole passes through all of these functions as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch import nn
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor


def local_part(tensor: Tensor) -> Tensor:
    """The rows of a tensor that this process holds, in the tensor's own storage; of a whole tensor all."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_cut(tensor: Tensor) -> bool:
    """Whether FSDP2 has cut a tensor, be it among one process."""
    return isinstance(tensor, DTensor)


def processes_of(tensor: Tensor) -> int:
    """Among how many processes a tensor is cut; 1 where it is whole."""
    return tensor.device_mesh.size() if isinstance(tensor, DTensor) else 1


def cut_rows(rows: int, processes: int) -> list[range]:
    """Which rows each process holds, as FSDP2 cuts them: equal parts rounded up, so that the last ones may be empty."""
    length = -(-rows // processes)
    return [range(min(rows, index * length), min(rows, (index + 1) * length)) for index in range(processes)]


def own_rows(tensor: Tensor) -> range:
    """Which rows of a tensor this process holds."""
    rows = tensor.shape[0] if tensor.ndim else 1
    if not isinstance(tensor, DTensor):
        return range(rows)
    return cut_rows(rows, processes_of(tensor))[tensor.device_mesh.get_local_rank()]


def exchange_shards(like: Tensor, parts: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """`work` on whole matrices of which each process holds some rows; the result is cut as they were.

    Each process puts an equal share of the matrices together, so that the work is divided, too: two all-to-alls.

    Args:
        like: a tensor of the matrices' shape (rows, columns) that is cut as they are, or is whole.
        parts: this process's rows of all matrices (count, its rows, columns).
        work: from whole matrices (any count, rows, columns) to the same shape, each by itself.

    Returns:
        The shape of `parts`.
    """
    if not isinstance(like, DTensor):
        return work(parts)
    group, processes = like.device_mesh.get_group(), processes_of(like)
    rows = cut_rows(like.shape[0], processes)
    shares = cut_rows(len(parts), processes)
    rank, columns = like.device_mesh.get_local_rank(), parts.shape[-1]
    count, held = len(shares[rank]), len(rows[rank])
    # What goes to a process: my rows of its matrices; what comes from one: its rows of my matrices.
    away = [len(share) * held * columns for share in shares]
    home = [count * len(part) * columns for part in rows]
    received = parts.new_empty(sum(home))
    dist.all_to_all_single(received, parts.reshape(-1), home, away, group=group)
    pieces = (
        [piece.view(count, len(part), columns) for piece, part in zip(received.split(home), rows, strict=True)]
        if count
        else []
    )
    done = work(torch.cat(pieces, dim=1)) if count else parts.new_empty(0, like.shape[0], columns)
    back = torch.cat([piece.reshape(-1) for piece in done.split([len(part) for part in rows], dim=1)])
    result = torch.empty_like(parts, memory_format=torch.contiguous_format)
    dist.all_to_all_single(result.view(-1), back, away, home, group=group)
    return result


class RowAdamW(torch.optim.AdamW):
    """AdamW, which looks at each number by itself, on the rows that a process holds; its state is cut as they are.

    Torch's own works on cut tensors, too, but asks for each operation of each step how its result would be cut.
    """

    def _init_group(self, group: dict[str, Any], *lists: Any, **options: Any) -> Any:
        found = super()._init_group(group, *lists, **options)
        for tensors in lists:
            tensors[:] = [local_part(tensor) for tensor in tensors]
        return found


def clip_row_norm_(parameters: Iterable[nn.Parameter], max_norm: float, group: ProcessGroup) -> None:
    """As `torch.nn.utils.clip_grad_norm_`, for gradients that are cut among the processes of a group."""
    gradients = [local_part(parameter.grad) for parameter in parameters if parameter.grad is not None]
    square = torch.stack(torch._foreach_norm(gradients)).square().sum()
    dist.all_reduce(square, group=group)
    torch._foreach_mul_(gradients, (max_norm / (square.sqrt() + 1e-6)).clamp(max=1.0))
