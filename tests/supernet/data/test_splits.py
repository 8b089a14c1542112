"""The division into train, validation and judge: a function of the group alone, in the fractions asked for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subdit.core.errors import DataError
from supernet.data.splits import SPLITS
from supernet.data.splits import SplitRule


@given(st.floats(0, 0.5), st.floats(0, 0.4), st.integers(0, 9))
def test_fractions_are_kept(validation: float, judge: float, seed: int) -> None:
    rule = SplitRule(validation, judge, seed)
    counts = Counter(rule.split(str(group)) for group in range(2000))
    for split, fraction in zip(SPLITS, (1 - validation - judge, validation, judge), strict=True):
        # Five standard deviations of a binomial count.
        assert abs(counts[split] - 2000 * fraction) <= 5 * (2000 * fraction * (1 - fraction)) ** 0.5 + 1e-9


def test_a_group_is_where_it_is_whatever_else_there_is() -> None:
    rule = SplitRule()
    assert [rule.split("a"), rule.split("b")] == [SplitRule().split("a"), SplitRule().split("b")]
    # Growing a split only adds to it.
    smaller, larger = SplitRule(0, 0.1), SplitRule(0, 0.3)
    groups = list(map(str, range(500)))
    judged = {group for group in groups if smaller.split(group) == "judge"}
    assert judged < {group for group in groups if larger.split(group) == "judge"}
    assert judged != {group for group in groups if SplitRule(0, 0.1, seed=1).split(group) == "judge"}


@pytest.mark.parametrize(("validation", "judge"), [(-0.1, 0), (0.5, 0.5), (0, 1), (float("nan"), 0)])
def test_fractions_that_leave_nothing_are_refused(validation: float, judge: float) -> None:
    with pytest.raises(DataError, match="leave nothing to train on"):
        SplitRule(validation, judge)
