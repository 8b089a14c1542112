"""How long a step of each training takes on this machine, measured on a few steps before any training."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from subdit.space import get_space
from supernet.data.data_set import DataSet
from supernet.distillation.few_step_teacher import FewStepConfig
from supernet.distillation.few_step_teacher import train_few_step_teacher
from supernet.distillation.kdmd import KDMDConfig
from supernet.distillation.kdmd import distill_kdmd
from supernet.training.config import TrainingConfig
from supernet.training.trainer import Trainer

STEPS = 4
"""Steps measured per training; the first only warms up."""

TRAJECTORIES = 64


@dataclass(frozen=True)
class StepTimes:
    """Seconds per step of the supernet, the few-step teacher and K-DMD, and per trajectory drawn."""

    supernet_s: float
    teacher_s: float
    kdmd_s: float
    trajectory_s: float


class _Stopwatch:
    """A progress callback that notes the time of each call."""

    def __init__(self) -> None:
        self.moments = [time.perf_counter()]

    def __call__(self, *_: object) -> None:
        self.moments.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Seconds between consecutive calls."""
        return [after - before for before, after in zip(self.moments[:-1], self.moments[1:], strict=True)]


def measure_step_times(space_name: str, data: DataSet) -> StepTimes:
    """Train a new network for a few steps in a temporary folder, with the space's named sub-DiT `small` as student.

    It takes as long as a dozen steps. Raises `SpaceError` if there is no such space.
    """
    space = get_space(space_name)
    trainer = Trainer(space, data, TrainingConfig())
    supernet, drawing, student = _Stopwatch(), _Stopwatch(), _Stopwatch()
    for _ in range(STEPS):
        trainer.train_step(0.1)
        supernet()
    teacher, small = (trainer.supernet.extract(space.named_spec(name)) for name in ("full", "small"))
    with tempfile.TemporaryDirectory() as folder:
        few_step = FewStepConfig(steps=STEPS, trajectories=TRAJECTORIES)
        train_few_step_teacher(teacher, data, Path(folder), config=few_step, progress=drawing)
        config = KDMDConfig(steps=STEPS)
        state = Path(folder) / "state.safetensors"
        distill_kdmd(small, teacher, data, state, config=config, guidance_scale=1.5, progress=student)
    # Critic and student take turns, so the last two steps are one of each.
    first_s, *teacher_s = drawing.seconds()
    return StepTimes(
        supernet_s=min(supernet.seconds()[1:]),
        teacher_s=min(teacher_s[1:]),
        kdmd_s=sum(student.seconds()[-2:]) / 2,
        trajectory_s=first_s / TRAJECTORIES,
    )
