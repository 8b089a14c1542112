"""The samplers: new, feasible, repeatable; and the surrogate against what it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas._config import SearchConfig
from nas._costs import CostTable
from nas._feasible_region import find_feasible_region
from nas._pareto import hypervolume
from nas._pareto import on_front
from nas._problem import Objectives
from nas.samplers._nsga2 import cross
from nas.samplers._nsga2 import evaluated_from
from nas.samplers._nsga2 import initial_rows
from nas.samplers._nsga2 import stages_of
from nas.samplers._proposal import REFERENCE
from nas.samplers._proposal import check_sampler
from nas.samplers._proposal import hypervolume_improvement
from nas.samplers._proposal import nearest_usable
from nas.samplers._proposal import next_spec
from nas.samplers._surrogate import features
from nas.samplers._surrogate import fit_surrogate
from nas.samplers._surrogate import surrogate_error
from subdit.core.errors import SearchError
from subdit.space import spec_features
from tests.nas import analytic


def asked(**settings: Any) -> SearchConfig:
    return SearchConfig(("analytic",), **settings)


def run(
    tables: CostTable, config: SearchConfig, count: int, objectives: Objectives | None = None
) -> tuple[np.ndarray, np.ndarray, int]:
    objectives = objectives or Objectives()
    loss = analytic.Loss(tables.space)
    initial = initial_rows(tables.space, tables, find_feasible_region(tables))
    rows: list[np.ndarray] = []
    points: list[list[float]] = []
    scored = 0
    for number in range(count):
        evaluated = evaluated_from(tables.space, rows, points, len(objectives.names))
        found = next_spec(tables, config, objectives, initial=initial, evaluated=evaluated, number=number)
        assert found is not None
        known = tables.look_up(found.row[None])
        assert known.feasible[0]
        rows.append(found.row)
        scored += found.candidates_scored
        points.append(
            [
                *(known.figures[name][0] for name in objectives.costs),
                loss.evaluate(tables.space.decode(found.row[None])[0]),
            ]
        )
    return np.asarray(rows), np.asarray(points), scored


@pytest.mark.parametrize("settings", [{}, {"surrogate": False}, {"sampler": "random"}], ids=str)
def test_what_is_proposed_is_new_and_within_limits(settings: dict[str, Any]) -> None:
    fastest = find_feasible_region(analytic.tables()).fastest
    tables = analytic.tables({"latency_ms": 1.3 * fastest.latency_ms})
    rows, _, _ = run(tables, asked(**settings), 45)
    assert len({row.tobytes() for row in rows}) == 45


def test_a_surrogate_looks_at_far_more_than_is_evaluated_and_finds_more() -> None:
    tables = analytic.tables()
    _, guided, scored = run(tables, asked(), 130)
    _, plain, none = run(tables, asked(surrogate=False), 130)
    assert scored > 100_000 and none == 0
    worst = tuple(np.concatenate([guided, plain]).max(axis=0) * 1.1)
    assert hypervolume(guided, worst) > hypervolume(plain, worst)


def test_more_than_two_objectives() -> None:
    tables = analytic.tables()
    _, points, _ = run(tables, asked(), 45, Objectives(costs=("latency_ms", "params")))
    assert points.shape == (45, 3)
    assert on_front(points).sum() >= on_front(points[:, [0, 2]]).sum()


def test_everything_is_evaluated_where_that_is_asked_for() -> None:
    space = analytic.little_space()
    tables = CostTable(space, analytic.Latency(space), analytic.params)
    rows, _, _ = run(tables, asked(sampler="exhaustive"), space.size)
    assert len({row.tobytes() for row in rows}) == space.size
    with pytest.raises(SearchError, match="147,456 sub-DiTs within the constraints, too many"):
        check_sampler("exhaustive", analytic.tables().space.size)


@given(st.integers(0, 10_000))
def test_what_may_not_be_evaluated_is_repaired_to_something_near(seed: int) -> None:
    tight = analytic.tables({"latency_ms": 2.0})
    row = tight.space.sample(np.random.default_rng(seed), 1)[0]
    none = evaluated_from(tight.space, [], [])
    found = nearest_usable(tight, row, none, [seed])
    assert found is not None
    feasible = bool(tight.look_up(row[None]).feasible[0])
    assert (found.row == row).all() == feasible
    assert tight.look_up(found.row[None]).feasible[0]
    assert found.rejected == int(not feasible)


def test_a_crossover_by_stage_never_splits_a_stage() -> None:
    space = analytic.tables().space
    stages = stages_of(space)
    labels = list(space.dimensions)
    for stage in ("down", "middle", "up"):
        own = {stages[at] for at, label in enumerate(labels) if label.endswith(f"_{stage}")}
        assert len(own) == 1 and (stages == own.pop()).sum() == (4 if stage != "middle" else 2)
    rng = np.random.default_rng(0)
    first, second = np.zeros((4000, len(labels)), dtype=np.int64), np.ones((4000, len(labels)), dtype=np.int64)
    children = cross(space, first, second, rng)
    whole = np.asarray([all(len(set(child[stages == stage])) == 1 for stage in set(stages)) for child in children])
    # Half of the nine in ten that are crossed, and the tenth that is not; by chance hardly any other.
    assert 0.5 < whole.mean() < 0.6


@pytest.mark.parametrize("objectives", [2, 3, 4])
@given(seed=st.integers(0, 1000))
def test_hypervolume_improvement_is_the_difference_of_hypervolumes(objectives: int, seed: int) -> None:
    """Against the share of random points that a candidate alone dominates, and against whole hypervolumes."""
    rng = np.random.default_rng(seed)
    points = rng.random((12, objectives))
    front = points[on_front(points)]
    candidates = rng.random((20, objectives)) * 1.4 - 0.2
    reference = [REFERENCE] * objectives
    gain = hypervolume_improvement(candidates, front)
    expected = [hypervolume(np.r_[front, one[None]], reference) - hypervolume(front, reference) for one in candidates]
    np.testing.assert_allclose(gain, expected, atol=1e-12)
    thrown = rng.random((4000, objectives)) * (REFERENCE + 0.2) - 0.2
    thrown = thrown[~(front[None] <= thrown[:, None]).all(axis=2).any(axis=1)]
    alone = (candidates[:, None] <= thrown[None]).all(axis=2).sum(axis=1) / 4000 * (REFERENCE + 0.2) ** objectives
    np.testing.assert_allclose(gain, alone, atol=0.15)


def test_hypervolume_improvement_with_three_objectives_is_zero_for_what_is_dominated() -> None:
    front = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    candidates = np.array([[0.6, 0.6, 0.6], [0.1, 0.1, 0.1], [0.3, 0.3, 0.3], [0.0, 0.5, 0.5]])
    gain = hypervolume_improvement(candidates, front)
    assert gain[0] == gain[3] == 0 and gain[1] > gain[2] > 0


def test_a_surrogate_recovers_a_quadratic() -> None:
    space = analytic.tables().space
    rng = np.random.default_rng(0)
    encoded = space.sample(rng, 600)
    columns = features(spec_features(space, encoded))
    quality = 3.0 + 0.5 * columns @ rng.standard_normal(columns.shape[1])
    fitted = fit_surrogate(space, encoded[:400], quality[:400])
    np.testing.assert_allclose(fitted.predict(encoded[400:]), quality[400:], atol=0.02 * quality.std())
    np.testing.assert_allclose(
        fitted.predict_drawn(encoded, fitted.weights),
        fitted.mean + fitted.std * (columns @ fitted.weights + fitted.intercept),
        rtol=1e-4,
    )


def test_the_error_that_is_shown_is_that_on_the_unseen() -> None:
    space = analytic.tables().space
    loss = analytic.Loss(space)
    encoded = space.sample(np.random.default_rng(1), 1200)
    quality = np.asarray([loss.evaluate(spec) for spec in space.decode(encoded)])
    shown = surrogate_error(space, encoded[:200], quality[:200])
    unseen = np.abs(fit_surrogate(space, encoded[:200], quality[:200]).predict(encoded[200:]) - quality[200:]).mean()
    assert shown is not None and 0.7 < shown.mean_absolute_error / unseen < 1.4
    assert shown.kendall_tau > 0.7 and shown.relative_absolute_error < 0.4
    assert surrogate_error(space, encoded[:20], quality[:20]) is None
    noise = np.random.default_rng(2).standard_normal(200)
    hopeless = surrogate_error(space, encoded[:200], noise)
    assert hopeless is not None and hopeless.relative_absolute_error > 0.9 and abs(hopeless.kendall_tau) < 0.2


def test_drawn_surrogates_spread_as_widely_as_they_are_unsure() -> None:
    space = analytic.tables().space
    rng = np.random.default_rng(3)
    encoded = space.sample(rng, 400)
    loss = analytic.Loss(space)
    quality = np.asarray([loss.evaluate(spec) for spec in space.decode(encoded)])
    spread = []
    for count in (40, 400):
        fitted = fit_surrogate(space, encoded[:count], quality[:count])
        drawn = [fitted.predict_drawn(encoded, fitted.draw(rng)) for _ in range(50)]
        spread.append(np.std(drawn, axis=0).mean())
        np.testing.assert_allclose(np.mean(drawn, axis=0), fitted.predict(encoded), atol=2 * spread[-1])
    assert spread[1] < spread[0]
