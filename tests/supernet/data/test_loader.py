"""The order of training: each sample once per epoch, the same from any step on, for any number of workers and ranks."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subdit.core.errors import DataError
from subdit.core.errors import SampleError
from subdit.core.errors import SubditError
from subdit.space import get_space
from supernet.data.data_set import DataBatch
from supernet.data.data_set import DataSet
from supernet.data.data_sets import open_data_set
from supernet.data.loader import BatchOrder
from supernet.data.loader import load_batches
from supernet.data.loader import stream_rows


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5), st.integers(1, 6))
def test_each_epoch_has_every_row_once(count: int, batch_size: int, seed: int, epochs: int) -> None:
    order = BatchOrder(count, batch_size, seed)
    steps = -(-count * epochs // batch_size)
    rows = np.concatenate([order.rows(step) for step in range(steps)])
    assert all(len(order.rows(step)) == batch_size for step in range(steps))
    for epoch in range(epochs):
        assert Counter(rows[epoch * count : (epoch + 1) * count].tolist()) == Counter(range(count))
    assert order.epoch(steps) >= epochs > order.epoch(steps - 1)


@given(st.integers(1, 30), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_any_stretch_is_part_of_the_whole(count: int, start: int, length: int, seed: int) -> None:
    whole = stream_rows(count, 0, start + length, seed=seed)
    assert np.array_equal(stream_rows(count, start, start + length, seed=seed), whole[start:])


def test_epochs_and_seeds_differ() -> None:
    orders = [
        stream_rows(100, 100 * epoch, 100 * (epoch + 1), seed=seed).tolist() for epoch in (0, 1) for seed in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_ranks_share_a_batch_whatever_their_number(ranks: int) -> None:
    alone = BatchOrder(17, 12, seed=3)
    for step in range(5):
        parts = [BatchOrder(17, 12, seed=3, rank=rank, ranks=ranks).rows(step) for rank in range(ranks)]
        assert {len(part) for part in parts} == {12 // ranks}
        assert sorted(np.concatenate(parts).tolist()) == sorted(alone.rows(step).tolist())


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        BatchOrder(0, 4)
    with pytest.raises(DataError, match="evenly"):
        BatchOrder(10, 5, ranks=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_that_goes_on_sees_what_it_would_have_seen(workers: int) -> None:
    """Stopped twice within an epoch (13 steps) and once across its end: the same sample ids as without a stop."""
    data_set = open_data_set("digits", space=get_space("digits"))
    order = BatchOrder(data_set.count("train"), 64, seed=1)

    def ids(start: int, stop: int) -> list[tuple[str, ...]]:
        return [batch.ids for batch in load_batches(data_set, order, steps=range(start, stop), workers=workers)]

    whole = ids(0, 16)
    assert ids(0, 3) + ids(3, 4) + ids(4, 11) + ids(11, 16) == whole
    first_epoch = [sample for batch in whole for sample in batch][: order.count]
    assert len(set(first_epoch)) == order.count


def test_loading_leaves_the_trainings_random_numbers_alone() -> None:
    data_set = open_data_set("digits", space=get_space("digits"))
    order = BatchOrder(data_set.count("train"), 8)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for workers in (0, 1):
        list(load_batches(data_set, order, steps=range(2), workers=workers))
    assert torch.equal(torch.rand(3), expected)


class WordyError(SampleError):
    """An error of a plug-in, which cannot be made of its message alone."""

    def __init__(self, prompt: str, place: int) -> None:
        super().__init__(f"The prompt {prompt!r} cannot be read at {place}; mend it.")


class Failing:
    """Digits, but one row is read as `fail` says."""

    def __init__(self, fail: object) -> None:
        self.digits: DataSet = open_data_set("digits", space=get_space("digits"))
        self.fail = fail
        self.name = "failing"

    def read(self, split: str, rows: Sequence[int]) -> DataBatch:
        if 7 in rows and isinstance(self.fail, BaseException):
            raise self.fail
        if 7 in rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.digits.read(split, rows)


def read_all(data_set: object, workers: int) -> None:
    order = BatchOrder(64, 8)
    list(load_batches(data_set, order, steps=range(8), workers=workers))  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("The shard is damaged; encode again."), DataError),
        (WordyError("x", 3), SampleError),
        (PermissionError(13, "Permission denied", "/shard"), PermissionError),
        (OSError(28, "No space left on device"), OSError),
    ],
    ids=repr,
)
def test_what_goes_wrong_in_a_worker_is_what_it_is_without(error: Exception, kind: type, workers: int) -> None:
    with pytest.raises(kind) as caught:
        read_all(Failing(error), workers)
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "filename", None) == getattr(error, "filename", None)


def test_a_mistake_of_ours_in_a_worker_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError, match="in read"):
        read_all(Failing(ZeroDivisionError("by 0")), 2)


def test_a_worker_that_is_killed_is_one_sentence() -> None:
    with pytest.raises(DataError, match="process that reads the data set failing .*fewer workers") as caught:
        read_all(Failing("kill"), 2)
    assert "\n" not in str(caught.value)


def test_a_worker_that_is_killed_while_training_goes_on_is_the_same_sentence() -> None:
    """Torch's own handler would raise wherever the training is just then."""
    data_set = open_data_set("digits", space=get_space("digits"))
    batches = load_batches(data_set, BatchOrder(64, 8), steps=range(100), workers=2)
    next(batches)
    for child in multiprocessing.active_children():
        child.kill()
        # Until it is dead, but not yet taken leave of: the handler looks for such ones.
        os.waitid(os.P_PID, child.pid or 0, os.WEXITED | os.WNOWAIT)
    with pytest.raises(SubditError, match="fewer workers"):
        list(batches)
