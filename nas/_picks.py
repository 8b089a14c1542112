"""Front and picks of trials: fastest acceptable, balanced, best, and at a value; and which points noise ties."""

from __future__ import annotations

import string
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

import numpy as np

from nas._feasible_region import round_up
from nas._pareto import Points
from nas._pareto import on_front
from nas._pareto import scaled
from nas._problem import Objectives
from subdit.core.quantities import is_latency
from subdit.core.quantities import noun
from subdit.results import PICK_NAMES
from subdit.results import Pick
from subdit.results import Trial

ACCEPTABLE_LOSS_FRACTION = 0.5
"""Fastest acceptable: at most this fraction of the way from the front's lowest quality loss to its highest."""


@dataclass(frozen=True)
class FoundPicks:
    """Trials with front, ties and picks marked in them, the picks, and why one that was asked for is missing."""

    trials: tuple[Trial, ...]
    picks: Mapping[str, Pick]
    missed: Mapping[str, str] = field(default_factory=dict)


def find_picks(
    trials: Sequence[Trial], objectives: Objectives, pick_at: Mapping[str, float] | None = None
) -> FoundPicks:
    """Front and picks of at least one feasible trial; `pick_at` are the largest values of further picks by name."""
    front = pareto(trials, objectives.names)
    # With more than two objectives, picks are taken from the front of the two that they weigh.
    cost, quality = objectives.weighed
    ends = pareto(front, (cost, quality))
    points = np.asarray([(trial.value(cost), trial.value(quality)) for trial in ends], dtype=np.float64)
    chosen = {name: (ends[choice.index], choice.why) for name, choice in choose_picks(points, cost).items()}
    missed = {}
    for figure, limit in (pick_at or {}).items():
        name = pick_name(figure, limit)
        within = [trial for trial in front if trial.value(figure) <= limit]
        if not within:
            least = round_up(min(trial.value(figure) for trial in front))
            missed[name] = f"No point of the front has {figure} of at most {limit:g}; the least is {least}."
            continue
        best = min(within, key=lambda trial: (trial.value(quality), trial.value(figure)))
        why = f"The lowest quality loss of those with {figure} of at most {limit:g} ({best.value(figure):.4g})."
        chosen[name] = (best, why)
    names: dict[int, tuple[str, ...]] = {}
    for name, (trial, _) in chosen.items():
        names[trial.number] = (*names.get(trial.number, ()), name)
    marked = {
        trial.number: replace(trial, on_front=True, tie=tie, picks=names.get(trial.number, ()))
        for trial, tie in zip(front, _ties(front, objectives.names), strict=True)
    }
    picks = {name: Pick(marked[trial.number], why) for name, (trial, why) in chosen.items()}
    return FoundPicks(tuple(marked.get(trial.number, trial) for trial in trials), picks, missed)


def pareto(trials: Sequence[Trial], names: Sequence[str]) -> tuple[Trial, ...]:
    """The feasible trials that no other feasible one dominates, ascending in the first objective."""
    feasible = [trial for trial in trials if trial.feasible]
    points = np.asarray([[trial.value(name) for name in names] for trial in feasible], dtype=np.float64)
    kept = np.flatnonzero(on_front(points.reshape(-1, len(names))))
    return tuple(sorted((feasible[index] for index in kept), key=lambda trial: trial.value(names[0])))


def pick_name(figure: str, limit: float) -> str:
    """What the pick at a value is called."""
    return f"{figure}={limit:g}"


@dataclass(frozen=True)
class Choice:
    """The index of a pick in a front that is ascending in the cost, and one sentence on why it was picked."""

    index: int
    why: str


def choose_picks(front: Points, cost: str = "latency_ms") -> dict[str, Choice]:
    """The picks of a front of (cost, quality loss), shape (n, 2), ascending in the cost, n >= 1.

    `best` has the lowest loss of the front. `fastest` is the cheapest point within `ACCEPTABLE_LOSS_FRACTION` of the
    front's range of loss: the fastest where the figure `cost` is a latency. `balanced` is the knee between the two: the
    point farthest below the straight line from the front's cheap end to its good end, both objectives scaled to the
    front's range. With three points or more the picks are three different ones.
    """
    count = len(front)
    last = count - 1
    unit = scaled(front, front)
    acceptable = int(np.flatnonzero(unit[:, 1] <= ACCEPTABLE_LOSS_FRACTION)[0]) if count > 1 else 0
    fastest = min(acceptable, max(last - 2, 0))
    below_line = 1.0 - unit.sum(axis=1)
    between = np.arange(fastest + 1, last) if count > 2 else np.array([last])
    balanced = int(between[np.argmax(below_line[between])])

    costs, loss = front[:, 0], front[:, 1]
    words = _Words.of(cost)
    place = f"{unit[fastest, 1]:.0%} of the way from the front's lowest quality loss to its highest"
    if fastest == acceptable:
        fastest_why = (
            f"The {words.lowest} of the front's {count} points within {ACCEPTABLE_LOSS_FRACTION:.0%} of its range of "
            f"loss ({place})."
        )
    else:
        fastest_why = (
            f"The front has no point within {ACCEPTABLE_LOSS_FRACTION:.0%} of its range of loss that leaves room for "
            f"the other picks, so this is the {words.most} that does ({place})."
        )
    if count == 1:
        only = "The only point of the front."
        return {name: Choice(0, only) for name in PICK_NAMES}
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
        "fastest": Choice(fastest, fastest_why),
        "balanced": Choice(balanced, balanced_why),
        "best": Choice(last, best_why),
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


def _ties(front: Sequence[Trial], names: Sequence[str]) -> list[str]:
    return mark_ties(
        [[trial.value(name) for name in names] for trial in front],
        [[trial.noise.get(name, 0.0) for name in names] for trial in front],
    )


def mark_ties(points: Sequence[Sequence[float]], noise: Sequence[Sequence[float]]) -> list[str]:
    """A letter for each group of a front's neighbours that noise does not tell apart, empty for points in no group.

    `points` (n, objectives) are in the front's order, `noise` (n, objectives) is half the 95 % interval of each value.
    A group starts with a point and takes in the following ones while each differs from the first, in every objective,
    by less than the noise of a difference of independent values; so a long front is not one single tie.
    """
    marks = [""] * len(points)
    groups, first = 0, 0
    for index in range(1, len(points)):
        gap = np.abs(np.subtract(points[index], points[first]))
        if not (gap <= np.hypot(noise[index], noise[first])).all():
            first = index
            continue
        if not marks[first]:
            marks[first] = _letters(groups)
            groups += 1
        marks[index] = marks[first]
    return marks


def _letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    first, last = divmod(number, 26)
    return (_letters(first - 1) if first else "") + string.ascii_lowercase[last]
