"""How long the trainings of a truth table will take, measured on a few updates before any of them begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nas.truth_table._recipe import training_config
from nas.truth_table._worker import TruthWork
from subdit.space import SubDiTSpec
from subdit.space import count_flops
from subdit.space import get_space

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from supernet.model.dit import SubDiT

Floats = npt.NDArray[np.float64]

_TIMED_AT = (0.1, 0.5, 0.9)
"""Places in the sub-DiTs by FLOPs, whose updates and samples are timed."""
_UPDATES = 5
_SAMPLES = 64


@dataclass(frozen=True)
class TruthCost:
    """What the trainings that are left will take on this machine, by the time of its processors.

    That time hardly depends on what else the machine does. On a GPU it is the time of the process that drives it.

    Attributes:
        trainings: that are left.
        core_hours: of all of them.
        core_hours_per_100_updates: of one training, in the mean; without the judging.
        judging_core_hours: of one trained sub-DiT, in the mean.
    """

    trainings: int
    core_hours: float
    core_hours_per_100_updates: float
    judging_core_hours: float

    def __str__(self) -> str:
        return (
            f"{self.trainings} trainings are left; they will take about {self.core_hours:.2f} core-hours here: in the "
            f"mean {self.core_hours_per_100_updates:.4f} per 100 updates, and {self.judging_core_hours:.4f} to judge."
        )


def estimate_cost(work: TruthWork) -> TruthCost:
    """Time some updates and samples of three sub-DiTs; those of others follow from their FLOPs by a straight line."""
    # Looked up once: other workers go on meanwhile.
    left = work.left
    if not left:
        return TruthCost(0, 0.0, 0.0, 0.0)
    space = get_space(work.recipe.space)
    flops = count_flops(space, space.encode([job.spec for job in left])).astype(np.float64)
    order = np.argsort(flops, kind="stable")
    timed = sorted({int(order[round(place * (len(left) - 1))]) for place in _TIMED_AT})
    per_update = np.asarray([_seconds_per_update(work, left[index].spec) for index in timed])
    judging = np.asarray([_judging_seconds(work, left[index].spec) for index in timed])
    updates_s, judging_s = (_line(flops[timed], seconds, flops) for seconds in (per_update, judging))
    total = float(np.sum(work.recipe.updates * updates_s + judging_s))
    return TruthCost(len(left), total / 3600, float(100 * updates_s.mean()) / 3600, float(judging_s.mean()) / 3600)


def _line(x: Floats, y: Floats, at: Floats) -> Floats:
    """A line through points (n,), read at other places, never below the smallest value; constant for one point."""
    if len(x) < 2 or np.ptp(x) == 0:
        return np.full(len(at), float(y.mean()))
    slope, offset = np.polyfit(x, y, 1)
    return np.maximum(slope * at + offset, 0.5 * y.min())


def _seconds_per_update(work: TruthWork, spec: SubDiTSpec) -> float:
    from supernet.training.standalone import train_alone

    moments: list[float] = []

    def note(_: int, __: float, ___: AbstractContextManager[SubDiT]) -> None:
        moments.append(time.process_time())

    config = training_config(replace(work.recipe, updates=_UPDATES + 1))
    train_alone(spec, work.train.data, updates=_UPDATES + 1, seed=0, config=config, after_step=note)
    return float(np.median(np.diff(moments)))


def _judging_seconds(work: TruthWork, spec: SubDiTSpec) -> float:
    """Of drawing all samples, by some of them; features and distances take seconds, whatever the sub-DiT."""
    from supernet.evaluation.samples import generate
    from supernet.model.dit import SubDiT

    recipe, judge = work.recipe, work.train.judge
    if judge is None:
        return 0.0
    model = SubDiT.from_spec(get_space(spec.space), spec).eval()
    some = min(_SAMPLES, recipe.samples)
    condition = judge.reference.condition(judge.reference.draw_prompts(some, seed=0))
    began = time.process_time()
    generate(model, spec.space, condition, steps=1)
    return (time.process_time() - began) * recipe.samples / some * recipe.sample_steps
