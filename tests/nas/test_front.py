"""Fronts, ranks, crowding and hypervolume against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas._pareto import crowding
from nas._pareto import hypervolume
from nas._pareto import on_front
from nas._pareto import ranks
from nas._pareto import scaled

# Whole numbers, so that ties are common.
point_lists = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=25)


def dominates(first: np.ndarray, second: np.ndarray) -> bool:
    return bool((first <= second).all() and (first < second).any())


@given(point_lists)
def test_front_is_what_nothing_dominates(listed: list[tuple[int, int]]) -> None:
    points = np.asarray(listed, dtype=np.float64)
    kept = on_front(points)
    for at, point in enumerate(points):
        dominated = any(dominates(other, point) for other in points)
        seen_before = any((other == point).all() for other in points[:at])
        assert kept[at] == (not dominated and not seen_before)


@given(point_lists)
def test_ranks_peel_front_after_front(listed: list[tuple[int, int]]) -> None:
    points = np.unique(np.asarray(listed, dtype=np.float64), axis=0)
    rank = ranks(points)
    for at, point in enumerate(points):
        better = [rank[other] for other in range(len(points)) if dominates(points[other], point)]
        assert rank[at] == (max(better) + 1 if better else 0)


def test_crowding_of_a_row_of_points() -> None:
    points = np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 2.0], [4.0, 0.0]])
    distance = crowding(points, np.zeros(4, dtype=np.int64))
    assert distance.tolist() == [np.inf, 3 / 4 + 2 / 4, 3 / 4 + 3 / 4, np.inf]


@given(point_lists)
def test_hypervolume_counts_dominated_unit_squares(listed: list[tuple[int, int]]) -> None:
    points = np.asarray(listed, dtype=np.float64)
    corners = np.stack(np.meshgrid(np.arange(7), np.arange(7)), axis=-1).reshape(-1, 2)
    dominated = (points[:, None, :] <= corners[None]).all(axis=2).any(axis=0)
    assert hypervolume(points, (7.0, 7.0)) == dominated.sum()


def test_hypervolume_against_optuna_and_monte_carlo() -> None:
    from optuna._hypervolume import compute_hypervolume

    rng = np.random.default_rng(3)
    points = rng.random((60, 2)) * 1.3
    area = hypervolume(points, (1.1, 1.1))
    inside = points[(points < 1.1).all(axis=1)]
    assert area == pytest.approx(compute_hypervolume(inside, np.array([1.1, 1.1])), rel=1e-12)
    thrown = rng.random((200_000, 2)) * 1.1
    front = points[on_front(points)]
    hit = (front[:, None, :] <= thrown[None]).all(axis=2).any(axis=0).mean() * 1.1**2
    assert area == pytest.approx(hit, abs=0.01)


def test_hypervolume_of_nothing_inside_is_zero() -> None:
    assert hypervolume(np.array([[1.1, 0.0], [2.0, 2.0]]), (1.1, 1.1)) == 0.0
    assert hypervolume(np.zeros((0, 2)), (1.1, 1.1)) == 0.0


def test_scaled_puts_ideal_and_nadir_at_zero_and_one() -> None:
    front = np.array([[2.0, 30.0], [4.0, 10.0]])
    assert scaled(front, front).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert scaled(np.array([[3.0, 50.0]]), front).tolist() == [[0.5, 2.0]]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=25))
def test_front_of_three_objectives_is_what_nothing_dominates(listed: list[tuple[int, int, int]]) -> None:
    points = np.array(listed, dtype=np.float64)
    kept = on_front(points)
    for at, point in enumerate(points):
        beaten = any(dominates(other, point) for other in points)
        first = not any((points[before] == point).all() for before in range(at))
        assert kept[at] == (not beaten and first)
