"""Data parallelism over the cores of one machine: one thread per shard of a batch, each with one intra-op thread.

Operators of models that train on a laptop are too small to share between cores: the cores would wait for each other
inside every operator, and all would wait when another program takes one core. Shards wait once a step.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor
from torch import nn

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def shard_count() -> int:
    """Shards that this machine runs at once: torch's number of threads."""
    return torch.get_num_threads()


@cache
def _pool(shards: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(shards, thread_name_prefix="shard", initializer=torch.set_num_threads, initargs=(1,))


def run_shards(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Results of `work` on every item, in order; one thread per item, but a single item runs in the caller's."""
    listed = list(items)
    if len(listed) == 1:
        return [work(listed[0])]
    return list(_pool(len(listed)).map(work, listed))


def shard_slices(count: int, shards: int, device: torch.device | None = None) -> list[slice]:
    """`count` rows as `shards` nearly equal slices, none empty; as one slice on any device but the CPU.

    Threads would queue for a GPU, each with a batch too small to fill it.
    """
    shards = min(shards, count) if device is None or device.type == "cpu" else 1
    ends = [round(count * index / shards) for index in range(shards + 1)]
    return [slice(start, end) for start, end in zip(ends[:-1], ends[1:], strict=True)]


def sharded_backward(loss_of: Callable[[slice], Tensor], parameters: Sequence[nn.Parameter], count: int) -> float:
    """Put gradients of the mean loss over `count` rows into `.grad`, with one shard of rows per core; return the loss.

    `loss_of` gives the mean loss of a slice of the rows, and must not change any state.
    """
    slices = shard_slices(count, shard_count(), parameters[0].device)

    def run(rows: slice) -> tuple[float, list[Tensor]]:
        loss = loss_of(rows) * ((rows.stop - rows.start) / count)
        return loss.item(), list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))

    (loss, total), *others = run_shards(run, slices)
    for further, gradients in others:
        loss += further
        torch._foreach_add_(total, gradients)
    for parameter, gradient in zip(parameters, total, strict=True):
        parameter.grad = gradient
    return loss
