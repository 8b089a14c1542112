"""What a demo may take: its budgets, the ceiling of its training, and how long that will be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from subdit.core.training_record import STUDENT
from subdit.core.training_record import SUPERNET
from subdit.core.training_record import TEACHER
from subdit.core.training_record import duration

if TYPE_CHECKING:
    from supernet.step_times import StepTimes

CEILING_S = 945.0
"""Seconds that the steps of all training may take: half as long again as on the machine of README's figures."""

CEILING_SHARES = {SUPERNET: 495 / 945, TEACHER: 120 / 945, STUDENT: 330 / 945}
"""How the ceiling is divided; fixed, so that the first training does not eat what is the last one's."""


@dataclass(frozen=True)
class DemoBudget:
    """How much work each step is, and how many samples are judged; digits take under 15 minutes on 2 cores.

    Attributes:
        train_steps, teacher_steps, kdmd_steps: of training.
        trajectories: that the few-step teacher learns from.
        whole: whole sub-DiTs that the kit's calibration rests on; exporting one takes as long as many components.
        profile_s: of measuring, once the kit is exported; up to three times that on a noisy machine.
        trials: sub-DiTs that the search evaluates.
        measure_s: of measuring the three picks.
        per_class: samples of each class that are judged, ten times as many where there are several kinds of classes.
        seeds: sample sets that are judged.
        guidance_scale: of the teacher; None lets validation images choose, which takes some 15 seconds.
    """

    train_steps: int = 1235
    teacher_steps: int = 320
    kdmd_steps: int = 2000
    trajectories: int = 2048
    whole: int = 12
    profile_s: float = 25.0
    trials: int = 400
    measure_s: float = 12.0
    per_class: int = 90
    seeds: int = 1
    guidance_scale: float | None = None


QUICK = DemoBudget(
    train_steps=24,
    teacher_steps=8,
    kdmd_steps=24,
    trajectories=64,
    whole=6,
    profile_s=3,
    trials=24,
    measure_s=2,
    per_class=10,
    guidance_scale=1.5,
)


def ceiling_of(name: str, ceiling_s: float | None) -> float | None:
    """A training's part of the ceiling."""
    return None if ceiling_s is None else ceiling_s * CEILING_SHARES[name]


def duration_lines(budget: DemoBudget, ceiling_s: float | None, times: StepTimes, *, rest_steps: float) -> list[str]:
    """How long the demo takes from its beginning, by what a step of each training takes.

    Exports, samples and judging have no budget: they are told by the number of steps of the supernet that take as long.
    """
    drawing_s = budget.trajectories * times.trajectory_s
    wanted = {
        SUPERNET: (budget.train_steps, times.supernet_s),
        TEACHER: (budget.teacher_steps, times.teacher_s),
        STUDENT: (budget.kdmd_steps, times.kdmd_s),
    }
    parts, total_s, whole_s = [], 0.0, 0.0
    for name, (steps, step_s) in wanted.items():
        before_s = drawing_s if name == TEACHER else 0.0
        allowed_s = ceiling_of(name, ceiling_s)
        takes_s = steps * step_s if allowed_s is None else min(steps * step_s, allowed_s)
        cut = f" of {duration(steps * step_s)}, cut by the ceiling" if takes_s < steps * step_s else ""
        parts.append(f"{name} {steps:,} steps, {duration(before_s + takes_s)}{cut}")
        total_s, whole_s = total_s + before_s + takes_s, whole_s + before_s + steps * step_s
    rest_s = budget.profile_s + budget.measure_s + times.supernet_s * rest_steps
    lines = [f"This will take about {duration(total_s + rest_s)} from the beginning: {'; '.join(parts)};"]
    lines.append(f"measuring, searching, exporting and judging about {duration(rest_s)}, more on a noisy machine.")
    if whole_s > total_s:
        lines.append(f"With --no-ceiling, which makes all steps, about {duration(whole_s + rest_s)}.")
    return lines
