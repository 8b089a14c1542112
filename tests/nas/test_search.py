"""The whole search on an analytic device and supernet: results, limits, budgets, and kills at random moments."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nas._costs import Cost
from nas._costs import CostTable
from nas._costs import LatencyCost
from nas._costs import exact_cost
from nas._feasible_region import find_feasible_region
from nas._loop import run_search
from nas._pareto import hypervolume
from nas._pareto import on_front
from nas._pareto import scaled
from nas._problem import SearchProblem
from subdit.core.errors import InfeasibleError
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import SearchResult
from subdit.results import load_search
from subdit.results._trials import COLUMNS
from subdit.space import MEMORY_MODEL
from subdit.space import get_space
from tests.nas import analytic
from tests.waiting import DEADLINE_S
from tests.waiting import wait_until

SPACE = get_space("digits")
FILES = ("trials.csv", "front.csv", "picks.json")


def new_run(path: Path) -> Run:
    run = Run(path)
    start_manifest(run, space="digits")
    return run


def ask(  # type: ignore[no-untyped-def]
    run: Run, trials: int = 30, *, limits: dict[str, float] | None = None, name: str = "default", **rest
) -> SearchResult:
    call = {key: rest.pop(key) for key in ("resume", "force") if key in rest}
    losses = [rest.pop("loss", None) or analytic.Loss(SPACE)]
    problem = analytic.problem(limits or {"latency_ms": 3.0}, losses=losses, trials=trials, **rest)
    return run_search(run, name, problem, **call)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def study_trials(run: Run) -> list[tuple[int, tuple[float, ...], str]]:
    """Number, values and spec of every trial, whatever its state, read through Optuna alone."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(run.search("default") / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    return [(trial.number, tuple(trial.values), trial.user_attrs["spec_hash"]) for trial in study.trials]


