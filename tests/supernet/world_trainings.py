"""Trainings of `digits` by one process and by several, for `test_world.py`: `python -m ... FOLDER SCENARIO`.

Each process appends the ids of its samples, its noise and its losses, step by step, to `NAME.RANK.jsonl`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import supernet.data.digits as digits
from subdit.core.errors import SubditError
from supernet.data.data_set import DataBatch
from supernet.training.config import TrainingConfig
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import StepLosses
from supernet.training.members import StepMembers
from supernet.training.train import train
from supernet.training.trainer import Trainer
from tests.supernet.killed import KilledError
from tests.supernet.killed import stop_at
from tests.supernet.ranks import run_ranks

ROWS, BATCH, STEPS = 7, 4, 20
"""No batch ends where an epoch does."""
CONFIG = TrainingConfig(
    steps=STEPS,
    batch_size=BATCH,
    accumulation=2,
    augmentation=0.1,
    text_drop=0.5,
    learning_rate=1e-4,
    muon_learning_rate=1e-3,
    validate_every=10,
    keep_checkpoints=1,
    save_every_s=0,
    log="jsonl",
)


def tell(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def watch(path: Path) -> None:
    """Let trainers of this process append what they draw and lose."""
    draw, step = Trainer.draw, Trainer.train_step

    def drawn(self: Trainer, read: DataBatch) -> tuple[Batch, StepMembers]:
        batch, members = draw(self, read)
        told = {"ids": read.ids, "noise": batch.noise.sum((1, 2, 3)).tolist(), "sigma": batch.sigma.tolist()}
        tell(path, {"step": self.step, "specs": [spec.hash for spec in members.subs], **told})
        return batch, members

    def stepped(self: Trainer, rate_share: float) -> StepLosses:
        at = self.step
        losses = step(self, rate_share)
        tell(path, {"step": at, "losses": list(asdict(losses).values())})
        return losses

    Trainer.draw, Trainer.train_step = drawn, stepped  # type: ignore[method-assign]


def once(
    folder: Path,
    name: str,
    rank: int,
    *,
    stop: int = STEPS + 1,
    before: Callable[[int], None] = lambda rank: None,
    config: TrainingConfig = CONFIG,
) -> None:
    """One process's part of a training, which goes on where one was begun."""
    whole = digits.digits()
    few = replace(whole, train=whole.train.take(range(ROWS)), validation=whole.validation.take(range(2)))
    digits.digits = lambda: few  # type: ignore[assignment]
    watch(folder / f"{name}.{rank}.jsonl")
    before(rank)
    try:
        train("digits", folder / name, config=config, resume=True, progress=stop_at(stop))
    except KilledError:
        # As a kill would, without a word to the others.
        os._exit(9)
    except SubditError as error:
        tell(folder / f"{name}.errors", {"rank": rank, "error": str(error)})
        os._exit(2)


def kill_at(operation: int, of_rank: int, folder: Path, rank: int) -> None:
    """Let one of the processes kill itself right before its n-th operation on a file."""
    left = operation

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        of_files = ("open", "os.rename", "os.remove", "os.mkdir", "os.symlink", "shutil.rmtree", "tempfile.mkstemp")
        if event in of_files and str(folder) in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if rank == of_rank:
        sys.addaudithook(count)


def equal(folder: Path) -> None:
    """By one, two and four processes."""
    for ranks in (1, 2, 4):
        run_ranks(ranks, partial(once, folder, f"{ranks}"))


def moved(folder: Path) -> None:
    """By one process, then two, then one."""
    run_ranks(1, partial(once, folder, "1"))
    run_ranks(1, partial(once, folder, "moved", stop=6), may_fail=True)
    run_ranks(2, partial(once, folder, "moved", stop=13), may_fail=True)
    run_ranks(1, partial(once, folder, "moved"))


def killed(folder: Path) -> None:
    """By two processes, of which one or the other kills itself at ten random moments; and undisturbed."""
    run_ranks(2, partial(once, folder, "whole"))
    moments = random.Random(4)
    for _ in range(10):
        of_rank = moments.randrange(2)
        # The one that does not write has two operations a step, on what it tells.
        moment = partial(kill_at, moments.randrange(2, 12 if of_rank else 60), of_rank, folder)
        run_ranks(2, partial(once, folder, "broken", before=moment), may_fail=True)
    run_ranks(2, partial(once, folder, "broken"))


def stopped(folder: Path) -> None:
    """By two processes, of which one is told to end in the middle of its fourth step; then again."""

    def tell_one(rank: int) -> None:
        draw = Trainer.draw

        def drawn(self: Trainer, read: DataBatch) -> tuple[Batch, StepMembers]:
            if (rank, self.step) == (1, 3):
                os.kill(os.getpid(), signal.SIGTERM)
            return draw(self, read)

        Trainer.draw = drawn  # type: ignore[method-assign]

    config = replace(CONFIG, save_every_s=1000.0)
    run_ranks(2, partial(once, folder, "stopped", before=tell_one, config=config), may_fail=True)
    run_ranks(2, partial(once, folder, "stopped", stop=6), may_fail=True)


def refused(folder: Path) -> None:
    """What processes that differ are told, and a batch that they cannot share."""
    run_ranks(3, partial(once, folder, "uneven"), may_fail=True)
    run_ranks(2, lambda rank: once(folder, "other", rank, config=replace(CONFIG, seed=rank)), may_fail=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    scenarios = {"equal": equal, "moved": moved, "killed": killed, "stopped": stopped, "refused": refused}
    scenarios[sys.argv[2]](Path(sys.argv[1]))
