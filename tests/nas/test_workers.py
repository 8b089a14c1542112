"""Several workers on one study: every trial once, none lost, and a dead worker's goes to another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas._config import SearchConfig
from nas._feasible_region import find_feasible_region
from nas._loop import run_search
from nas._problem import Objectives
from nas.proxies import Evaluation
from nas.proxies import QualityStore
from nas.samplers._nsga2 import initial_rows
from nas.study._location import StudyLocation
from nas.study._location import StudyOptions
from nas.study._storage import open_storage
from nas.study._trials import SubDiTSampler
from nas.study._trials import open_study
from nas.study._worker import Worker
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import SearchResult
from subdit.results import load_search
from tests.nas import analytic
from tests.nas import postgres
from tests.programs import require_module
from tests.waiting import DEADLINE_S
from tests.waiting import free_port
from tests.waiting import wait_until

TABLES = ("trials.csv", "front.csv", "picks.json")
ENVIRONMENT = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}


_started: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def no_worker_outlives_its_test() -> Iterator[None]:
    yield
    for worker in _started:
        worker.kill()
        worker.wait()
    _started.clear()


def start(
    run: Run, trials: int, pause_s: float, storage: str, stale_s: float, limit_ms: float = analytic.LIMIT_MS
) -> tuple[subprocess.Popen[bytes], Path]:
    """A worker in a process of its own, and the file in which it notes what it evaluates."""
    log = run.path / f"log-{time.monotonic_ns()}"
    log.touch()
    command = [sys.executable, "-m", "tests.nas.analytic", str(run.path), str(trials), str(pause_s), str(log)]
    _started.append(subprocess.Popen([*command, storage, str(stale_s), str(limit_ms)], env=ENVIRONMENT))
    return _started[-1], log


def new_run(path: Path) -> Run:
    run = Run(path)
    start_manifest(run, space="digits")
    return run


def study_at(storage: Path | str, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_storage(storage))


def check_study(study: optuna.Study, goal: int) -> list[optuna.trial.FrozenTrial]:
    """Exactly the goal's trials are finished, each about another sub-DiT, and nothing is left in the air."""
    trials = study.get_trials()
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(done) == goal
    assert max(Counter(trial.user_attrs["spec_hash"] for trial in done).values()) == 1
    # A worker that the system held up counts as dead. Its sub-DiT may be in the queue still when others evaluated it.
    left = [trial for trial in trials if trial.state not in (TrialState.COMPLETE, TrialState.FAIL)]
    assert {trial.state for trial in left} <= {TrialState.WAITING}
    assert all(trial.system_attrs["fixed_params"] in [one.params for one in done] for trial in left)
    assert sorted(trial.number for trial in trials) == list(range(len(trials)))
    return done


def crowd(study: optuna.Study, sampler: SubDiTSampler, stale_s: float = 60.0) -> Worker:
    return Worker(study, analytic.tables().space, sampler, stale_s=stale_s)


@pytest.fixture
def shared(tmp_path: Path) -> tuple[optuna.Study, SubDiTSampler]:
    tables = analytic.tables()
    initial = initial_rows(tables.space, tables, find_feasible_region(tables))
    sampler = SubDiTSampler(tables, initial, SearchConfig(("analytic",)), Objectives())
    study = open_study(tmp_path / "study.journal", "s", sampler, Objectives().names)
    return study, sampler


def test_two_that_took_the_same_let_go(shared: tuple[optuna.Study, SubDiTSampler]) -> None:
    study, sampler = shared
    first = crowd(study, sampler)
    found = first.next_trial(10)
    assert found is not None
    # Another worker's trial about the same sub-DiT, written at the same moment.
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, params={}, distributions={}))
    other = study.get_trials()[-1]
    trial = optuna.trial.Trial(study, other._trial_id)
    for label, value in found[0].params.items():
        trial.storage.set_trial_param(
            other._trial_id, label, study.get_trials()[0].distributions[label].to_internal_repr(value),
            study.get_trials()[0].distributions[label],
        )  # fmt: skip
    study.enqueue_trial(dict(found[0].params))
    taken = crowd(study, sampler).next_trial(10)
    assert taken is not None and taken[1] != found[1]
    assert [trial.state for trial in study.get_trials()].count(TrialState.FAIL) == 1


