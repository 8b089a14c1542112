"""Several processes train as one does: same members, samples and noise together, same losses and weights, any count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from subdit.core.run import Run
from subdit.core.weights import WEIGHTS
from supernet.training.config import TrainingConfig
from supernet.training.metrics import read_metrics
from supernet.training.train import train
from supernet.training.world import World
from supernet.training.world import was_started_among_others
from tests.supernet.world_trainings import BATCH
from tests.supernet.world_trainings import ROWS
from tests.supernet.world_trainings import STEPS

ROOT = Path(__file__).parents[2]


def trained(folder: Path, scenario: str) -> Path:
    """The folder after a scenario of `world_trainings`."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.supernet.world_trainings", str(folder), scenario]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def told(folder: Path, name: str, rank: int, key: str) -> dict[int, Any]:
    """By step what a process told last; it may tell a step again, after a kill."""
    lines = [json.loads(line) for line in (folder / f"{name}.{rank}.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def largest_difference(folder: Path, name: str) -> float:
    """Between the averaged weights that a training and that of one process left."""
    one, other = (load_file(str(Run(folder / each).supernet / WEIGHTS)) for each in ("1", name))
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one)


@pytest.fixture(scope="module")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("equal"), "equal")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_losses_and_weights_are_those_of_one_process(equal: Path, ranks: int) -> None:
    one = told(equal, "1", 0, "losses")
    for rank in range(ranks):
        losses = told(equal, f"{ranks}", rank, "losses")
        assert len(losses) == STEPS
        for step, values in losses.items():
            assert values == pytest.approx(one[step], rel=1e-5, abs=1e-8)
    assert largest_difference(equal, f"{ranks}") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_members_are_the_same_and_samples_noise_and_sigmas_are_parts_of_one_batch(equal: Path, ranks: int) -> None:
    """Trap 6, trap 13, and trap 5: seven samples, in batches of four, on two and on four processes."""
    for key in ("ids", "noise", "sigma"):
        whole = told(equal, "1", 0, key)
        parts = [told(equal, f"{ranks}", rank, key) for rank in range(ranks)]
        for step in range(STEPS):
            together = [parts[place % ranks][step][place // ranks] for place in range(BATCH)]
            assert together == pytest.approx(whole[step]) if key == "noise" else together == whole[step]
            assert len(set(whole[step])) == BATCH or key == "ids"
    specs = [told(equal, name, rank, "specs") for name, rank in [("1", 0), *((f"{ranks}", r) for r in range(ranks))]]
    assert all(of == specs[0] for of in specs) and len({*map(tuple, specs[0].values())}) > 1
    seen = [identity for step in range(STEPS) for identity in told(equal, "1", 0, "ids")[step]]
    assert all(len(set(seen[start : start + ROWS])) == ROWS for start in range(0, len(seen) - ROWS, ROWS))


@pytest.mark.slow
def test_one_process_writes(equal: Path) -> None:
    for name in ("1", "2", "4"):
        lines = list(read_metrics(Run(equal / name).training / "metrics.jsonl"))
        assert [line["step"] for line in lines] == [10, 20, 20]
        assert [path.name for path in (Run(equal / name).training / "checkpoints").glob("step-*")] == ["step-000020"]
        assert not list((equal / name).rglob("*.tmp"))


@pytest.mark.slow
def test_a_training_goes_on_with_two_processes_and_then_with_one_again(tmp_path: Path) -> None:
    trained(tmp_path, "moved")
    one, moved = (told(tmp_path, name, 0, "losses") for name in ("1", "moved"))
    assert sorted(told(tmp_path, "moved", 1, "losses")) == list(range(6, 13))
    assert len(moved) == STEPS
    for step, values in moved.items():
        assert values == pytest.approx(one[step], rel=1e-5, abs=1e-8)
    assert largest_difference(tmp_path, "moved") < 1e-5


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_ten_times_end_as_undisturbed_ones(tmp_path: Path) -> None:
    trained(tmp_path, "killed")
    weights = [(Run(tmp_path / name).supernet / WEIGHTS).read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]
    for rank in (0, 1):
        for key in ("ids", "losses"):
            assert told(tmp_path, "broken", rank, key) == told(tmp_path, "whole", rank, key)
    drawn = [len((tmp_path / f"{name}.1.jsonl").read_text().splitlines()) for name in ("whole", "broken")]
    assert drawn[1] > drawn[0], "otherwise nothing was lost by a kill"
    errors = (tmp_path / "broken.errors").read_text()
    assert "Another process of this training ended" in errors and "first process" not in errors


@pytest.mark.slow
def test_one_process_that_is_told_to_end_ends_all_with_a_state(tmp_path: Path) -> None:
    trained(tmp_path, "stopped")
    said = [json.loads(line)["error"] for line in (tmp_path / "stopped.errors").read_text().splitlines()]
    assert (
        said[:2]
        == ["The system told this training to end (SIGTERM), and it did after step 4; go on with --resume."] * 2
    )
    for rank in (0, 1):
        lines = [json.loads(line) for line in (tmp_path / f"stopped.{rank}.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "ids" in line] == list(range(6)), "no step was lost, or made again"


@pytest.mark.slow
def test_what_processes_cannot_train_together_is_refused_in_one_sentence(tmp_path: Path) -> None:
    trained(tmp_path, "refused")
    uneven, other = (
        {json.loads(line)["error"] for line in (tmp_path / f"{name}.errors").read_text().splitlines()}
        for name in ("uneven", "other")
    )
    assert "A batch of 4 samples does not go to 3 processes evenly; give a batch_size that they divide." in uneven
    assert any("have not the same settings; give all of them the same files" in error for error in other)


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    return subprocess.run(
        [*command, "-m", "subdit", "--", "train", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_by_torchrun_as_a_user_starts_it(tmp_path: Path) -> None:
    run, alone = tmp_path / "run", tmp_path / "alone"
    options = ["--steps", "3", "--batch-size", "4", "--no-ceiling"]
    done = torchrun("digits", "--run", str(run), *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(Run(run).supernet)], "one process prints"
    train("digits", alone, config=TrainingConfig(steps=3, batch_size=4))
    one, two = (load_file(str(Run(each).supernet / WEIGHTS)) for each in (alone, run))
    # At the learning rates of so short a training rounding shows.
    assert all(float((one[key] - two[key]).abs().max()) < 1e-4 for key in one)
    again = torchrun("digits", "--run", str(run), *options)
    assert again.returncode != 0
    assert f"Error: The run {run} holds a trained supernet; pass --force to train it again." in again.stderr


def test_one_process_alone_is_a_world_that_changes_nothing() -> None:
    world, tensor = World(), torch.ones(3, dtype=torch.bfloat16)
    assert world.sum_tensors([tensor])[0] is tensor
    assert world.sums([1.5]) == [1.5] and world.largest(2.5, -1.0) == (2.5, -1.0)
    assert torch.equal(world.own(torch.arange(4)), torch.arange(4)) and world.is_first
    with pytest.raises(KeyError):
        world.first(lambda: {}["no"])


def test_only_what_torchrun_says_makes_a_process_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name in names:
        monkeypatch.delenv(name, raising=False)
        assert not was_started_among_others()
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert was_started_among_others()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not was_started_among_others()