def test_files_say_what_was_found(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    loss = analytic.Loss(SPACE)
    result = ask(run, 60, loss=loss)
    rows = read_table(result.folder / "trials.csv")
    further = {"analytic"}
    assert tuple(name for name in rows[0] if name not in further) == COLUMNS and set(rows[0]) == {*COLUMNS, *further}
    assert [int(row["number"]) for row in rows] == list(range(60))
    assert len({row["spec_hash"] for row in rows}) == 60 == len(loss.asked)
    points = np.array([[float(row["latency_ms"]), float(row["analytic"])] for row in rows])
    assert (points[:, 0] <= 3.0).all(), "no trial is spent on what the table rules out"
    assert [row["on_front"] == "true" for row in rows] == on_front(points).tolist()
    front = read_table(result.folder / "front.csv")
    assert [row["spec_hash"] for row in front] == [row.spec.hash for row in result.front]
    assert sorted(float(row["latency_ms"]) for row in front) == [row.latency_ms for row in result.front]
    picked = {name: row["spec_hash"] for row in front for name in row["pick"].split(";") if name}
    stored = json.loads((result.folder / "picks.json").read_text())
    assert picked == {name: pick["spec_hash"] for name, pick in stored.items()}
    assert len(set(picked.values())) == 3
    for name, pick in stored.items():
        values = loss.evaluate(SPACE.spec(SPACE.values(result.picks[name].spec)))
        assert pick["analytic"] == values
    config = json.loads((result.folder / "search.json").read_text())
    assert (config["state"], config["trials"], config["seed"]) == ("finished", 60, 0)
    assert config["constraints"] == {"latency_ms": 3.0}
    assert config["rejected"] > 0
    assert load_search(run.path) == result


def test_every_trial_carries_constraints_and_notes_for_the_dashboard(tmp_path: Path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    result = ask(new_run(tmp_path / "run"), 20, limits={"latency_ms": 3.0, "params": 200_000})
    storage = JournalStorage(JournalFileBackend(str(result.folder / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    assert study.metric_names == ["latency_ms", "analytic"]
    assert {trial.user_attrs["spec_hash"] for trial in study.best_trials} == {row.spec.hash for row in result.front}
    for trial in study.trials:
        assert trial.constraints == {
            "latency_ms": trial.values[0] - 3.0,
            "params": trial.user_attrs["params"] - 200_000,
        }
        assert max(trial.constraints.values()) <= 0
        assert {"latency_low_ms", "latency_high_ms", "spec", "rejected", "from_store"} <= set(trial.user_attrs)


def kill_at_random_moments(run: Run, log: Path, *, trials: int, kills: int, seed: int) -> None:
    """Kill as many workers, each a little after another number of evaluations, and let a last one finish the search."""
    log.touch()
    command = [sys.executable, "-m", "tests.nas.analytic", str(run.path), str(trials), "0.004", str(log)]
    moments = random.Random(seed)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    for goal in sorted(moments.sample(range(1, trials - 2), kills)):
        # It does not get to the end however long this process is kept from killing it.
        left = goal - len(log.read_text().splitlines())
        worker = subprocess.Popen(command, env=environment | {"HOLDS_AFTER": str(max(left, 0) + 3)})
        wait_until(
            lambda goal=goal, worker=worker: len(log.read_text().splitlines()) >= goal or worker.poll() is not None,  # type: ignore[misc]
            every_s=0.002,
        )
        time.sleep(moments.random() * 0.05)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
    subprocess.run(command, env=environment, check=True, timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("trials", "kills", "seed"),
    [(36, 3, 0), *(pytest.param(*more, marks=pytest.mark.slow) for more in ((36, 3, 1), (80, 20, 20)))],
)
def test_killed_at_random_moments_ends_as_if_never_interrupted(
    tmp_path: Path, trials: int, kills: int, seed: int
) -> None:
    whole = new_run(tmp_path / "whole")
    ask(whole, trials)
    run = new_run(tmp_path / "killed")
    log = tmp_path / "log"
    kill_at_random_moments(run, log, trials=trials, kills=kills, seed=seed)
    for file in FILES:
        assert (run.search("default") / file).read_bytes() == (whole.search("default") / file).read_bytes()
    assert study_trials(run) == study_trials(whole)
    assert len({spec for _, _, spec in study_trials(run)}) == trials
    # A kill between an evaluation and its store costs that one evaluation, nothing else.
    assert len(log.read_text().splitlines()) <= trials + kills


def test_a_journal_cut_anywhere_near_its_end_goes_on(tmp_path: Path) -> None:
    whole = new_run(tmp_path / "whole")
    ask(whole, 12)
    journal = (whole.search("default") / "study.journal").read_bytes()
    # A trial begins where its creation is logged; cut inside the eighth one, in every kind of line there.
    lines = journal.splitlines(keepends=True)
    creations = [index for index, line in enumerate(lines) if b'"op_code":4,' in line]
    for number, index in enumerate(range(creations[7], creations[8], 4)):
        run = new_run(tmp_path / str(number))
        folder = run.search("default")
        folder.mkdir(parents=True)
        (folder / "study.journal").write_bytes(b"".join(lines[:index]) + lines[index][: len(lines[index]) // 2])
        (folder / "search.json").write_bytes((whole.search("default") / "search.json").read_bytes())
        config = json.loads((folder / "search.json").read_text())
        (folder / "search.json").write_text(json.dumps(config | {"state": "running"}))
        ask(run, 12, resume=True)
        for file in FILES:
            assert (folder / file).read_bytes() == (whole.search("default") / file).read_bytes()


def test_a_run_that_was_moved_goes_on(tmp_path: Path) -> None:
    ask(new_run(tmp_path / "before"), 10)
    (tmp_path / "before").rename(tmp_path / "after")
    assert ask(Run(tmp_path / "after"), 15, resume=True).config["trials"] == 15
    assert len(study_trials(Run(tmp_path / "after"))) == 15


def test_more_trials_later_are_the_same_as_at_once(tmp_path: Path) -> None:
    at_once = ask(new_run(tmp_path / "once"), 30)
    run = new_run(tmp_path / "later")
    ask(run, 12)
    later = ask(run, 30, resume=True)
    for file in FILES:
        assert (later.folder / file).read_bytes() == (at_once.folder / file).read_bytes()


def test_a_limit_on_memory_of_an_earlier_version_is_another_question(tmp_path: Path) -> None:
    """That limit was on weights and activations alone, so its trials were chosen by other figures."""
    functions = {"memory_mb": exact_cost("memory_mb", SPACE, "fp32")}
    table, run = dataclasses.replace(analytic.tables(), functions=functions), new_run(tmp_path / "run")

    def problem(trials: int) -> SearchProblem:
        return analytic.problem({"memory_mb": 1e9}, table=table, trials=trials)

    result = run_search(run, "default", problem(10))
    assert result.config["memory_model"] == MEMORY_MODEL
    file = result.folder / "search.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in before.items() if key != "memory_model"}))
    with pytest.raises(SearchError, match="memory_model None instead of '2: peak of a process.*--name or --force"):
        run_search(run, "default", problem(20), resume=True)
    # It can still be read, and one without a limit on memory names no model of it.
    assert load_search(run.path).front == result.front
    assert "memory_model" not in ask(run, 10, name="free").config


def test_nothing_is_overwritten_or_mixed(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    first = ask(run, 10)
    before = {file: (first.folder / file).read_bytes() for file in FILES}
    with pytest.raises(RunError, match="finished already with these very settings"):
        ask(run, 10)
    with pytest.raises(RunError, match="with other settings.*seed 0 instead of 1"):
        ask(run, 10, seed=1)
    with pytest.raises(SearchError, match="cannot be resumed with other settings"):
        ask(run, 10, seed=1, resume=True)
    with pytest.raises(SearchError, match="latency_hash"):
        slower = dataclasses.replace(analytic.tables(), latencies=Shifted(SPACE))
        run_search(run, "default", analytic.problem({"latency_ms": 3.0}, table=slower, trials=10), resume=True)
    with pytest.raises(InfeasibleError):
        ask(run, 10, limits={"latency_ms": 0.1}, force=True)
    assert {file: (first.folder / file).read_bytes() for file in FILES} == before
    assert ask(run, 10, resume=True) == first
    forced = ask(run, 10, seed=1, force=True)
    assert forced.config["seed"] == 1


class Shifted(analytic.Latency):
    def estimate(self, encoded):  # type: ignore[no-untyped-def]
        estimate = super().estimate(encoded)
        estimate.latency_ms = estimate.latency_ms + 0.01
        return estimate


def test_another_limit_reuses_every_evaluation_paid_for(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    first, second = analytic.Loss(SPACE), analytic.Loss(SPACE)
    ask(run, 25, loss=first)
    ask(run, 25, loss=second, name="again", limits={"latency_ms": 2.0})
    assert not set(first.asked) & set(second.asked)
    assert len(second.asked) < 25


def test_seconds_end_a_search_and_a_finished_one_is_read(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    result = ask(run, 10_000, budget_s=1.0, loss=analytic.Loss(SPACE, pause_s=0.05))
    assert 1 <= result.config["trials"] < 100
    assert ask(run, 10_000, budget_s=1.0, resume=True) == result
    # Another pick is no reason to evaluate more, though trials alone took less than the budget.
    picked = ask(run, 10_000, budget_s=1.0, resume=True, pick_at={"latency_ms": 3.0})
    assert picked.config == result.config and "latency_ms=3" in picked.picks
    assert [row.spec for row in picked.trials] == [row.spec for row in result.trials]


def test_a_search_ends_when_the_space_does(tmp_path: Path) -> None:
    space = analytic.little_space()
    run = new_run(tmp_path / "run")
    table = CostTable(space, analytic.Latency(space), analytic.params)
    result = run_search(run, "default", analytic.problem(table=table, trials=500))
    assert result.config["trials"] == space.size


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    folder = ask(run, 10).folder
    (folder / "picks.json").write_text('{"fastest": 3}')
    with pytest.raises(SearchError, match="damaged"):
        load_search(run.path)
    (folder / "search.json").write_text("[]")
    with pytest.raises(RunError, match="damaged"):
        ask(run, 10)
    with pytest.raises(SearchError, match="damaged"):
        load_search(run.path)
    with pytest.raises(SearchError, match="no search 'other'"):
        load_search(run.path, "other")
    ask(run, 10, force=True)
    (folder / "study.journal").write_bytes(b"not json\n" * 3)
    with pytest.raises(RunError, match="study .* is damaged.*--force"):
        ask(run, 20, resume=True)


def test_search_beats_chance_at_equal_evaluations(tmp_path: Path) -> None:
    encoded = SPACE.sample(np.random.default_rng(7), 3000)
    loss = analytic.Loss(SPACE)
    latency = analytic.Latency(SPACE).estimate(encoded).latency_ms
    drawn = np.c_[latency, [loss.evaluate(spec) for spec in SPACE.decode(encoded)]]
    best = drawn[on_front(drawn)]

    def share(points: np.ndarray) -> float:
        return hypervolume(scaled(points, best), (1.1, 1.1)) / hypervolume(scaled(best, best), (1.1, 1.1))

    result = ask(new_run(tmp_path / "run"), 200, limits={"latency_ms": 100.0})
    found = share(np.array([[row.latency_ms, row.value("analytic")] for row in result.front]))
    chance = [share(drawn[at : at + 200]) for at in range(0, 3000, 200)]
    assert found > 0.95
    assert found > max(chance)


def test_tpe_goes_on_exactly_and_keeps_limits(tmp_path: Path) -> None:
    def tpe(run: Run, trials: int, **rest) -> SearchResult:  # type: ignore[no-untyped-def]
        return run_search(run, "default", analytic.problem({"latency_ms": 3.0}, sampler="tpe", trials=trials), **rest)

    at_once = tpe(new_run(tmp_path / "once"), 30)
    run = new_run(tmp_path / "later")
    tpe(run, 23)
    later = tpe(run, 30, resume=True)
    for file in FILES:
        assert (later.folder / file).read_bytes() == (at_once.folder / file).read_bytes()
    assert all(float(row["latency_ms"]) <= 3.0 for row in read_table(later.folder / "trials.csv"))
    assert later.config["surrogate"] is False


def test_several_objectives_devices_and_picks_at_a_value(tmp_path: Path) -> None:
    limits = {"latency_ms": 3.0, "latency_ms@other": 4.0, "file_mb": 1.2}
    functions = {"latency_ms@other": LatencyCost(Shifted(SPACE)), "file_mb": exact_cost("file_mb", SPACE, "fp32")}
    table = dataclasses.replace(analytic.tables(), functions=functions)
    losses = [analytic.Loss(SPACE), analytic.Loss(SPACE, id="two")]
    run = new_run(tmp_path / "run")

    def problem(**pick_at: float) -> SearchProblem:
        costs = ("latency_ms", "latency_ms@other")
        return analytic.problem(limits, losses=losses, table=table, costs=costs, trials=45, pick_at=pick_at)

    result = run_search(run, "default", problem(file_mb=1.0))
    assert load_search(run.path) == result
    rows = read_table(result.folder / "trials.csv")
    assert {"latency_ms@other", "file_mb", "two"} <= set(rows[0])
    assert all(float(row["latency_ms@other"]) == pytest.approx(float(row["latency_ms"]) + 0.01) for row in rows)
    assert all(float(row["file_mb"]) <= 1.2 for row in rows)
    points = np.array([[float(row[name]) for name in problem().objectives.names] for row in rows])
    assert points.shape == (45, 4)
    assert [row["on_front"] == "true" for row in rows] == on_front(points).tolist()
    picked = result.picks["file_mb=1"].trial
    within = [row for row in result.front if row.value("file_mb") <= 1.0]
    assert picked.value("analytic") == min(row.value("analytic") for row in within)
    again = run_search(run, "default", problem(**{"latency_ms@other": 2.5}), resume=True)
    assert again.picks["latency_ms@other=2.5"].trial.latency_ms + 0.01 <= 2.5
    for pick_at, says in (
        ({"weight": 2.5}, "no figure 'weight' to pick at; there is file_mb, latency_ms,"),
        ({"file_mb": 1e-3}, "No sub-DiT within the limits has file_mb of at most 0.001; the least is"),
        ({"file_mb": float("nan")}, "finite number"),
    ):
        with pytest.raises(SearchError, match=says):
            run_search(run, "default", problem(**pick_at), resume=True)
        with pytest.raises(SearchError, match=says):
            run_search(run, "new", problem(**pick_at))
    # Neither is what was finished less so now, nor was anything begun.
    assert load_search(run.path) == again and not run.search("new").exists()
    config = json.loads((result.folder / "search.json").read_text())
    assert set(config["feasible_region"]["tightest"]) == {"latency_ms", "latency_ms@other", "file_mb"}
    assert config["constraints"]["latency_ms@other"] == 4.0


def test_a_pick_that_the_front_lacks_leaves_the_search_finished(tmp_path: Path) -> None:
    def haste(encoded):  # type: ignore[no-untyped-def]
        return Cost(100 - analytic.Latency(SPACE).estimate(encoded).latency_ms, np.zeros(len(encoded)))

    table = dataclasses.replace(analytic.tables({"latency_ms": 3.0}), functions={"haste": haste})
    # The slowest within the limit has many strips, which the loss does not like: it is on no front.
    slowest = {"haste": find_feasible_region(table).least["haste"].figures["haste"]}
    run = new_run(tmp_path / "run")

    def problem(pick_at: dict[str, float]) -> SearchProblem:
        return analytic.problem(table=table, trials=25, pick_at=pick_at)

    result = run_search(run, "default", problem(slowest))
    assert set(result.picks) == {"fastest", "balanced", "best"}
    (missed,) = result.config["missed_picks"].values()
    assert "No point of the front has haste of at most" in missed
    assert load_search(run.path) == result
    found = run_search(run, "default", problem({"haste": 99.0}), resume=True)
    assert "haste=99" in found.picks and "missed_picks" not in found.config
    with pytest.raises(SearchError, match="No point of the front has haste"):
        run_search(run, "default", problem(slowest), resume=True)
    assert load_search(run.path) == found
