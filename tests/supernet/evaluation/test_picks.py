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
