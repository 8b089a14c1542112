"""What the three picks mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nas._costs import exact_cost
from nas._loop import run_search
from nas._picks import ACCEPTABLE_LOSS_FRACTION
from nas._picks import choose_picks
from nas._picks import mark_ties
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import PICK_NAMES
from tests.nas import analytic


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
    acceptable = np.flatnonzero(share <= ACCEPTABLE_LOSS_FRACTION)[0]
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


def test_what_is_no_latency_is_not_called_fast() -> None:
    front = np.array([[1.0, 10.0], [2.0, 5.0], [3.0, 2.0], [4.0, 1.8], [9.0, 1.0]])
    short = np.array([[1.0, 10.0], [2.0, 9.0], [3.0, 8.0], [9.0, 1.0]])
    for cost, words in (("file_mb", "file size"), ("params", "number of parameters"), ("memory_mb", "peak memory")):
        sentences = [pick.why for points in (front, short) for pick in choose_picks(points, cost).values()]
        assert not [why for why in sentences if any(said in why for said in ("fast", "slow", "latency"))]
        assert f"67% lower {words} than the best pick" in choose_picks(front, cost)["balanced"].why
        assert choose_picks(front, cost)["fastest"].why.startswith(f"The lowest {words} of the front's 5 points")
    for cost in ("pipeline_ms", "latency_ms@tablet/litert/fp32/t1"):
        assert choose_picks(front, cost) == choose_picks(front)


def test_a_search_for_small_files_says_so(tmp_path: Path) -> None:
    functions = {"file_mb": exact_cost("file_mb", analytic.tables().space, "fp32")}
    table = dataclasses.replace(analytic.tables(), functions=functions)
    start_manifest(Run(tmp_path / "run"), space="digits")
    problem = analytic.problem(table=table, costs=("file_mb",), surrogate=False, trials=25)
    found = run_search(Run(tmp_path / "run"), "default", problem)
    assert "lower file size than the best pick" in found.picks["balanced"].why


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
