"""Batches for training: an order that is a pure function of seed and position, read by workers ahead of time.

The training sees one endless stream of samples, epoch after epoch, each a permutation of the split. A batch is a
stretch of the stream, so that every batch is full, every sample comes once per epoch, and a training that goes on at a
step, in the middle of an epoch or not, sees what it would have seen. Ranks take interleaved parts of one batch, so that
their union does not depend on their number.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset

from subdit.core.errors import DataError
from subdit.core.errors import SubditError
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
            raise DataError(
                f"A batch of {self.batch_size} samples does not go to {self.ranks} processes evenly; give a batch_size "
                "that they divide."
            )

    def rows(self, step: int) -> Rows:
        """This rank's rows of a step, counted from 0."""
        start = step * self.batch_size
        return stream_rows(self.count, start, start + self.batch_size, seed=self.seed)[self.rank :: self.ranks]

    def epoch(self, step: int) -> float:
        """Epochs that are over where a step begins."""
        return step * self.batch_size / self.count


class _Batches(Dataset["DataBatch | Exception"]):
    """A data set as torch's loader takes it: an item is the batch of a step, or the error that it gave.

    Raised in a worker, an error would come back with the text of a traceback, as far as it can be made of that alone.
    """

    def __init__(self, data_set: DataSet, split: str, order: BatchOrder) -> None:
        self.data_set = data_set
        self.split = split
        self.order = order

    def __getitem__(self, step: int) -> DataBatch | Exception:
        try:
            return self.data_set.read(self.split, self.order.rows(step).tolist())
        except SubditError as error:
            # Of a plug-in's own class another process may not be able to make one.
            kind = next(kind for kind in type(error).__mro__ if kind.__module__ == SubditError.__module__)
            return kind(str(error))
        except OSError as error:
            return OSError(error.errno, error.strerror, error.filename)
        except MemoryError as error:
            return MemoryError(str(error))


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

    Raises:
        DataError: of the data set, or a worker cannot be started or was killed.
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
    # `iter` lets torch raise in whatever the training does just when a worker dies; asked for a batch it tells, too.
    with _same_handler(signal.SIGCHLD):
        try:
            batches = iter(torch_loader)
        except OSError as error:
            raise DataError(
                f"The {workers} processes that read the data set {data_set.name} cannot be started "
                f"({error.strerror}); ask for fewer workers."
            ) from error
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        # What a worker had sent cannot be fetched from it any more where it is dead: its own errors come as batches.
        except (RuntimeError, OSError, EOFError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise DataError(
                f"A process that reads the data set {data_set.name} was killed, as the system does where memory ends; "
                "free memory, give more shared memory (/dev/shm), or ask for fewer workers or smaller batches."
            ) from error
        if isinstance(batch, Exception):
            raise batch
        yield batch


@contextlib.contextmanager
def _same_handler(number: signal.Signals) -> Iterator[None]:
    """Leave the handler of a signal as it is."""
    before = signal.getsignal(number)
    yield
    # Others than the main thread set no handlers, and torch sets none there.
    if signal.getsignal(number) is not before and threading.current_thread() is threading.main_thread():
        signal.signal(number, before)
