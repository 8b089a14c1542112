"""Which spec to evaluate next: the samplers, each a pure function of seed, trial number and what was evaluated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nas._config import MOST_EXHAUSTIVE
from nas._config import SAMPLERS
from nas._config import SearchConfig
from nas._costs import CostTable
from nas._pareto import Points
from nas._pareto import hypervolume
from nas._pareto import on_front
from nas._pareto import scaled
from nas._problem import Objectives
from nas.samplers._nsga2 import BATCH
from nas.samplers._nsga2 import BATCHES
from nas.samplers._nsga2 import WARM_UP
from nas.samplers._nsga2 import Evaluated
from nas.samplers._nsga2 import Proposal
from nas.samplers._nsga2 import children
from nas.samplers._nsga2 import finished
from nas.samplers._nsga2 import first_unvisited
from nas.samplers._nsga2 import is_new
from nas.samplers._nsga2 import next_initial
from nas.samplers._nsga2 import propose
from nas.samplers._nsga2 import seen_rows
from nas.samplers._surrogate import FEWEST
from nas.samplers._surrogate import latest_surrogate
from subdit.core.errors import SearchError
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace

Floats = npt.NDArray[np.float64]

POOL = 2048
"""Candidates that the surrogate predicts for one proposal."""
PLAIN_EVERY = 8
"""Each trial whose number is a multiple of this is a child that the surrogate did not choose: it may be wrong."""
FIT_EVERY = 4
REFERENCE = 1.1
"""Of hypervolumes, where the front's ideal is 0 and its nadir 1."""


def next_spec(
    tables: CostTable,
    config: SearchConfig,
    objectives: Objectives,
    *,
    initial: EncodedSpecs,
    evaluated: Evaluated,
    number: int,
) -> Proposal | None:
    """The spec of trial `number`, or None where every feasible one was evaluated already."""
    if config.sampler == "nsga2" and config.surrogate and number % PLAIN_EVERY and number >= max(FEWEST, WARM_UP):
        from threadpoolctl import threadpool_limits

        # Products this small gain nothing from a second thread, and wait for it where others use the machine.
        with threadpool_limits(1):
            guided = _guided(tables, config.seed, objectives, initial=initial, evaluated=evaluated, number=number)
        if guided is not None:
            return guided
    if config.sampler == "nsga2":
        return propose(
            tables,
            seed=config.seed,
            initial=initial,
            evaluated=evaluated,
            number=number,
            objective=objectives.costs[0],
        )
    if config.sampler == "random":
        return _random(tables, config.seed, evaluated, number)
    if config.sampler == "exhaustive":
        return _exhaustive(tables, evaluated)
    raise SearchError(f"The sampler {config.sampler!r} is Optuna's own; there is {', '.join(SAMPLERS)}.")


def check_sampler(sampler: str, feasible: int, trials: int | None = None) -> None:
    """Raises `SearchError` where an exhaustive sampler has too many sub-DiTs to evaluate, or too few trials."""
    if sampler == "exhaustive" and feasible > MOST_EXHAUSTIVE:
        raise SearchError(
            f"There are {feasible:,} sub-DiTs within the constraints, too many to evaluate each (at most "
            f"{MOST_EXHAUSTIVE:,}); set tighter constraints or take another sampler."
        )
    if sampler == "exhaustive" and trials is not None and trials < feasible:
        # They would be the first of an enumeration, all from one corner of the space.
        raise SearchError(
            f"There are {feasible:,} sub-DiTs within the constraints and exhaustive evaluates each, which {trials} "
            "trials do not; leave --trials out, or take another sampler."
        )


def _random(tables: CostTable, seed: int, evaluated: Evaluated, number: int) -> Proposal | None:
    rng = np.random.default_rng([seed, number])
    seen, rejected = seen_rows(evaluated), 0
    for _ in range(BATCHES):
        batch = tables.space.sample(rng, BATCH)
        new, feasible = is_new(batch, seen), tables.look_up(batch).feasible
        usable = np.flatnonzero(new & feasible)
        before = usable[0] if usable.size else len(batch)
        rejected += int((new & ~feasible)[:before].sum())
        if usable.size:
            return Proposal(batch[before], rejected)
    return first_unvisited(tables, seen, rng, rejected)


def _exhaustive(tables: CostTable, evaluated: Evaluated) -> Proposal | None:
    seen = seen_rows(evaluated)
    for chunk in tables.chunks():
        for row in chunk[tables.look_up(chunk).feasible]:
            if row.tobytes() not in seen:
                return Proposal(row, 0)
    return None


