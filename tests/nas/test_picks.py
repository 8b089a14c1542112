"""What the three picks mean."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nas._picks import ACCEPTABLE_LOSS_SHARE
from nas._picks import PICK_NAMES
from nas._picks import choose_picks
from nas._picks import mark_ties


@st.composite
def fronts(draw: st.DrawFn) -> np.ndarray:
    count = draw(st.integers(1, 12))
    steps = st.lists(st.floats(0.01, 10), min_size=count, max_size=count)
    return np.c_[np.cumsum(draw(steps)), np.cumsum(draw(steps))[::-1]]


@given(fronts())
def test_picks_keep_their_promises(front: np.ndarray) -> None:
    picks = choose_picks(front)
    assert tuple(picks) == PICK_NAMES
    fastest, balanced, best = (picks[name].index for name in PICK_NAMES)
    assert best == np.argmin(front[:, 1])
    if len(front) >= 3:
        assert fastest < balanced < best
    share = (front[:, 1] - front[-1, 1]) / max(front[0, 1] - front[-1, 1], 1e-300)
    acceptable = np.flatnonzero(share <= ACCEPTABLE_LOSS_SHARE)[0]
    # Nothing acceptable is faster; it is not acceptable itself only where the front ends too soon after.
    assert fastest <= acceptable
    assert fastest == acceptable or acceptable > len(front) - 3
    for pick in picks.values():
        assert pick.why.endswith(".") and pick.why.count("\n") == 0


def test_knee_of_a_bent_front() -> None:
    front = np.array([[1.0, 10.0], [2.0, 5.0], [3.0, 2.0], [4.0, 1.8], [9.0, 1.0]])
    picks = choose_picks(front)
    assert [picks[name].index for name in PICK_NAMES] == [1, 2, 4]
    assert "67% faster" in picks["balanced"].why


def test_small_fronts() -> None:
    assert {pick.index for pick in choose_picks(np.array([[1.0, 1.0]])).values()} == {0}
    two = choose_picks(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert [two[name].index for name in PICK_NAMES] == [0, 1, 1]


def test_ties_are_neighbours_within_noise() -> None:
    points = [[1.0, 9.0], [1.1, 8.9], [2.0, 5.0], [2.1, 5.0], [2.2, 4.9], [3.0, 1.0]]
    noise = [[0.1, 0.1]] * 6
    assert mark_ties(points, noise) == ["a", "a", "b", "b", "", ""]
    # Close in one objective alone is no tie, and what is exact ties with nothing.
    assert mark_ties(points, [[1.0, 0.0]] * 6)[0] == ""
    assert mark_ties(points, [[0.0, 0.0]] * 6) == [""] * 6
    many = mark_ties([[float(at // 2), 0.0] for at in range(60)], [[0.1, 0.1]] * 60)
    assert many[0] == "a" and many[51] == "z" and many[52] == "aa" and many[-1] == "ad"
