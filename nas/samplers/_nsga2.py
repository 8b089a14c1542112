"""NSGA-II's proposals without memory: a pure function of the seed, the evaluations so far and the cost table.

NSGA-II: Deb et al., "A fast and elitist multiobjective genetic algorithm", IEEE TEC 6(2), 2002. Steady state: the
parents are the best `POPULATION` of all evaluations so far, and each proposal is one child. No state is kept between
proposals, so a search that was killed continues with the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas._costs import CostTable
from nas._feasible_region import FeasibleRegion
from nas._pareto import Points
from nas._pareto import crowding
from nas._pareto import ranks
from subdit.core.quantities import LATENCY
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace

POPULATION = 20
WARM_UP = 20
"""Proposals before the first child: the initial points, then specs spread evenly over latency."""
BATCH = 32
"""Candidates drawn at once; the first that is new and keeps the constraints is taken."""
BATCHES = 16
"""Batches drawn before the space is enumerated instead."""
CROSSOVER_FRACTION = 0.9
STAGE_FRACTION = 0.5
"""Fraction of crossovers that keep the dimensions of a stage together: they are tuned to one another."""
NEIGHBOUR_FRACTION = 0.8
"""Fraction of mutations that go to the next listed value rather than to any."""


@dataclass(frozen=True)
class Evaluated:
    """Encoded specs proposed so far, (n, dimensions), and their objective values, (n, objectives).

    A quality is NaN where another worker's evaluation is not finished. `excess` (n,) is how far limits on qualities are
    exceeded, None where there are none.
    """

    encoded: EncodedSpecs
    points: Points
    excess: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Proposal:
    """A new spec that keeps the constraints.

    Attributes:
        row: the spec, encoded, shape (dimensions,).
        rejected: candidates beyond the constraints that were drawn before this one.
        candidates_scored: candidates that the surrogate predicted.
    """

    row: npt.NDArray[np.int64]
    rejected: int
    candidates_scored: int = 0


def initial_rows(space: SearchSpace, tables: CostTable, region: FeasibleRegion) -> EncodedSpecs:
    """Specs that every search starts with: the extrema of each cost and the named points, within the constraints."""
    ends = [region.fastest.spec, region.slowest.spec, region.smallest.spec, region.largest.spec]
    ends += [extreme.spec for extreme in region.least.values()]
    named = space.encode(space.named.values())
    keeping = space.decode(named[tables.look_up(named).feasible]) if len(named) else []
    return space.encode(dict.fromkeys([*ends, *keeping]))


def propose(
    tables: CostTable,
    *,
    seed: int,
    initial: EncodedSpecs,
    evaluated: Evaluated,
    number: int | None = None,
    objective: str = LATENCY,
) -> Proposal | None:
    """The next spec to evaluate, or None where every feasible one was evaluated already.

    Args:
        number: of the trial, by default the number of those before it; what is drawn depends on it.
        objective: the figure over which the first specs are spread, and first of `evaluated.points`.
    """
    number = len(evaluated.encoded) if number is None else number
    rng = np.random.default_rng([seed, number])
    seen = seen_rows(evaluated)
    if (first := next_initial(initial, seen, number)) is not None:
        return first
    rejected = 0
    warming_up = number < WARM_UP or not finished(evaluated).any()
    for _ in range(BATCHES):
        batch = tables.space.sample(rng, BATCH) if warming_up else children(tables.space, evaluated, rng, BATCH)
        known = tables.look_up(batch)
        new = is_new(batch, seen)
        usable = np.flatnonzero(new & known.feasible)
        if not usable.size:
            rejected += int((new & ~known.feasible).sum())
            continue
        if warming_up:
            index = usable[np.argmax(_gaps(known.figures[objective][usable], evaluated.points[:, 0]))]
            return Proposal(batch[index], rejected + int((new & ~known.feasible).sum()))
        index = usable[0]
        return Proposal(batch[index], rejected + int((new & ~known.feasible)[:index].sum()))
    return first_unvisited(tables, seen, rng, rejected)


def next_initial(initial: EncodedSpecs, seen: set[bytes], number: int) -> Proposal | None:
    """The initial point of this trial's number, or the first that is left; None where each was proposed."""
    left = [row for row in initial if row.tobytes() not in seen]
    if not left:
        return None
    # Workers that ask at the same moment have trials of different numbers, so they get different points.
    own = initial[number] if number < len(initial) else left[number % len(left)]
    return Proposal(own if own.tobytes() not in seen else left[number % len(left)], 0)


def seen_rows(evaluated: Evaluated) -> set[bytes]:
    """What was proposed so far, by content."""
    return {row.tobytes() for row in np.ascontiguousarray(evaluated.encoded)}


def is_new(batch: EncodedSpecs, seen: set[bytes]) -> npt.NDArray[np.bool_]:
    """Which rows are not in `seen`, shape (n,)."""
    return np.fromiter((row.tobytes() not in seen for row in batch), dtype=bool, count=len(batch))