def test_a_goal_is_never_overshot(shared: tuple[optuna.Study, SubDiTSampler]) -> None:
    study, sampler = shared
    workers = [crowd(study, sampler) for _ in range(3)]
    found = [worker.next_trial(2) for worker in workers]
    assert [one is None for one in found] == [False, False, True]


def test_what_a_dead_worker_held_goes_to_another_once(shared: tuple[optuna.Study, SubDiTSampler]) -> None:
    study, sampler = shared
    dead = crowd(study, sampler)
    held = dead.next_trial(5)
    assert held is not None
    others = [crowd(study, sampler, stale_s=0.05) for _ in range(2)]
    for other in others:
        other._give_back()
    assert dead.is_mine(held[0])
    time.sleep(0.1)
    for other in others:
        other._give_back()
    assert not dead.is_mine(held[0])
    taken = [other.next_trial(5) for other in others]
    assert [one is not None and one[1] == held[1] for one in taken] == [True, False]
    assert study.get_trials()[-2].user_attrs["retry_of"] == held[0].number


def test_a_living_worker_keeps_its_trial(shared: tuple[optuna.Study, SubDiTSampler], tmp_path: Path) -> None:
    study, sampler = shared
    slow = crowd(study, sampler, stale_s=1.2)
    other = crowd(study, sampler, stale_s=1.2)

    def signs() -> object:
        return study.user_attrs.get(f"alive:{slow.name}")

    with slow.alive(lambda: open_study(tmp_path / "study.journal", "s", sampler, Objectives().names)):
        held = slow.next_trial(5)
        assert held is not None
        # For longer than a dead worker would be waited for, however slow this machine is to let the other one live:
        # each look comes after a new sign of life.
        ends = time.monotonic() + 3.0
        while time.monotonic() < ends:
            before = signs()
            wait_until(lambda before=before: signs() != before)  # type: ignore[misc]
            other._give_back()
        assert slow.is_mine(held[0])


