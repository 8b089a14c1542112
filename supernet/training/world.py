"""The processes of one training, as torchrun starts them: who this one is, and what all of them agree on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from subdit.core.errors import ConfigError
from subdit.core.errors import TrainingError
from supernet.model.placement import full_precision
from supernet.model.placement import torch_device

BUCKET_ELEMENTS = 2**23
"""Numbers that are reduced in one message: many tensors are small, and a copy of them all would take memory."""
_STARTED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process."""


@dataclass(frozen=True)
class World:
    """The processes that train together; by default this one alone, for which every method gives back what it gets.

    Attributes:
        rank: of this process, from 0.
        ranks: processes.
        device: of this process; what they tell each other passes through it.
    """

    rank: int = 0
    ranks: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def own(self, rows: Tensor) -> Tensor:
        """This process's rows of a whole batch's, as `BatchOrder` deals them."""
        return rows[self.rank :: self.ranks]

    def largest(self, *values: float) -> tuple[float, ...]:
        """The largest of all processes' values, each by itself."""
        return values if self.ranks == 1 else self._reduced(values, dist.ReduceOp.MAX)

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sums of all processes' values, each by itself."""
        return list(values if self.ranks == 1 else self._reduced(values, dist.ReduceOp.SUM))

    def _reduced(self, values: Sequence[float], operation: dist.ReduceOp.RedOpType) -> tuple[float, ...]:
        reduced = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(reduced, operation)
        return tuple(reduced.tolist())

    def sum_tensors(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sums of all processes' tensors, each by itself, in float32 at least."""
        if self.ranks == 1:
            return list(tensors)
        wide = [full_precision(tensor) for tensor in tensors]
        found: list[Tensor] = []
        for bucket in _buckets(wide):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            parts = flat.split([tensor.numel() for tensor in bucket])
            found += [part.view(tensor.shape) for part, tensor in zip(parts, bucket, strict=True)]
        return found

    def first(self, work: Callable[[], object]) -> None:
        """Let the first process do something for which the others wait; raises in all of them where it fails."""
        failure: BaseException | None = None
        if self.is_first:
            try:
                work()
            except BaseException as error:
                failure = error
        (failed,) = self.largest(float(failure is not None))
        if failure is not None:
            raise failure
        if failed:
            raise TrainingError("The first process of this training ended; mend what it says, then start all again.")

    def require_same(self, facts: Mapping[str, str]) -> None:
        """Raise `TrainingError` where processes differ in one of these; they would wait for each other, or drift."""
        # 48 bits are exact in a float64.
        numbers = [float(int(hashlib.sha256(fact.encode()).hexdigest()[:12], 16)) for fact in facts.values()]
        highest, lowest = self.largest(*numbers), self.largest(*(-number for number in numbers))
        for name, high, low in zip(facts, highest, lowest, strict=True):
            if high != -low:
                raise TrainingError(
                    f"The processes of this training have not the same {name}; give all of them the same files, in a "
                    "folder that every machine sees, and the same options."
                )


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, one kind of number at a time and not too many numbers together."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(map(torch.numel, [*bucket, tensor])) > BUCKET_ELEMENTS):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def was_started_among_others() -> bool:
    """Whether torchrun, or what does as it does, started this process as one of several."""
    return all(name in os.environ for name in _STARTED) and os.environ["WORLD_SIZE"] != "1"


def writes_here() -> bool:
    """Whether this process is the one that writes and prints, as far as its start tells."""
    return not was_started_among_others() or os.environ["RANK"] == "0"


@contextmanager
def joined_world(device: str) -> Iterator[World]:
    """Meet the other processes, on devices of that name, and part from them in the end.

    With CUDA each process of a machine takes a device of its own, and NCCL adds up; on processors gloo does.

    Raises:
        ConfigError: there is no such device, or there are fewer than processes on this machine.
        TrainingError: another process ended while this one waited for it.
    """
    if not (dist.is_initialized() or was_started_among_others()):
        yield World(device=torch_device(device))
        return
    placed, met = _own_device(torch_device(device)), dist.is_initialized()
    if not met:
        dist.init_process_group("cpu:gloo,cuda:nccl" if placed.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), placed)
    except RuntimeError as error:
        # gloo has no error of its own.
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise TrainingError(
                "Another process of this training ended; see what it says, then go on with --resume."
            ) from error
        raise
    finally:
        if not met:
            dist.destroy_process_group()


def _own_device(device: torch.device) -> torch.device:
    if device.type != "cuda":
        return device
    index, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= there:
        raise ConfigError(
            f"This machine has {there} CUDA devices, too few for process {index + 1} on it; start fewer processes "
            "(torchrun --nproc-per-node)."
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
