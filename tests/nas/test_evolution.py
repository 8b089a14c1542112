"""Proposals: inside the space, new, within limits, and the same whenever they are drawn."""

from __future__ import annotations

import numpy as np

from nas._costs import CostTable
from nas._feasible_region import find_feasible_region
from nas.samplers._nsga2 import NEIGHBOUR_FRACTION
from nas.samplers._nsga2 import evaluated_from
from nas.samplers._nsga2 import initial_rows
from nas.samplers._nsga2 import mutate
from nas.samplers._nsga2 import propose
from tests.nas import analytic


def run(tables: CostTable, count: int, seed: int = 0) -> list[np.ndarray]:
    loss = analytic.Loss(tables.space)
    initial = initial_rows(tables.space, tables, find_feasible_region(tables))
    rows: list[np.ndarray] = []
    points: list[tuple[float, float]] = []
    for _ in range(count):
        evaluated = evaluated_from(tables.space, rows, points)
        proposal = propose(tables, seed=seed, initial=initial, evaluated=evaluated)
        again = propose(tables, seed=seed, initial=initial, evaluated=evaluated)
        if proposal is None:
            assert again is None
            break
        assert again is not None and (again.row == proposal.row).all()
        rows.append(proposal.row)
        known = tables.look_up(proposal.row[None])
        assert known.feasible[0]
        points.append((float(known.latency_ms[0]), loss.evaluate(tables.space.decode(proposal.row[None])[0])))
    return rows


def test_proposals_are_new_and_keep_tight_limits() -> None:
    tightest = find_feasible_region(analytic.tables()).fastest.latency_ms
    tables = analytic.tables({"latency_ms": 1.3 * tightest})
    rows = run(tables, 80)
    assert len({row.tobytes() for row in rows}) == 80


def test_seeds_differ_but_begin_alike() -> None:
    tables = analytic.tables()
    first, second = run(tables, 40, seed=0), run(tables, 40, seed=1)
    begin = len(initial_rows(tables.space, tables, find_feasible_region(tables)))
    assert (np.asarray(first[:begin]) == np.asarray(second[:begin])).all()
    assert {row.tobytes() for row in first[begin:]} != {row.tobytes() for row in second[begin:]}


def test_a_little_space_is_used_up_to_the_last() -> None:
    space = analytic.little_space()
    tables = CostTable(space, analytic.Latency(space), analytic.params)
    rows = run(tables, space.size + 5)
    assert len(rows) == space.size == len({row.tobytes() for row in rows})


def test_initial_points_are_the_ends_and_the_named_ones_within_limits() -> None:
    free = analytic.tables()
    reach = find_feasible_region(free)
    initial = set(free.space.decode(initial_rows(free.space, free, reach)))
    assert {reach.fastest.spec, reach.slowest.spec, *free.space.named.values()} <= initial
    tight = analytic.tables({"latency_ms": 1.1 * reach.fastest.latency_ms})
    kept = initial_rows(tight.space, tight, find_feasible_region(tight))
    assert tight.look_up(kept).feasible.all()
    assert free.space.named_spec("full") not in tight.space.decode(kept)


def test_mutations_stay_inside_and_go_mostly_to_neighbours() -> None:
    space = analytic.tables().space
    sizes = np.asarray([len(values) for values in space.dimensions.values()])
    rng = np.random.default_rng(5)
    parents = space.sample(rng, 4000)
    children = mutate(space, parents, rng)
    assert ((children >= 0) & (children < sizes)).all()
    assert (children != parents).any(axis=1).all()
    changed = children != parents
    assert not changed[:, sizes == 1].any()
    # Where there are values that are no neighbours, the share is as set, plus what chance brings to a neighbour.
    widths = changed[:, 0]
    steps = np.abs(children - parents)[widths, 0]
    assert NEIGHBOUR_FRACTION - 0.05 < (steps == 1).mean() < 1.0