def test_workers_share_a_journal_and_one_dies(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    journal = f"journal://{tmp_path}/shared.journal"
    doomed, log = start(run, 40, 30.0, journal, 4.0)
    wait_until(lambda: log.read_text() or doomed.poll() is not None)
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    lost = log.read_text().split()[-1]
    workers = [start(run, 40, 0.01, journal, 4.0) for _ in range(2)]
    assert [worker.wait(timeout=DEADLINE_S) for worker, _ in workers] == [0, 0]
    done = check_study(study_at(journal, "run-default"), 40)
    assert lost in {trial.user_attrs["spec_hash"] for trial in done}
    assert len(load_search(run.path).front) >= 3


class Unsure(analytic.Loss):
    """A loss that knows its own error."""

    def evaluate(self, spec):  # type: ignore[no-untyped-def]
        return Evaluation(super().evaluate(spec), 0.001)


def test_machines_with_stores_of_their_own_pay_once_for_a_trial(tmp_path: Path) -> None:
    """A copy of the run on each, one study: nothing is evaluated again to write down what others found."""
    space = analytic.tables().space
    location = StudyLocation(tmp_path / "shared.journal", "s", shared=True)
    runs = [new_run(tmp_path / name) for name in ("here", "there")]
    losses = [[Unsure(space), Unsure(space, id="two")] for _ in runs]

    def work(machine: int, trials: int) -> SearchResult:
        problem = analytic.problem(losses=losses[machine], trials=trials)
        return run_search(runs[machine], "default", problem, location=location)

    work(0, 12)
    found = [work(1, 20), work(0, 20)]
    for number in range(2):
        # Beyond the goal each machine tries its supernet out on one sub-DiT, the first.
        assert [len(each[number].asked) for each in losses] == [12, 9]
    files = [[(run.search("default") / file).read_bytes() for file in TABLES] for run in runs]
    assert files[0] == files[1]
    assert found[0].front == found[1].front and any(row.tie for row in found[0].front)


def test_a_worker_with_another_question_is_refused(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    location = StudyLocation(tmp_path / "shared.journal", "s", shared=True)
    run_search(run, "a", analytic.problem(trials=8), location=location)
    with pytest.raises(SearchError, match="of another search .seed 0 instead of 1"):
        run_search(run, "b", analytic.problem(trials=8, seed=1), location=location)
    joined = run_search(run, "c", analytic.problem(trials=8), location=location)
    assert joined.config["trials"] == 8


def test_who_works_alone_lets_nobody_in(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    space = analytic.tables().space
    location = StudyLocation(run.search("default") / "study.journal", "default", shared=True)
    says = []

    class Nosy(analytic.Loss):
        def evaluate(self, spec):  # type: ignore[no-untyped-def]
            if len(self.asked) == 3:
                with pytest.raises(RunError, match="in use by another") as caught:
                    run_search(run, "default", analytic.problem(trials=8), location=location)
                says.append(str(caught.value))
            return super().evaluate(spec)

    run_search(run, "default", analytic.problem(losses=[Nosy(space)], trials=8))
    assert len(says) == 1


def test_a_search_is_not_replaced_beneath_living_workers(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    space = analytic.tables().space
    address = f"journal://{tmp_path}/shared.journal"
    location = StudyLocation(address, "s", shared=True)
    says = []

    class Nosy(analytic.Loss):
        def evaluate(self, spec):  # type: ignore[no-untyped-def]
            if len(self.asked) == 3:
                with pytest.raises(RunError, match="in use by another") as caught:
                    run_search(run, "default", analytic.problem(trials=8), location=location, force=True)
                says.append(str(caught.value))
            return super().evaluate(spec)

    run_search(run, "default", analytic.problem(losses=[Nosy(space)], trials=8), location=location)
    assert len(says) == 1 and "before you replace it" in says[0]
    check_study(study_at(address, "s"), 8)
    # When they are gone it is, and others may join what replaces it.
    joined = []

    class Friendly(analytic.Loss):
        def evaluate(self, spec):  # type: ignore[no-untyped-def]
            if len(self.asked) == 3:
                # Two are done already, so it need not wait for the one that is evaluated here.
                problem = analytic.problem(losses=[analytic.Loss(space, data_hash="dead")], seed=1, trials=2)
                joined.append(run_search(run, "default", problem, location=location))
            return super().evaluate(spec)

    fresh = analytic.problem(losses=[Friendly(space, data_hash="dead")], seed=1, trials=9)
    replaced = run_search(run, "default", fresh, location=location, force=True)
    assert len(joined) == 1 and replaced.config["seed"] == 1
    check_study(study_at(address, "s"), 9)


def test_of_two_first_workers_one_prepares(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    tables = analytic.tables()
    preparing, go_on, other_came = threading.Event(), threading.Event(), threading.Event()

    class Slow(analytic.Loss):
        def evaluate(self, spec):  # type: ignore[no-untyped-def]
            preparing.set()
            assert go_on.wait(DEADLINE_S)
            return super().evaluate(spec)

    first, second = Slow(tables.space), analytic.Loss(tables.space)

    def work(loss: analytic.Loss, came: threading.Event) -> SearchResult:
        location = StudyLocation.of(run, "default", StudyOptions(worker=True))
        problem = analytic.problem(losses=[loss], surrogate=False, trials=12)
        return run_search(run, "default", problem, location=location, progress=lambda *_: came.set())

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(work, first, threading.Event())]
        assert preparing.wait(DEADLINE_S)
        results.append(pool.submit(work, second, other_came))
        assert other_came.wait(DEADLINE_S)
        time.sleep(1.0)
        waited = not second.asked
        go_on.set()
        assert [result.result(timeout=DEADLINE_S).config["trials"] for result in results] == [12, 12]
    assert waited and first.asked[0] not in second.asked
    check_study(study_at(run.search("default") / "study.journal", "default"), 12)


@pytest.mark.slow
def test_eight_workers_on_postgresql_lose_nothing(tmp_path: Path) -> None:
    postgres.require()
    run = new_run(tmp_path / "run")
    # About fifty sub-DiTs are within the limit, and all are to be evaluated: it ends when the lost ones are, too.
    free = analytic.tables()
    latency_ms = np.sort(free.latencies.estimate(free.space.enumerate()).latency_ms)
    limit_ms = float(latency_ms[49])
    goal = int((latency_ms <= limit_ms).sum())
    tables = analytic.tables({"latency_ms": limit_ms})
    # Whoever comes first tries the supernet out on the first sub-DiT, which is no trial.
    first = tables.space.decode(initial_rows(tables.space, tables, find_feasible_region(tables))[:1])[0]
    QualityStore(run.quality, analytic.Loss(tables.space)).value(first)
    with postgres.server() as address:
        doomed = [start(run, 1000, 1000.0, address, 5.0, limit_ms) for _ in range(2)]
        wait_until(lambda: all(log.read_text() or worker.poll() is not None for worker, log in doomed))
        assert all(worker.poll() is None for worker, _ in doomed)
        workers = [start(run, 1000, 0.1, address, 5.0, limit_ms) for _ in range(6)]
        wait_until(lambda: any(log.read_text() or worker.poll() is not None for worker, log in workers))
        assert all(worker.poll() is None for worker, _ in workers)
        # Two are in the middle of an evaluation that does not end, and others wait for nothing but these.
        for worker, _ in doomed:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        lost = [log.read_text().split()[-1] for _, log in doomed]
        assert [worker.wait(timeout=DEADLINE_S) for worker, _ in workers] == [0] * 6
        study = study_at(address, "run-default")
        done = check_study(study, goal)
        assert set(lost) <= {trial.user_attrs["spec_hash"] for trial in done}
        retried = [trial for trial in study.get_trials() if "retry_of" in trial.user_attrs]
        assert len(retried) >= 2 and all(
            study.get_trials()[trial.user_attrs["retry_of"]].state == TrialState.FAIL for trial in retried
        )
        evaluations = Counter(spec for _, log in (*doomed, *workers) for spec in log.read_text().split())
        # The quality of each is paid for once, but for those begun twice because of a death or in the same instant.
        assert sum(evaluations.values()) <= goal + len(lost) + 8
        result = load_search(run.path)
        assert all(row.latency_ms <= limit_ms for row in result.front)
        with pytest.raises(RunError, match="No database answers at postgresql://me:"):
            open_storage("postgresql://me:secret@127.0.0.1:1/none")


def test_a_worker_behind_optunas_grpc_proxy(tmp_path: Path) -> None:
    require_module("grpc", "pip install 'subdit[grpc]'")
    port = free_port()
    program = (
        "import sys, optuna; from pathlib import Path; from nas.study._storage import open_storage;"
        f"optuna.storages.run_grpc_proxy_server(open_storage(Path(sys.argv[1])), host='127.0.0.1', port={port})"
    )
    journal = tmp_path / "shared.journal"
    _started.append(subprocess.Popen([sys.executable, "-c", program, str(journal)], env=ENVIRONMENT))
    run = new_run(tmp_path / "run")
    worker, _ = start(run, 8, 0.0, f"grpc://127.0.0.1:{port}", 30.0)
    assert worker.wait(timeout=DEADLINE_S) == 0
    check_study(study_at(journal, "run-default"), 8)
