"""What is looked at and kept while a training runs: right, once each, and without a trace in the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from subdit.core.errors import DataError
from subdit.core.errors import MissingExtraError
from subdit.core.errors import SampleError
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.weights import WEIGHTS
from subdit.space import get_space
from supernet.checkpoints import load_supernet
from supernet.data.digits import DigitsDataSet
from supernet.data.digits import digits
from supernet.pictures import save_contact_sheet
from supernet.sampling import sample
from supernet.training.config import TrainingConfig
from supernet.training.metrics import MetricsLog
from supernet.training.metrics import read_metrics
from supernet.training.train import train
from supernet.training.validation import fixed_validation_set
from supernet.training.validation import point_losses
from tests.supernet.digit_data import digit_data
from tests.supernet.killed import KilledError
from tests.supernet.killed import stop_at

SPACE = get_space("digits")
PLAIN = TrainingConfig(steps=6, ceiling_s=None, batch_size=4, save_every_s=0, learning_rate=2e-2, log="jsonl")
PROMPTS = ("a handwritten one", "a handwritten two")
WATCHED = replace(PLAIN, validate_every=2, keep_checkpoints=2, sample_every=3, sample_prompts=PROMPTS)


def weights(folder: Path) -> bytes:
    return (folder / WEIGHTS).read_bytes()


def validations(run: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(Run(run).training / "metrics.jsonl") if "validation" in line]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "run"
    train("digits", path, config=PLAIN)
    return path


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("watched") / "run"
    before = torch.random.get_rng_state()
    train("digits", path, config=WATCHED)
    assert torch.equal(torch.random.get_rng_state(), before)
    return path


def test_looking_changes_no_bit_of_the_training(plain: Path, watched: Path) -> None:
    assert weights(Run(watched).supernet) == weights(Run(plain).supernet)


# Validation -----------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_averaged_weights_at_eight_timesteps(watched: Path) -> None:
    """Of the last step, whose averaged weights are what was saved, computed again in the plainest way."""
    lines = validations(watched)
    assert [line["step"] for line in lines] == [2, 4, 6]
    supernet, split = load_supernet(Run(watched).supernet), digits().validation
    rows = [index * len(split) // 32 for index in range(32)]
    latents = torch.from_numpy(split.latents[rows])
    text = digit_data().read("validation", rows).text.tensors()
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((32, 8, 1, 8, 8)).astype(np.float32))
    assert lines[-1]["validation"].keys() == SPACE.named.keys()
    for name, spec in SPACE.named.items():
        losses = []
        for index in range(8):
            sigma = torch.full((32,), (index + 0.5) / 8)
            x_t = (1 - sigma[0]) * latents + sigma[0] * noise[:, index]
            with torch.no_grad():
                wrong = supernet(x_t, 1000 * sigma, *text, spec=spec) - (noise[:, index] - latents)
            losses.append(float(wrong.square().mean()))
            assert lines[-1]["validation_by_sigma"][f"{name} {(index + 0.5) / 8:g}"] == pytest.approx(
                losses[-1], abs=2e-6
            )
        assert lines[-1]["validation"][name] == pytest.approx(np.mean(losses), abs=2e-6)


def test_the_fixed_set_is_the_same_each_time_and_goes_through_in_any_parts(watched: Path) -> None:
    one, other = fixed_validation_set(digit_data()), fixed_validation_set(digit_data())
    assert one.hash == other.hash and len(one.sigma) == 256
    supernet = load_supernet(Run(watched).supernet)
    points = {"tiny": SPACE.named["tiny"]}
    whole, parts = (point_losses(supernet, one, points, rows_at_once=rows)["tiny"] for rows in (256, 7))
    assert list(whole.by_sigma) == [(index + 0.5) / 8 for index in range(8)]
    assert list(parts.by_sigma.values()) == pytest.approx(list(whole.by_sigma.values()), rel=1e-5)
    few = fixed_validation_set(digit_data(validation=3))
    assert len(few.sigma) == 24


def test_without_a_validation_split_there_is_nothing_to_validate_on() -> None:
    none = digits().validation.take(np.zeros(0, np.int64))
    with pytest.raises(DataError, match="no images in the split validation; encode it with a larger one, or leave"):
        fixed_validation_set(DigitsDataSet(SPACE, split=replace(digits(), validation=none)))


# Checkpoints ----------------------------------------------------------------------------------------------------------


def test_the_last_checkpoints_and_the_best_are_kept(watched: Path, tmp_path: Path) -> None:
    folder = Run(watched).training / "checkpoints"
    losses = {line["step"]: float(np.mean(list(line["validation"].values()))) for line in validations(watched)}
    best = min(losses, key=lambda step: losses[step])
    names = {f"step-{step:06d}" for step in {4, 6, best}}
    assert {path.name for path in folder.iterdir()} == names | {"best"}
    assert (folder / "best").readlink() == Path(f"step-{best:06d}")
    assert weights(folder / "step-000006") == weights(Run(watched).supernet) != weights(folder / "step-000004")
    assert sample(folder / "best", PROMPTS, steps=1).shape == (2, 1, 8, 8), "it knows its data"
    # A rate of nothing: no checkpoint is better than the first one, which stays although it is not among the last.
    train(
        "digits", tmp_path, config=replace(WATCHED, learning_rate=1e-12, muon_learning_rate=1e-12, keep_checkpoints=1)
    )
    kept = {path.name for path in (Run(tmp_path).training / "checkpoints").iterdir()}
    first = min(
        validations(tmp_path), key=lambda line: (float(np.mean(list(line["validation"].values()))), line["step"])
    )
    assert kept == {"best", "step-000006", f"step-{first['step']:06d}"}


# Samples --------------------------------------------------------------------------------------------------------------


def test_pictures_are_those_that_the_checkpoint_draws(watched: Path, tmp_path: Path) -> None:
    folder = Run(watched).training / "samples"
    assert sorted(path.name for path in folder.iterdir()) == ["step-000003.png", "step-000006.png"]
    drawn = save_contact_sheet(sample(watched, PROMPTS), tmp_path / "again.png", columns=2)
    assert drawn.read_bytes() == (folder / "step-000006.png").read_bytes()


def test_a_prompt_that_cannot_be_read_is_refused_before_anything_is_trained(plain: Path, tmp_path: Path) -> None:
    config = replace(PLAIN, sample_every=1, sample_prompts=("a handwritten elephant",))
    with pytest.raises(SampleError, match="elephant"):
        train("digits", plain, config=config, force=True)
    assert "train" in read_manifest(Run(plain))["steps"], "a refusal costs nothing"


# Interruptions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [pytest.param((1, 2, 5), marks=pytest.mark.slow), (4, 6)])
def test_an_interrupted_training_leaves_the_same(watched: Path, tmp_path: Path, stops: tuple[int, ...]) -> None:
    """Killed after a validation whose state is not saved, as well: its line and its checkpoint are made again."""
    for stop in stops:
        with pytest.raises(KilledError):
            train("digits", tmp_path, config=WATCHED, resume=True, progress=stop_at(stop))
    checkpoints = Run(tmp_path).training / "checkpoints"
    late = checkpoints / "step-000099"
    late.mkdir(parents=True)
    train("digits", tmp_path, config=WATCHED, resume=True)
    assert weights(Run(tmp_path).supernet) == weights(Run(watched).supernet)
    assert validations(tmp_path) == validations(watched)
    for part in ("checkpoints", "samples"):
        one, other = (Run(run).training / part for run in (tmp_path, watched))
        files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
        assert files == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
        assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    assert (checkpoints / "best").resolve() == checkpoints / (Run(watched).training / "checkpoints/best").readlink()


def test_a_training_that_starts_over_leaves_nothing_of_the_one_before(watched: Path, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=WATCHED, progress=stop_at(4))
    train("digits", tmp_path, config=replace(PLAIN, steps=1), force=True)
    assert sorted(path.name for path in Run(tmp_path).training.iterdir()) in ([], ["metrics.jsonl"])


# TensorBoard ----------------------------------------------------------------------------------------------------------


def test_curves_and_pictures_for_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator as accumulators

    log = MetricsLog(tmp_path, log="auto")
    log.write(20, {"full": 0.5, "validation": {"tiny": 0.25}})
    log.write(40, {"full": 0.4})
    log.write_pictures(40, np.zeros((2, 4, 8, 8), np.float32))
    log.close()
    # Killed after step 20, it writes step 40 again.
    again = MetricsLog(tmp_path, log="tensorboard", after=20)
    again.write(40, {"full": 0.3})
    again.close()
    found = accumulators.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("training/full")] == [
        (20, pytest.approx(0.5)),
        (40, pytest.approx(0.3)),
    ]
    assert [(event.step, event.value) for event in found.Scalars("validation/tiny")] == [(20, 0.25)]
    assert [line["full"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [0.5, 0.3]


def test_tensorboard_that_is_not_there_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"pip install 'subdit\[tensorboard\]'"):
            train("digits", tmp_path, config=replace(PLAIN, log="tensorboard"))
    else:
        train("digits", tmp_path, config=replace(PLAIN, steps=1, log="tensorboard"))
        assert list((Run(tmp_path).training / "tensorboard").iterdir())
