"""Truth tables: which sub-DiTs, in which order, by whom, and that what is trained once is never trained again."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nas.truth_table import ProxyScores
from nas.truth_table import TruthOptions
from nas.truth_table import TruthWork
from nas.truth_table import estimate_cost
from nas.truth_table import read_truth_table
from nas.truth_table import truth_work
from nas.truth_table import write_truth_table
from nas.truth_table._claims import Claims
from nas.truth_table._order import PILOT
from nas.truth_table._order import draw_specs
from nas.truth_table._order import training_order
from nas.truth_table._training import Seeds
from subdit.cli import group
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import count_flops
from subdit.space import get_space
from supernet.checkpoints import save_model
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from tests.waiting import wait_until

SPACE = get_space("digits")
TINY = TruthOptions(count=3, twice=1, updates=2, samples=12, sample_steps=1)
TINY_OPTIONS = ["--specs", "3", "--twice", "1", "--updates", "2", "--samples", "12", "--sample-steps", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = Run(tmp_path_factory.mktemp("run"))
    start_manifest(made, space="digits")
    model = ElasticDiT(space="digits").eval()
    redraw_(model, seed=3)
    save_model(model, made.supernet)
    return made


@pytest.fixture(scope="module")
def filled(run: Run, tmp_path_factory: pytest.TempPathFactory) -> TruthWork:
    work = truth_work(run, tmp_path_factory.mktemp("truth"), TINY)
    work.begin()
    work.fill(stale_s=60.0)
    return work


@given(st.integers(2, 60), st.integers(0, 60))
def test_every_training_comes_once_and_any_beginning_is_in_proportion(count: int, twice: int) -> None:
    twice = min(twice, count)
    order = list(training_order(count, twice))
    assert sorted(order) == sorted([(index, 0) for index in range(count)] + [(index, 1) for index in range(twice)])
    first: list[int] = []
    for done, (index, number) in enumerate(order, start=1):
        # A second training follows the first one, and new sub-DiTs come in the order of the draw.
        assert index == len(first) if number == 0 else index in first
        first += [index] if number == 0 else []
        seconds = done - len(first)
        if len(first) > PILOT:
            due = PILOT + (len(first) - PILOT) * (twice - PILOT) / (count - PILOT)
            assert twice <= PILOT or abs(seconds - due) < 2


def test_any_beginning_of_the_draw_covers_all_sizes() -> None:
    specs = draw_specs(SPACE, 64, seed=4)
    assert len(set(specs)) == 64 and draw_specs(SPACE, 10, seed=4) == specs[:10] != draw_specs(SPACE, 10, seed=5)
    everything = np.sort(count_flops(SPACE, SPACE.sample(np.random.default_rng(0), 4096)))
    for count in (8, 16, 64):
        flops = count_flops(SPACE, SPACE.encode(specs[:count]))
        # One in each part of equally many sub-DiTs of the space, but for those that differ between two draws.
        parts = Counter(np.minimum(np.searchsorted(everything, flops) * count // len(everything), count - 1).tolist())
        assert len(parts) >= 0.8 * count
    values = SPACE.encode(draw_specs(SPACE, 400, seed=1))
    for index, column in enumerate(SPACE.columns):
        shares = np.bincount(values[:, index], minlength=len(column.values)) / len(values)
        assert np.abs(shares - 1 / len(column.values)).max() < 0.12


def test_a_table_holds_what_was_asked_for(filled: TruthWork) -> None:
    table = read_truth_table(filled.file)
    assert [len(row.trainings) for row in table.rows] == [2, 1, 1]
    assert table.specs == draw_specs(SPACE, 3, TINY.seed)
    assert table.qualities == ("loss", "frechet_distance", "kernel_distance", "accuracy_label")
    assert all(set(training.curve) == {1, 2} for row in table.rows for training in row.trainings)
    assert len({training.weights for row in table.rows for training in row.trainings}) == 4
    assert table.losses("accuracy_label")[0].max() <= 0.0 < table.losses("loss")[0].min()
    with pytest.raises(SearchError, match="no quality 'beauty'; it has loss, "):
        table.losses("beauty")
    frame = table.to_frame()
    assert len(frame) == 4 and list(frame.number) == [0, 1, 0, 0]


def test_a_table_is_read_as_it_was_written(filled: TruthWork, tmp_path: Path) -> None:
    table = read_truth_table(filled.file)
    scores = ProxyScores("guess", "a guess", "ab", "none", 0.1, {spec.hash: 1.0 for spec in table.specs})
    scored = table.with_scores(scores)
    assert read_truth_table(write_truth_table(scored, tmp_path / "table.json")) == scored
    assert scored.with_scores(replace(scores, unit="another")).scores[0].unit == "another"
    stored = scored.to_dict()
    assert stored["recipe"]["updates"] == 2
    for wrong, says in (
        ({**stored, "subdit_truth": 2}, "format 2"),
        ({**stored, "subdits": []}, "subdits"),
        ({**stored, "beauty": 1}, "beauty"),
        ({**stored, "subdits": [*stored["subdits"], stored["subdits"][0]]}, "in it twice"),
        ({**stored, "subdits": [{**stored["subdits"][0], "spec_hash": "0" * 10}]}, "is called 0000000000"),
    ):
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(RunError, match=says):
            read_truth_table(tmp_path / "wrong.json")


def test_a_training_is_the_same_anywhere_and_common_noise_is_common(
    run: Run, filled: TruthWork, tmp_path: Path
) -> None:
    (job, *_) = filled.jobs
    again = truth_work(run, tmp_path, TINY).train(job.spec, 0)
    known = read_truth_table(filled.file).rows[0].trainings[0]
    assert replace(again, seconds=known.seconds) == known
    one, other = (job.spec for job in filled.jobs[1:3])
    assert one != other
    own, common = filled.recipe, replace(filled.recipe, common_noise=True)
    assert Seeds.of(own, one, 0).batches != Seeds.of(own, other, 0).batches
    assert Seeds.of(common, one, 0).batches == Seeds.of(common, other, 0).batches != Seeds.of(common, one, 1).batches
    assert Seeds.of(common, one, 0).samples == Seeds.of(common, other, 0).samples
    assert Seeds.of(common, one, 0).weights != Seeds.of(common, other, 0).weights


def test_a_table_goes_on_where_it_stopped_and_grows(run: Run, filled: TruthWork, tmp_path: Path) -> None:
    # Committed results alone, in another folder, with scores of a proxy.
    scores = ProxyScores("guess", "a guess", "ab", "none", 0.1, {})
    write_truth_table(read_truth_table(filled.file).with_scores(scores), tmp_path / "table.json")
    work = truth_work(run, tmp_path, replace(TINY, count=4, twice=1))
    work.begin()
    assert [job.name for job in work.left] == [job.name for job in work.jobs if job.spec not in filled_specs(filled)]
    work.fill(stale_s=60.0, budget_s=1e-9)
    assert len(work.left) == 1
    work.fill(stale_s=60.0)
    table, before = read_truth_table(work.file), read_truth_table(filled.file)
    assert table.rows[:3] == before.rows and len(table.rows) == 4 and table.scores == (scores,)
    other = truth_work(run, tmp_path, replace(TINY, updates=3))
    with pytest.raises(SearchError, match="begun with updates 2, not 3"):
        other.begin()
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(SearchError, match="table.json was begun with updates 2, not 3"):
        other.begin()


def filled_specs(work: TruthWork) -> set[object]:
    return set(read_truth_table(work.file).specs)


def test_what_a_table_costs_is_said_for_what_is_left(run: Run, filled: TruthWork, tmp_path: Path) -> None:
    cost = estimate_cost(truth_work(run, tmp_path, TINY))
    assert cost.trainings == 4 and cost.core_hours > 0
    assert cost.core_hours == pytest.approx(4 * (0.02 * cost.core_hours_per_100_updates + cost.judging_core_hours))
    assert estimate_cost(filled).trainings == 0
    assert not list(tmp_path.iterdir())


def test_a_cost_is_told_though_others_finish_meanwhile(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = truth_work(run, tmp_path, TINY)
    answers = iter([work.left])
    monkeypatch.setattr(TruthWork, "left", property(lambda _: next(answers, [])))
    assert estimate_cost(work).trainings == 4


def test_only_one_takes_a_job_and_a_silent_one_loses_it(tmp_path: Path) -> None:
    patient, hasty = Claims(tmp_path, stale_s=1e6), Claims(tmp_path, stale_s=1e-9)
    claim = patient.take("job-0")
    assert claim is not None and patient.take("job-0") is None
    # One look is not enough to know that it is silent.
    assert hasty.take("job-0") is None
    with claim.open("ab") as file:
        file.write(b".")
    assert hasty.take("job-0") is None
    taken = hasty.take("job-0")
    assert taken is not None and taken != claim and claim.exists() and patient.take("job-0") is None
    # What failed may be taken at once.
    with pytest.raises(ValueError), patient.working(taken):
        raise ValueError
    other = patient.take("job-1")
    assert other is not None
    with pytest.raises(KeyboardInterrupt), patient.working(other):
        raise KeyboardInterrupt
    assert patient.take("job-1") is not None


def test_a_claim_shows_signs_of_life(tmp_path: Path) -> None:
    claims = Claims(tmp_path, stale_s=0.06)
    claim = claims.take("job")
    assert claim is not None
    size = claim.stat().st_size
    with claims.working(claim):
        wait_until(lambda: claim.stat().st_size >= size + 2)


def test_a_job_of_a_process_that_died_here_is_taken_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=take_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    patient = Claims(tmp_path, stale_s=1e6)
    taken = patient.take("job")
    assert taken is not None and taken.name == "job.1"
    # Of another machine one cannot know it.
    (tmp_path / "far.0").write_text(json.dumps({"host": "elsewhere", "pid": process.pid}) + "\n")
    assert patient.take("far") is None


def take_and_die(folder: Path) -> None:
    Claims(folder, stale_s=1e6).take("job")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_workers_share_a_table_and_one_may_be_killed(run: Run, tmp_path: Path) -> None:
    def command(folder: str) -> list[str]:
        verb = [sys.executable, "-m", "subdit", "proxies", str(run.path), *TINY_OPTIONS, "--worker"]
        return [*verb, "--truth", str(tmp_path / folder)]

    undisturbed = subprocess.run(command("one"), capture_output=True, text=True)
    assert undisturbed.returncode == 0, undisturbed.stderr
    killed = subprocess.Popen(command("many"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: list((tmp_path / "many" / "claims").glob("*")))
    finally:
        killed.kill()
        killed.wait()
    workers = [subprocess.Popen(command("many"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for worker in workers:
        said, errors = worker.communicate()
        assert worker.returncode == 0, errors.decode()
        assert "core-hours here" in said.decode()
    found, expected = (read_truth_table(tmp_path / folder / "table.json") for folder in ("many", "one"))
    assert found.specs == expected.specs
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert [one.weights for one in row.trainings] == [one.weights for one in other.trainings]
        assert [one.qualities for one in row.trainings] == [one.qualities for one in other.trainings]


def test_the_verb_estimates_works_and_refuses(run: Run, filled: TruthWork) -> None:
    shown = CliRunner().invoke(group, ["proxies", str(run.path), *TINY_OPTIONS, "--estimate", "--common-noise"])
    assert shown.exit_code == 0, shown.output
    assert "the first 1 trained twice, 2 updates each, with common batches and noise" in shown.stdout
    assert "4 trainings are left" in shown.stdout and not (run.proxies / "truth").exists()
    folder = ["--truth", str(filled.folder)]
    again = CliRunner().invoke(group, ["proxies", str(run.path), *TINY_OPTIONS, "--worker", *folder])
    assert again.exit_code == 0 and "0 trainings are left" in again.stdout and str(filled.file) in again.stdout
    for wrong, says in (
        ([], "--truth is for a truth table"),
        (["--worker", "--front", "3"], "--front is not for a truth table"),
        (["--worker", "--start", "inherited"], "start from scratch"),
        (["--worker", "--specs", "3", "--twice", "4"], "--twice at most 3"),
        (["--worker", "--updates", "0"], "--updates is 0"),
        (["--worker", "--samples", "1"], "1 sample"),
        ([*TINY_OPTIONS, "--worker", "--stale-s", "-1"], "--stale-s is -1"),
    ):
        refused = CliRunner().invoke(group, ["proxies", str(run.path), *folder, *wrong])
        assert refused.exit_code == 2 and says in refused.stderr, refused.output