def finished(evaluated: Evaluated) -> npt.NDArray[np.bool_]:
    """Which evaluations are finished, shape (n,)."""
    done: npt.NDArray[np.bool_] = ~np.isnan(evaluated.points).any(axis=1)
    return done


def _gaps(latency_ms: npt.NDArray[np.float64], taken_ms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far each latency, or other figure, is from the nearest one that was evaluated, in its logarithm."""
    if not taken_ms.size:
        return np.zeros(len(latency_ms))
    distance: npt.NDArray[np.float64] = np.abs(np.log(latency_ms)[:, None] - np.log(taken_ms)[None, :]).min(axis=1)
    return distance


def children(space: SearchSpace, evaluated: Evaluated, rng: np.random.Generator, count: int) -> EncodedSpecs:
    """Children of the best evaluated specs: tournament, crossover, mutation; shape (count, dimensions)."""
    done = np.flatnonzero(finished(evaluated))
    points = evaluated.points[done]
    rank = ranks(points)
    distance = crowding(points, rank)
    # Constrained domination (Deb et al., section VI): what keeps the limits first, then what exceeds them least. No
    # point beyond a limit on an objective dominates one within it, so ranks need not consider limits.
    excess = np.zeros(len(points)) if evaluated.excess is None else evaluated.excess[done]
    order = np.lexsort((np.arange(len(points)), -distance, rank, excess))[:POPULATION]
    population = evaluated.encoded[done[order]]
    # The population is in order of fitness, so a tournament's winner is the lower place.
    winners = rng.integers(0, len(population), size=(2, count, 2)).min(axis=2)
    first, second = population[winners[0]], population[winners[1]]
    return mutate(space, cross(space, first, second, rng), rng)


def cross(space: SearchSpace, first: EncodedSpecs, second: EncodedSpecs, rng: np.random.Generator) -> EncodedSpecs:
    """Crossover: each dimension from either parent, or each stage whole; some children are the first parent."""
    stages = stages_of(space)
    by_stage = rng.random((len(first), 1)) < STAGE_FRACTION
    from_second = np.where(
        by_stage, (rng.random((len(first), stages.max() + 1)) < 0.5)[:, stages], rng.random(first.shape) < 0.5
    )
    from_second &= rng.random((len(first), 1)) < CROSSOVER_FRACTION
    return np.where(from_second, second, first)


def stages_of(space: SearchSpace) -> npt.NDArray[np.int64]:
    """A number for each dimension, shape (dimensions,): equal for those of one stage, others have one of their own."""
    owners = [column.stage or column.label for column in space.columns]
    return np.asarray([owners.index(owner) for owner in owners], dtype=np.int64)


def mutate(space: SearchSpace, encoded: EncodedSpecs, rng: np.random.Generator) -> EncodedSpecs:
    """Change each dimension with chance 1 in dimensions, at least one; values are ordinal, so mostly to a neighbour."""
    sizes = np.asarray([len(values) for values in space.dimensions.values()])
    elastic = np.flatnonzero(sizes > 1)
    if not elastic.size:
        return encoded
    count = len(encoded)
    changed = np.zeros(encoded.shape, dtype=bool)
    changed[:, elastic] = rng.random((count, elastic.size)) < 1.0 / elastic.size
    changed[np.arange(count), rng.choice(elastic, size=count)] = True
    step = np.where(rng.random(encoded.shape) < 0.5, -1, 1)
    # At an end there is one neighbour only.
    step = np.where((encoded + step < 0) | (encoded + step >= sizes), -step, step)
    other = (encoded + rng.integers(1, np.maximum(sizes, 2), size=encoded.shape)) % sizes
    to_neighbour = rng.random(encoded.shape) < NEIGHBOUR_FRACTION
    return np.where(changed, np.where(to_neighbour, encoded + step, other), encoded)


def first_unvisited(tables: CostTable, seen: set[bytes], rng: np.random.Generator, rejected: int) -> Proposal | None:
    """The first new feasible spec of an enumeration that starts at a random chunk, for where draws find none."""
    chunks = list(range(0, tables.space.size, 4096))
    for number in np.roll(chunks, -int(rng.integers(len(chunks)))):
        chunk = tables.space.enumerate(int(number), int(number) + 4096)
        for row in rng.permutation(chunk[tables.look_up(chunk).feasible]):
            if row.tobytes() not in seen:
                return Proposal(row, rejected)
    return None


def evaluated_from(
    space: SearchSpace,
    rows: Sequence[npt.NDArray[np.int64]],
    points: Sequence[Sequence[float]],
    objectives: int = 2,
) -> Evaluated:
    """`Evaluated` of lists, empty ones too."""
    return Evaluated(
        np.asarray(rows, dtype=np.int64).reshape(-1, len(space.dimensions)),
        np.asarray(points, dtype=np.float64).reshape(-1, objectives),
    )
