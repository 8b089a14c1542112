"""Pareto fronts of objectives that are all minimised: ranks and crowding of NSGA-II, hypervolume by moocore."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""Objective values of shape (n, objectives), lower is better."""


def on_front(points: Points) -> npt.NDArray[np.bool_]:
    """Which points no other point dominates, shape (n,); of exactly equal points the first one alone."""
    from moocore import is_nondominated

    return np.asarray(is_nondominated(points), dtype=np.bool_)


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


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """Volume that points dominate below the reference point, exact, in the product of their units."""
    from moocore import hypervolume as exact

    return float(exact(points, ref=reference))


def scaled(points: Points, front: Points) -> Points:
    """Points where that front's ideal is (0, 0) and its nadir (1, 1); an objective without extent keeps its unit."""
    ideal = front.min(axis=0)
    extent = front.max(axis=0) - ideal
    return (points - ideal) / np.where(extent > 0, extent, 1.0)
