"""Budgets in steps on the command line: the same defaults everywhere, and what took the place of seconds."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from subdit._demo import CEILING_S
from subdit._demo import DATA_SETS
from subdit._demo import QUICK
from subdit._demo import DemoBudget
from subdit._demo import demo
from subdit._demo._budget import ceiling_of
from subdit._demo._budget import duration_lines
from subdit._demo._context import Demo
from subdit._demo._preconditions import require_same_demo
from subdit.cli import group
from subdit.cli._distill import command as distill_command
from subdit.cli._train import command as train_command
from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.run import record_step
from subdit.core.run import start_manifest
from subdit.core.training_record import STUDENT
from subdit.core.training_record import SUPERNET
from subdit.core.training_record import TEACHER
from subdit.core.training_record import TrainingRecord
from supernet.distillation.few_step_teacher import FewStepConfig
from supernet.distillation.kdmd import KDMDConfig
from supernet.recipe import FEW_STEPS
from supernet.step_times import StepTimes
from supernet.training.config import TrainingConfig


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("train", "digits", "--run", "new", "--budget-s", "60"), "--steps"),
        (("distill", "new", "--budget-s", "60"), "--iterations"),
        (("distill", "new", "--teacher-budget-s", "60"), "--teacher-steps"),
        (("demo", "--train-s", "600"), "--train-steps"),
        (("demo", "--quick", "--teacher-s", "600"), "--teacher-steps"),
        (("demo", "--kdmd-s", "x"), "--kdmd-steps"),
        (("demo", "--no-ceiling", "--ceiling-s", "60"), "give one of them"),
        (("train", "digits", "--run", "new", "--no-ceiling", "--ceiling-s", "495"), "give one of them"),
    ],
)
def test_options_of_earlier_versions_name_what_to_give_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(group, arguments)
    assert not list(tmp_path.iterdir())
    assert done.exit_code == 2 and named in done.output, done.output


def test_defaults_are_the_same_wherever_they_stand() -> None:
    def default(command: click.Command, name: str) -> object:
        parameter = next(parameter for parameter in command.params if parameter.name == name)
        return parameter.get_default(click.Context(command))

    training, few_step, kdmd, budget = TrainingConfig(), FewStepConfig(), KDMDConfig(), DemoBudget()
    assert default(train_command, "steps") == budget.train_steps == training.steps
    assert default(distill_command, "teacher_steps") == budget.teacher_steps == few_step.steps
    assert default(distill_command, "iterations") == budget.kdmd_steps == kdmd.steps
    assert default(distill_command, "steps") == FEW_STEPS.steps
    assert default(distill_command, "x_t") == kdmd.x_t
    assert default(distill_command, "trajectories") == budget.trajectories == few_step.trajectories
    assert DATA_SETS["digits"].ceiling_s == CEILING_S and DATA_SETS["digits"].budget == budget
    shares = [ceiling_of(training, CEILING_S) for training in (SUPERNET, TEACHER, STUDENT)]
    assert shares == pytest.approx([495, 120, 330])
    assert default(train_command, "ceiling_s") is training.ceiling_s is None, "no training is cut unasked"
    assert default(distill_command, "teacher_ceiling_s") is few_step.ceiling_s is None
    assert default(distill_command, "ceiling_s") is kdmd.ceiling_s is None


# A demo's identity ----------------------------------------------------------------------------------------------------


def test_the_ceiling_is_no_part_of_what_a_demo_is() -> None:
    assert not any("ceiling" in name for name in asdict(DemoBudget()))


def begun(folder: Path, budget: dict[str, object], **steps: dict[str, object]) -> Path:
    run = Run(folder)
    start_manifest(run, space="digits")
    for name, left in {"demo": {"budget": budget, "seed": 0, "max_latency_ms": None}, **steps}.items():
        record_step(run, name, left)
    return folder


def test_a_limit_that_no_search_takes_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="no 'weight_kg' to limit"):
        demo(tmp_path / "run", budget=QUICK, constraints={"weight_kg": 1.0})
    assert read_manifest(Run(tmp_path / "run"))["steps"] == {}


def test_a_demo_of_an_earlier_version_has_the_same_limits(tmp_path: Path) -> None:
    def options(constraints: dict[str, float]) -> Demo:
        say = ((lambda text: None), (lambda title: nullcontext(no_progress)))
        return Demo(Run(run), DATA_SETS["digits"], QUICK, 0, None, constraints, *say)

    run = begun(tmp_path / "run", asdict(QUICK))
    require_same_demo(options({}))
    with pytest.raises(RunError, match="a demo with other options"):
        require_same_demo(options({"latency_ms": 2.0}))
    record_step(Run(run), "demo", {"budget": asdict(QUICK), "seed": 0, "max_latency_ms": 2.0})
    require_same_demo(options({"latency_ms": 2.0}))


def test_a_demo_on_other_pictures_is_another_demo(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", asdict(QUICK))
    with pytest.raises(RunError, match="digits"):
        demo(run, data="emoji", budget=QUICK)
    with pytest.raises(DataError, match="no demo on 'cats'; choose one of digits, emoji"):
        demo(run, data="cats")


def test_a_demo_that_was_cut_does_not_go_on_without_a_ceiling(tmp_path: Path) -> None:
    cut = TrainingRecord(20, 24, 10.0, cut_step=18).to_dict()
    run = begun(tmp_path / "run", asdict(QUICK), train=cut)
    with pytest.raises(RunError, match="was cut short.*with --run"):
        demo(run, budget=QUICK, ceiling_s=None)


def test_a_demo_of_an_earlier_version_is_named_as_one(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", {"train_s": 6, "teacher_s": 3, "kdmd_s": 3})
    with pytest.raises(RunError, match="an earlier version's, whose budgets in seconds.*with --run"):
        demo(run, budget=QUICK)


# What a demo will take ------------------------------------------------------------------------------------------------


def test_how_long_a_demo_takes_is_the_sum_of_its_parts() -> None:
    budget = DemoBudget(train_steps=1000, teacher_steps=300, kdmd_steps=2000, per_class=0)
    rest_s = 25 + 12 + (250 + 0.55 * 400) * 0.24
    rest_steps = DATA_SETS["digits"].rest_steps(budget)
    lines = duration_lines(budget, 945.0, StepTimes(0.24, 0.2, 0.12, 0.01), rest_steps=rest_steps)
    assert lines == [
        f"This will take about {round((240 + 2048 * 0.01 + 60 + 240 + rest_s) / 60)} minutes from the beginning: "
        "supernet 1,000 steps, 4 minutes; few-step teacher 300 steps, 80 seconds; K-DMD 2,000 steps, 4 minutes;",
        f"measuring, searching, exporting and judging about {round(rest_s / 60)} minutes, more on a noisy machine.",
    ]


def test_what_a_ceiling_will_cut_is_said_beforehand() -> None:
    budget = DemoBudget(train_steps=1000, teacher_steps=300, kdmd_steps=2000, per_class=0)
    times = StepTimes(1.2, 0.2, 0.12, 0.01)
    rest_steps = DATA_SETS["digits"].rest_steps(budget)
    first, _, last = duration_lines(budget, 945.0, times, rest_steps=rest_steps)
    assert "supernet 1,000 steps, 8 minutes of 20 minutes, cut by the ceiling; few-step" in first
    rest_s = 25 + 12 + (250 + 0.55 * 400) * 1.2
    whole = round((1200 + 2048 * 0.01 + 60 + 240 + rest_s) / 60)
    assert last == f"With --no-ceiling, which makes all steps, about {whole} minutes."
    assert len(duration_lines(budget, None, times, rest_steps=rest_steps)) == 2