def nearest_usable(
    tables: CostTable, row: npt.NDArray[np.int64], evaluated: Evaluated, seed: Sequence[int]
) -> Proposal | None:
    """The spec itself where it is new and feasible, else the nearest such spec found around it.

    For samplers that know no cost table. Distance is in steps along the dimensions' lists of values.
    """
    rng = np.random.default_rng(seed)
    seen, rejected = seen_rows(evaluated), 0
    sizes = np.asarray([len(values) for values in tables.space.dimensions.values()])
    batch = np.asarray([row], dtype=np.int64)
    for reach in range(1, BATCHES + 1):
        new, feasible = is_new(batch, seen), tables.look_up(batch).feasible
        usable = np.flatnonzero(new & feasible)
        if usable.size:
            nearest = usable[np.argmin(np.abs(batch[usable] - row).sum(axis=1))]
            return Proposal(batch[nearest], rejected)
        rejected += int(reach == 1)
        # At most 1, then 2, ... steps in each of a few dimensions.
        moved = rng.random((8 * BATCH, len(sizes))) < min(1.0, reach / 4)
        steps = rng.integers(-reach, reach + 1, size=moved.shape)
        batch = np.clip(row + np.where(moved, steps, 0), 0, sizes - 1)
    return first_unvisited(tables, seen, rng, rejected)


# With a surrogate ---------------------------------------------------------------------------------------------------


def _guided(
    tables: CostTable,
    seed: int,
    objectives: Objectives,
    *,
    initial: EncodedSpecs,
    evaluated: Evaluated,
    number: int,
) -> Proposal | None:
    """Of a pool of children and random specs the one that adds most hypervolume, as predicted by drawn surrogates."""
    done = finished(evaluated)
    seen = seen_rows(evaluated)
    if int(done.sum()) < FEWEST or next_initial(initial, seen, number) is not None:
        return None
    rng = np.random.default_rng([seed, number])
    pool = np.concatenate(
        [children(tables.space, evaluated, rng, 3 * POOL // 4), tables.space.sample(rng, POOL // 4)]
    )  # fmt: skip
    pool = pool[np.unique(numbers(tables.space, pool), return_index=True)[1]]
    known = tables.look_up(pool)
    new = ~np.isin(numbers(tables.space, pool), numbers(tables.space, evaluated.encoded))
    usable = np.flatnonzero(new & known.feasible)
    if not usable.size:
        return None
    # Beyond a hundred evaluations one more changes little: one fit then serves for `FIT_EVERY` proposals.
    fitted = np.flatnonzero(done)
    fitted = fitted[: len(fitted) // FIT_EVERY * FIT_EVERY] if len(fitted) > 100 else fitted
    columns = [known.figures[name][usable] for name in objectives.costs]
    for index in range(len(objectives.costs), len(objectives.names)):
        surrogate = latest_surrogate(tables.space, evaluated.encoded[fitted], evaluated.points[fitted, index])
        columns.append(surrogate.predict_drawn(pool[usable], surrogate.draw(rng)))
    points, candidates = evaluated.points[done], np.stack(columns, axis=1)
    kept = objectives.excess(points) == 0
    if kept.any():
        front = points[kept][on_front(points[kept])]
        gain = hypervolume_improvement(scaled(candidates, front), scaled(front, front))
        gain[objectives.excess(candidates) > 0] = 0.0
        if not gain.max() > 0:
            return None
    else:
        # Nothing keeps the limits on quality yet, so the search goes toward them first.
        gain = -objectives.excess(candidates)
    return Proposal(pool[usable[np.argmax(gain)]], int((new & ~known.feasible).sum()), candidates_scored=len(usable))


def numbers(space: SearchSpace, encoded: EncodedSpecs) -> npt.NDArray[np.int64]:
    """The number of each spec in the space's enumeration, shape (n,)."""
    return np.ravel_multi_index(tuple(encoded.T), [len(values) for values in space.dimensions.values()])


def hypervolume_improvement(candidates: Points, front: Points) -> Floats:
    """Hypervolume that each candidate (n, objectives) would add to a scaled front, shape (n,)."""
    if candidates.shape[1] == 2:
        # The front is a staircase, over which all candidates are compared at once.
        order = np.argsort(front[:, 0])
        x, y = front[order, 0], front[order, 1]
        left, right = np.r_[-np.inf, x], np.r_[x, REFERENCE]
        height = np.r_[REFERENCE, np.minimum(y, REFERENCE)]
        wide = np.maximum(np.minimum(right, REFERENCE) - np.maximum(left, candidates[:, :1]), 0.0)
        high = np.maximum(height - candidates[:, 1:], 0.0)
        return np.asarray((wide * high).sum(axis=1))
    reference = [REFERENCE] * candidates.shape[1]
    # A candidate adds its own box less what the front covers of it. Few points of the front count within a box.
    boxes = np.prod(np.maximum(REFERENCE - candidates, 0.0), axis=1)
    dominated = (front[None] <= candidates[:, None]).all(axis=2).any(axis=1)
    gains = np.zeros(len(candidates))
    for index in np.flatnonzero((boxes > 0) & ~dominated):
        covered = np.maximum(front, candidates[index])
        gains[index] = max(boxes[index] - hypervolume(covered[on_front(covered)], reference), 0.0)
    return gains
