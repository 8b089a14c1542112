"""Batches for training: an order that is a pure function of seed and position, read by workers ahead of time.

The training sees one endless stream of samples, epoch after epoch, each a permutation of the split. A batch is a
stretch of the stream, so that every batch is full, every sample comes once per epoch, and a training that goes on at a
step, in the middle of an epoch or not, sees what it would have seen. Ranks take interleaved parts of one batch, so that
their union does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset

from subdit.core.errors import DataError
from supernet.data.data_set import DataBatch
from supernet.data.data_set import DataSet

Rows = npt.NDArray[np.int64]


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> Rows:
    """The rows of a split in the order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def stream_rows(count: int, start: int, stop: int, *, seed: int) -> Rows:
    """Rows of places `start` to `stop` of the endless stream over a split of `count` rows."""
    parts = []
    while start < stop:
        epoch, offset = divmod(start, count)
        taken = epoch_order(count, seed, epoch)[offset : offset + stop - start]
        parts.append(taken)
        start += len(taken)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class BatchOrder:
    """Which rows each step of a training sees.

    Attributes:
        count: rows of the split.
        batch_size: samples per step, of all ranks together.
        seed: of the order.
        rank: of this process, of
        ranks: processes.

    Raises:
        DataError: there are no rows, or the ranks do not divide the batch.
    """

    count: int
    batch_size: int
    seed: int = 0
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise DataError("There is nothing to train on; give pictures to the split train.")
        if self.batch_size < 1 or self.batch_size % self.ranks:
            raise DataError(f"A batch of {self.batch_size} samples does not go to {self.ranks} processes evenly.")

    def rows(self, step: int) -> Rows:
        """This rank's rows of a step, counted from 0."""
        start = step * self.batch_size
        return stream_rows(self.count, start, start + self.batch_size, seed=self.seed)[self.rank :: self.ranks]

    def epoch(self, step: int) -> float:
        """Epochs that are over where a step begins."""
        return step * self.batch_size / self.count


class _Batches(Dataset[DataBatch]):
    """A data set as torch's loader takes it: an item is the batch of a step."""

    def __init__(self, data_set: DataSet, split: str, order: BatchOrder) -> None:
        self.data_set = data_set
        self.split = split
        self.order = order

    def __getitem__(self, step: int) -> DataBatch:
        return self.data_set.read(self.split, self.order.rows(step).tolist())


def load_batches(
    data_set: DataSet,
    order: BatchOrder,
    *,
    steps: range,
    split: str = "train",
    workers: int = 0,
    ahead: int = 2,
) -> Iterator[DataBatch]:
    """The batches of these steps; what they are does not depend on the number of workers.

    Args:
        data_set: what is read.
        order: which rows.
        steps: of the training, such as `range(resumed, last)`.
        split: of the data set.
        workers: processes that read, 0 for this one.
        ahead: batches that each worker keeps ready.
    """
    torch_loader = DataLoader(
        _Batches(data_set, split, order),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        # Otherwise the loader draws from torch's own random numbers, which are the training's.
        generator=torch.Generator(),
    )
    yield from torch_loader
