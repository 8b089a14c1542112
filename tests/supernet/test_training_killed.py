"""A training killed at ten random moments, several of them within one epoch, ends as an uninterrupted one to the bit.

A moment is an operation on a file of the run: a process kills itself right before its n-th one since its first step.
So moments lie between a state that is written and its renaming, between metrics and state, within a checkpoint, and are
the same at each run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from subdit.core.errors import StoppedError
from subdit.core.run import Run
from subdit.core.weights import WEIGHTS
from supernet.data.data_set import DataBatch
from supernet.training.config import TrainingConfig
from supernet.training.metrics import read_metrics
from supernet.training.train import train as train_here
from supernet.training.trainer import Trainer

ROWS, BATCH, STEPS = 20, 2, 40
"""Ten steps are an epoch."""
LAST = STEPS - 1

TRAINING = f"""
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import supernet.data.digits as digits
from supernet.training.config import TrainingConfig
from supernet.training.train import train
from supernet.training.trainer import Trainer

run, ids, kill_at_operation, kill_at_step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
few = replace(digits.digits(), train=digits.digits().train.take(range({ROWS})))
digits.digits = lambda: few
draw, operations, began = Trainer.draw, 0, False

def draw_and_tell(self, read):
    global began
    began = True
    with ids.open("a") as file:
        file.write(json.dumps([self.step, *read.ids]) + "\\n")
    return draw(self, read)

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def count(event, arguments):
    global operations
    of_files = ("open", "os.rename", "os.remove", "os.mkdir", "os.symlink", "shutil.rmtree", "tempfile.mkstemp")
    if event in of_files and str(run) in str(arguments[0]) and began:
        operations += 1
        if operations == kill_at_operation:
            kill()

def progress(done, total, note):
    if done == kill_at_step:
        kill()

Trainer.draw = draw_and_tell
sys.addaudithook(count)
config = TrainingConfig(steps={STEPS}, ceiling_s=None, batch_size={BATCH}, save_every_s=0, log="jsonl")
train("digits", run, config=replace(config, validate_every=6, keep_checkpoints=2), resume=True, progress=progress)
"""


def train(folder: Path, *, at_operation: int = 0, at_step: int = 0) -> int:
    """Train in a process of its own until it ends or kills itself; returns its exit code."""
    arguments = [folder / "run", folder / "ids", at_operation, at_step]
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-c", TRAINING, *map(str, arguments)]
    return subprocess.run(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL).returncode


def drawn(folder: Path) -> list[list[object]]:
    """Step and ids of the samples of each batch that was drawn, in order."""
    return [json.loads(line) for line in (folder / "ids").read_text().splitlines()]


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_the_same(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    moments = random.Random(3)
    assert train(whole, at_step=LAST) == -signal.SIGKILL
    reached = []
    for _ in range(10):
        assert train(broken, at_operation=moments.randrange(1, 60)) == -signal.SIGKILL
        reached.append(drawn(broken)[-1][0] if (broken / "ids").exists() else 0)
    epochs = [int(step) // (ROWS // BATCH) for step in reached]  # type: ignore[call-overload]
    assert sorted(map(epochs.count, set(epochs)))[-2] >= 2, f"twice within an epoch, in two of them: {reached}"
    assert train(broken, at_step=LAST) == -signal.SIGKILL

    # Weights, moments of the optimisers, averages.
    states = [load_file(Run(folder / "run").training / "state.safetensors") for folder in (whole, broken)]
    assert states[0].keys() == states[1].keys() and any(key.endswith(".ema") for key in states[0])
    assert all(bool((states[0][key] == states[1][key]).all()) for key in states[0])

    assert train(whole) == train(broken) == 0
    assert (Run(whole / "run").supernet / WEIGHTS).read_bytes() == (Run(broken / "run").supernet / WEIGHTS).read_bytes()
    # A step that was drawn again had the samples of before, and in the end each was seen once an epoch.
    samples = {step: ids for step, *ids in drawn(whole)}
    assert all(samples[step] == ids for step, *ids in drawn(broken)) and len(samples) == STEPS
    assert len(drawn(broken)) > len(drawn(whole)) + 3, "otherwise nothing was lost by a kill"
    for epoch in range(STEPS * BATCH // ROWS):
        steps = range(epoch * ROWS // BATCH, (epoch + 1) * ROWS // BATCH)
        assert len({identity for step in steps for identity in samples[step]}) == ROWS
    lines = [
        [line for line in read_metrics(Run(folder / "run").training / "metrics.jsonl") if "validation" in line]
        for folder in (whole, broken)
    ]
    assert [line["step"] for line in lines[0]] == [6, 12, 18, 24, 30, 36, 40] and lines[0] == lines[1]
    kept = [sorted(path.name for path in (folder / "run/training/checkpoints").iterdir()) for folder in (whole, broken)]
    assert kept[0] == kept[1] and not list((broken / "run").rglob("*.tmp"))


def test_told_to_end_it_ends_its_step_saves_and_goes_on_from_there(tmp_path: Path) -> None:
    config = TrainingConfig(steps=4, batch_size=2, log="jsonl")
    before = signal.getsignal(signal.SIGTERM)

    def tell(done: float, total: float, note: str) -> None:
        if done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    train_here("digits", tmp_path / "whole", config=config)
    with pytest.raises(StoppedError, match="after step 2; go on with --resume"):
        train_here("digits", tmp_path / "broken", config=config, progress=tell)
    assert signal.getsignal(signal.SIGTERM) is before
    seen: list[float] = []
    train_here("digits", tmp_path / "broken", config=config, resume=True, progress=lambda done, *_: seen.append(done))
    assert seen == [3, 4]
    weights = [(Run(tmp_path / name).supernet / WEIGHTS).read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]


def test_told_to_end_in_its_last_step_it_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig(steps=2, batch_size=2, log="jsonl")
    draw = Trainer.draw

    def told(self: Trainer, read: DataBatch) -> Any:
        if self.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(self, read)

    monkeypatch.setattr(Trainer, "draw", told)
    train_here("digits", tmp_path, config=config)
    assert (Run(tmp_path).supernet / WEIGHTS).exists()
