"""Trainings that benchmarks make: how long they take, and each begun, resumed or found finished."""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import count_flops
from supernet.data.data_set import DataSet
from supernet.parallel import shard_count
from supernet.training.begun import STATE
from supernet.training.config import TrainingConfig
from supernet.training.members import draw_members

WARM_UP_STEPS, TIMED_STEPS = 2, 8
FORWARD_AND_BACKWARD = 3
"""A backward pass has two products for each of the forward pass."""


def training_s(space: SearchSpace, data: DataSet, config: TrainingConfig) -> float:
    """Seconds that a training will take, from the median of a few steps."""
    from supernet.training.trainer import Trainer

    trainer, taken_s = Trainer(space, data, config), []
    for _ in range(WARM_UP_STEPS + TIMED_STEPS):
        begun = time.perf_counter()
        trainer.train_step(0.5)
        taken_s.append(time.perf_counter() - begun)
    return float(np.median(taken_s[WARM_UP_STEPS:])) * config.steps


def print_hours(trainings_s: Iterable[float]) -> None:
    """What trainings of so many seconds will take, before they begin."""
    seconds = list(trainings_s)
    hours = sum(seconds) / 3600
    print(
        f"{len(seconds)} trainings will take about {hours:.1f} hours, {hours * shard_count():.1f} core-hours.",
        flush=True,
    )


def is_trained(run: Run) -> bool:
    """Whether the run holds a finished training."""
    return run.manifest.exists() and "train" in read_manifest(run)["steps"]


def train_or_resume(space: SearchSpace, run: Run, data: str | Path, config: TrainingConfig, label: str) -> None:
    """Train into a run, from where a kill left it; progress is printed every hundred steps."""
    from supernet.training.train import train

    def tell(done: int, total: int, text: str = "") -> None:
        if done % 100 == 0 or done == total:
            print(f"  {label}: {text}", flush=True)

    resume = (run.training / STATE).exists()
    train(space, run.path, data=data, config=config, resume=resume, progress=tell)


def trained_specs(space: SearchSpace, config: TrainingConfig) -> list[SubDiTSpec]:
    """The full network and the sub-networks of every step of a supernet's training."""
    members = [draw_members(space, config, step) for step in range(config.steps)]
    return [each.full or space.named_spec("full") for each in members] + [
        spec for each in members for spec in each.subs
    ]


def teraflops(space: SearchSpace, specs: Sequence[SubDiTSpec], config: TrainingConfig) -> float:
    """What forward and backward passes of these sub-DiTs compute, a batch each, by closed forms; no optimiser."""
    distinct = dict.fromkeys(specs)
    flops = dict(zip(distinct, count_flops(space, space.encode(distinct)).tolist(), strict=True))
    return FORWARD_AND_BACKWARD * config.batch_size * sum(flops[spec] for spec in specs) / 1e12
