"""The three named points of a front: fastest acceptable, balanced, best; and which points noise does not tell apart."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas._pareto import Points
from nas._pareto import scaled
from subdit.core.quantities import is_latency
from subdit.core.quantities import noun

PICK_NAMES = ("fastest", "balanced", "best")

ACCEPTABLE_LOSS_SHARE = 0.5
"""Fastest acceptable: at most this share of the way from the front's lowest quality loss to its highest."""


@dataclass(frozen=True)
class Pick:
    """A named point of a front.

    Attributes:
        index: its place in the front, which is ascending in latency.
        why: one sentence for people.
    """

    index: int
    why: str


def choose_picks(front: Points, cost: str = "latency_ms") -> dict[str, Pick]:
    """The picks of a front of (cost, quality loss), shape (n, 2), ascending in the cost, n >= 1.

    `best` has the lowest loss of the front, `fastest` is the cheapest point within `ACCEPTABLE_LOSS_SHARE` of the
    front's range of loss, the fastest where the figure `cost` is a latency. `balanced` is the knee between the two: the
    point farthest below the straight line from the front's cheap end to its good end, both objectives scaled to the
    front's range. With three points or more the picks are three different ones.
    """
    count = len(front)
    last = count - 1
    unit = scaled(front, front)
    acceptable = int(np.flatnonzero(unit[:, 1] <= ACCEPTABLE_LOSS_SHARE)[0]) if count > 1 else 0
    fastest = min(acceptable, max(last - 2, 0))
    below_line = 1.0 - unit.sum(axis=1)
    between = np.arange(fastest + 1, last) if count > 2 else np.array([last])
    balanced = int(between[np.argmax(below_line[between])])

    costs, loss = front[:, 0], front[:, 1]
    words = _Words.of(cost)
    share = f"{unit[fastest, 1]:.0%} of the way from the front's lowest quality loss to its highest"
    if fastest == acceptable:
        fastest_why = (
            f"The {words.lowest} of the front's {count} points within {ACCEPTABLE_LOSS_SHARE:.0%} of its range of loss "
            f"({share})."
        )
    else:
        fastest_why = (
            f"The front has no point within {ACCEPTABLE_LOSS_SHARE:.0%} of its range of loss that leaves room for the "
            f"other picks, so this is the {words.most} that does ({share})."
        )
    if count == 1:
        only = "The only point of the front."
        return {name: Pick(0, only) for name in PICK_NAMES}
    best_why = f"The lowest quality loss of the front's {count} points ({loss[last]:.4g}), and its {words.highest}."
    if count == 2:
        balanced_why = "The front has two points; this is the better of them, as there is none between."
    else:
        saved = 1.0 - costs[balanced] / costs[last]
        balanced_why = (
            f"The knee of the front between the other two picks: {saved:.0%} {words.lower} than the best pick for "
            f"{unit[balanced, 1]:.0%} of the front's range of quality loss."
        )
    return {
        "fastest": Pick(fastest, fastest_why),
        "balanced": Pick(balanced, balanced_why),
        "best": Pick(last, best_why),
    }


@dataclass(frozen=True)
class _Words:
    """How the ends of a front are called in sentences."""

    lowest: str
    highest: str
    most: str
    lower: str

    @classmethod
    def of(cls, cost: str) -> _Words:
        if is_latency(cost):
            return cls("fastest", "slowest", "slowest", "faster")
        what = noun(cost)
        return cls(f"lowest {what}", f"highest {what}", f"one with the highest {what}", f"lower {what}")


def mark_ties(points: Sequence[Sequence[float]], noise: Sequence[Sequence[float]]) -> list[str]:
    """A letter for each group of a front's neighbours that noise does not tell apart, empty for those that stand alone.

    `points` are in the front's order, `noise` is half the 95 % interval of each objective. A group begins with a point
    and takes in those that follow as long as they differ from that first one, in every objective, by less than the
    noise of the difference of independent figures; so a long front is no single tie.
    """
    marks = [""] * len(points)
    groups, first = 0, 0
    for at in range(1, len(points)):
        gap = np.abs(np.subtract(points[at], points[first]))
        if not (gap <= np.hypot(noise[at], noise[first])).all():
            first = at
            continue
        if not marks[first]:
            marks[first] = _letters(groups)
            groups += 1
        marks[at] = marks[first]
    return marks


def _letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    first, last = divmod(number, 26)
    return (_letters(first - 1) if first else "") + string.ascii_lowercase[last]
