"""Pareto fronts of objectives that are all minimised: ranks, crowding, hypervolume. Pure numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""Objective values of shape (n, objectives), lower is better."""


def on_front(points: Points) -> npt.NDArray[np.bool_]:
    """Which points no other point dominates, shape (n,); of exactly equal points the first one alone."""
    if points.shape[1] != 2:
        return _on_front_of_many(points)
    kept = np.zeros(len(points), dtype=bool)
    # Ascending in the first objective, then the second, then the place: a point is kept if it beats all before it.
    order = np.lexsort((np.arange(len(points)), points[:, 1], points[:, 0]))
    lowest = np.minimum.accumulate(points[order, 1])
    kept[order] = np.r_[True, points[order, 1][1:] < lowest[:-1]] if len(points) else []
    return kept


def _on_front_of_many(points: Points) -> npt.NDArray[np.bool_]:
    """`on_front` for any number of objectives: each point is set against the front of those before it."""
    front: list[int] = []
    # In this order nothing later dominates anything earlier, and of equals the first comes first.
    for at in np.lexsort((np.arange(len(points)), *points.T[::-1])).tolist():
        if not front or not (points[front] <= points[at]).all(axis=1).any():
            front.append(at)
    kept = np.zeros(len(points), dtype=bool)
    kept[front] = True
    return kept


def ranks(points: Points) -> npt.NDArray[np.int64]:
    """Non-dominated sorting: 0 for the front, 1 for the front without those, and so on, shape (n,)."""
    rank = np.full(len(points), -1, dtype=np.int64)
    level = 0
    while (left := np.flatnonzero(rank < 0)).size:
        rank[left[on_front(points[left])]] = level
        level += 1
    return rank


def crowding(points: Points, rank: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """NSGA-II's crowding distance of each point among those of its rank, infinite at the ends, shape (n,)."""
    distance = np.zeros(len(points))
    for level in np.unique(rank):
        members = np.flatnonzero(rank == level)
        for objective in points[members].T:
            order = np.argsort(objective, kind="stable")
            span = objective[order[-1]] - objective[order[0]]
            if span > 0:
                inner = (objective[order[2:]] - objective[order[:-2]]) / span
                distance[members[order[1:-1]]] += inner
            distance[members[order[[0, -1]]]] = np.inf
    return distance


def hypervolume(points: Points, reference: tuple[float, float]) -> float:
    """Area that points of two objectives dominate below the reference point, in the product of their units.

    With the front ascending in the first objective it is a row of rectangles, so this is exact.
    """
    inside = points[(points < np.asarray(reference)).all(axis=1)]
    front = inside[on_front(inside)]
    front = front[np.argsort(front[:, 0])]
    right = np.r_[front[1:, 0], reference[0]] if len(front) else np.zeros(0)
    return float(np.sum((right - front[:, 0]) * (reference[1] - front[:, 1])))


def scaled(points: Points, front: Points) -> Points:
    """Points where that front's ideal is (0, 0) and its nadir (1, 1); an objective without extent keeps its unit."""
    ideal = front.min(axis=0)
    extent = front.max(axis=0) - ideal
    return (points - ideal) / np.where(extent > 0, extent, 1.0)
