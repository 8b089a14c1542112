"""Picks and teacher are judged by the shift that the supernet was trained with."""

from __future__ import annotations

import pytest

from subdit.core.run import Run
from supernet.distillation.distill_pick import distill
from supernet.evaluation.picks import judge_pick
from supernet.evaluation.picks import judge_teacher
from supernet.training.config import TrainingConfig
from supernet.training.train import train
from tests.stale.stale_run import FAST
from tests.stale.stale_run import search


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("picks") / "run")
    train("digits", run.path, data="digits", config=TrainingConfig(steps=1, batch_size=2, sigma_shift=2.0))
    search(run)
    distill(run.path, **FAST)
    return run


def test_many_steps_have_the_shift_of_the_training(run: Run) -> None:
    pick = judge_pick(run.path, pick="balanced", per_class=2)
    assert {mode: judged["shift"] for mode, judged in pick.items() if not mode.startswith("plain")} == {
        "28_steps": 2.0,
        "4_steps": 3.0,
        "2_steps": 3.0,
        "1_step": 3.0,
    }
    teacher = judge_teacher(run.path, per_class=2)
    assert (teacher["28_steps"]["shift"], teacher["4_steps"]["shift"]) == (2.0, 3.0)
    assert [teacher[mode]["steps"] for mode in ("28_steps", "plain_4_steps", "4_steps")] == [28, 4, 4]


def test_each_student_is_judged_in_its_own_steps(run: Run) -> None:
    """Beside as many plain steps; what was judged before stays."""
    before = judge_pick(run.path, pick="balanced", per_class=2)
    distill(run.path, steps=2, **FAST)
    pick = judge_pick(run.path, pick="balanced", per_class=2)
    assert pick.keys() - before.keys() == {"plain_2_steps", "distilled_2_steps"}
    assert all(pick[mode] == judged for mode, judged in before.items())
    assert (pick["distilled_2_steps"]["steps"], pick["distilled_2_steps"]["shift"]) == (2, 3.0)
    assert pick["plain_2_steps"]["steps"] == 2
    assert pick["distilled_2_steps"]["fd"] != pick["2_steps"]["fd"], "a student of two steps, not that of four in two"
    teacher = judge_teacher(run.path, steps=2, per_class=2)
    assert [teacher[mode]["steps"] for mode in ("28_steps", "plain_2_steps", "2_steps")] == [28, 2, 2]
    assert (run.teacher / "2_steps" / "quality.json").exists()
