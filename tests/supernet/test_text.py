"""Dropping text encoders in training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.data.text import drop_encoders


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.floats(0, 1), st.integers(0, 99))
def test_whole_encoders_go_and_one_always_stays(tokens: list[int], probability: float, seed: int) -> None:
    mask = drop_encoders(tokens, 20, probability=probability, rng=np.random.default_rng(seed))
    assert mask.shape == (20, sum(tokens)) and mask.dtype == bool
    parts = np.split(mask, np.cumsum(tokens)[:-1], axis=1)
    assert all((part == part[:, :1]).all() for part in parts)
    assert mask.any(axis=1).all()
    if probability == 0 or len(tokens) == 1:
        assert mask.all()


def test_each_goes_as_often_as_asked() -> None:
    mask = drop_encoders([2, 3], 40_000, probability=0.3, rng=np.random.default_rng(0))
    first, second = mask[:, 0], mask[:, 2]
    # Where both would go (.09), one stays, either as often.
    assert (~first & second).mean() == pytest.approx(0.3 * 0.7 + 0.09 / 2, abs=0.01)
    assert (first & ~second).mean() == pytest.approx(0.3 * 0.7 + 0.09 / 2, abs=0.01)
    assert (first & second).mean() == pytest.approx(0.49, abs=0.01)
