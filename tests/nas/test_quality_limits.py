"""Hard limits on what a quality proxy says, which no table knows beforehand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nas._config import SearchConfig
from nas._loop import run_search
from nas._pareto import on_front
from nas._problem import Objectives
from nas.samplers._nsga2 import POPULATION
from nas.samplers._nsga2 import children
from nas.samplers._nsga2 import evaluated_from
from nas.samplers._proposal import check_sampler
from subdit.cli import group
from subdit.core.errors import InfeasibleError
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import SearchResult
from subdit.space import get_space
from tests.nas import analytic

SPACE = get_space("digits")


def new_run(path: Path) -> Run:
    run = Run(path)
    start_manifest(run, space="digits")
    return run


def ask(run: Run, trials: int, limit: float | None, **rest: object) -> SearchResult:
    limits = {"latency_ms": 3.0} | ({} if limit is None else {"analytic": limit})
    return run_search(run, "default", analytic.problem(limits, trials=trials), **rest)  # type: ignore[arg-type]


def test_nothing_beyond_the_limit_is_on_the_front_and_the_search_turns_away_from_it(tmp_path: Path) -> None:
    free = ask(new_run(tmp_path / "free"), 120, None)
    limit = float(np.median([row.value("analytic") for row in free.front]))
    found = ask(new_run(tmp_path / "limited"), 120, limit)
    assert found.config["constraints"] == {"latency_ms": 3.0, "analytic": limit}
    assert all(row.value("analytic") <= limit for row in found.front)
    lines = (found.folder / "trials.csv").read_text().splitlines()
    at = {name: column for column, name in enumerate(lines[0].split(","))}
    rows = [line.split(",") for line in lines[1:]]
    qualities = np.asarray([float(row[at["analytic"]]) for row in rows])
    kept = qualities <= limit
    assert [row[at["feasible"]] == "true" for row in rows] == kept.tolist()
    points = np.asarray([[float(row[at["latency_ms"]]), float(row[at["analytic"]])] for row in rows])[kept]
    assert sorted(map(tuple, points[on_front(points)])) == [
        (row.latency_ms, row.value("analytic")) for row in found.front
    ]
    # Evaluations are spent where the limit is kept.
    assert kept[40:].mean() > kept[:20].mean() and kept[40:].mean() > 0.8


def test_each_trial_says_by_how_much_it_exceeds_the_limit(tmp_path: Path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    result = ask(new_run(tmp_path / "run"), 30, 0.28)
    storage = JournalStorage(JournalFileBackend(str(result.folder / "study.journal")))
    trials = optuna.load_study(study_name=None, storage=storage).trials
    exceeded = [trial.constraints["analytic"] for trial in trials]
    assert exceeded == [trial.values[1] - 0.28 for trial in trials]
    assert min(exceeded) <= 0 < max(exceeded), "otherwise the limit was not tested"


def test_a_limit_that_nothing_keeps_ends_in_one_sentence_and_more_trials_go_on(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    with pytest.raises(InfeasibleError, match=r"None of the 25 .* at most 0\.1 is asked for, .* --resume"):
        ask(run, 25, 0.1)
    assert json.loads((run.search("default") / "search.json").read_text())["state"] == "running"
    with pytest.raises(InfeasibleError, match="None of the 60 "):
        ask(run, 60, 0.1, resume=True)
    store = (run.quality / "0123abcd.jsonl").read_text().splitlines()
    assert len(store) == 60, "what was evaluated is not evaluated again"
    # With nothing within it the search goes toward the limit.
    values = [json.loads(line)["value"] for line in store]
    assert np.mean(values[40:]) < np.mean(values[:20])


def test_parents_keep_the_limit_before_they_are_good() -> None:
    """Constrained domination: of 60 specs the 20 within the limit are the parents, though the others dominate."""
    rng = np.random.default_rng(0)
    rows = SPACE.sample(rng, 60)
    rows[:20, 0], rows[20:, 0] = 0, 3
    points = np.column_stack([np.r_[np.full(20, 9.0), np.full(40, 1.0)] + rng.random(60), rng.random(60)])
    evaluated = evaluated_from(SPACE, list(rows), [tuple(point) for point in points])
    limited = replace(evaluated, excess=np.r_[np.zeros(20), np.ones(40)])
    assert POPULATION == 20
    # The width tells whose children they are.
    drawn = children(SPACE, limited, np.random.default_rng(1), 400)[:, 0]
    free = children(SPACE, evaluated, np.random.default_rng(1), 400)[:, 0]
    assert (drawn == 0).mean() > 0.75 and (free == 0).mean() < 0.4


def test_the_bound_of_a_proxy_may_be_negative() -> None:
    objectives = Objectives(limits={"validation_loss": -2.0})
    assert objectives.excess(np.asarray([[1.0, -3.0], [9.0, -1.0], [1.0, np.nan]])).tolist() == [0.0, 0.5, 0.0]
    assert Objectives().excess(np.ones((3, 2))).tolist() == [0.0, 0.0, 0.0]


def test_an_exhaustive_search_is_exhaustive() -> None:
    exhaustive = SearchConfig(("any",), sampler="exhaustive")
    assert exhaustive.trial_limit >= 3049 and SearchConfig(("any",)).trial_limit == 400
    check_sampler("exhaustive", 3049, exhaustive.trial_limit)
    with pytest.raises(
        SearchError, match="3,049 sub-DiTs within the constraints and exhaustive evaluates each, which 35"
    ):
        check_sampler("exhaustive", 3049, 35)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--pick-at", "latency_ms=1", "--pick-at", "latency_ms=2"], "latency_ms is there twice"),
        (["--limit", "validation_loss"], "is no NAME=VALUE"),
        (["--limit", "activation_codes=1"], "of quality proxies those that are objectives"),
        (["--max-quality", "activation_codes=1"], "now written as --limit activation_codes=1"),
        (["--limit", "latency_ms=1", "--max-latency-ms", "2"], "latency_ms is there twice"),
    ],
)
def test_the_verb_refuses_what_it_cannot_take(tmp_path: Path, option: list[str], says: str) -> None:
    run = new_run(tmp_path / "run")
    device = ["--device", "linux-amd-epyc/onnxruntime/fp32/t1"]
    result = CliRunner().invoke(group, ["search", str(run.path), *device, *option])
    assert result.exit_code == 2 and says in " ".join(result.output.split())
