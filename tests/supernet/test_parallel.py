"""Shards side by side compute what one batch computes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supernet import parallel
from supernet.parallel import run_shards
from supernet.parallel import shard_slices
from supernet.parallel import sharded_backward


@given(st.integers(1, 200), st.integers(1, 9))
def test_slices_cover_every_row_once_and_none_is_empty(count: int, shards: int) -> None:
    slices = shard_slices(count, shards)
    assert [row for part in slices for row in range(count)[part]] == list(range(count))
    assert all(part.stop > part.start for part in slices)


def test_results_keep_their_order_and_errors_arrive() -> None:
    assert run_shards(lambda number: number * 10, [3, 1, 2]) == [30, 10, 20]
    with pytest.raises(ZeroDivisionError):
        run_shards(lambda number: 1 // number, [1, 0])


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_sharded_gradients_are_the_batch_s(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    monkeypatch.setattr(parallel, "shard_count", lambda: shards)
    generator = torch.Generator().manual_seed(0)
    rows, target = (torch.randn(7, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    layer = torch.nn.Linear(3, 3).double()
    unused = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def loss_of(part: slice) -> torch.Tensor:
        return (layer(rows[part]).tanh() - target[part]).square().mean()

    expected_loss = loss_of(slice(0, 7))
    expected = torch.autograd.grad(expected_loss, list(layer.parameters()))
    loss = sharded_backward(loss_of, [*layer.parameters(), unused], 7)
    assert loss == pytest.approx(expected_loss.item(), rel=1e-12)
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-12)
    assert unused.grad is not None and not unused.grad.any()
