"""What a configuration asks for is what the training does, and a training that goes on does the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from subdit.core.errors import CheckpointError
from subdit.core.errors import ConfigError
from subdit.core.errors import RunError
from subdit.core.errors import TrainingError
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.weights import WEIGHTS
from subdit.core.weights import supernet_digest
from subdit.space import SearchSpace
from subdit.space import get_space
from subdit.space import register_space
from subdit.space import rename_space
from supernet.checkpoints import load_supernet
from supernet.data.data_set import DataBatch
from supernet.flow_matching import shift_sigma
from supernet.recipe import read_recipe
from supernet.training.config import TrainingConfig
from supernet.training.config_file import read_training_config
from supernet.training.elastic_step import Batch
from supernet.training.optimizers import schedule
from supernet.training.train import train
from supernet.training.trainer import Trainer
from tests.supernet.digit_data import digit_data
from tests.supernet.killed import KilledError
from tests.supernet.killed import stop_at

SPACE = get_space("digits")
QUICK = TrainingConfig(steps=4, ceiling_s=None, batch_size=4, save_every_s=0)


def weights(run: Path) -> bytes:
    return (Run(run).supernet / WEIGHTS).read_bytes()


def distance(run: Path, other: Path) -> float:
    """Of all weights, over how far those of `other` went from where they began."""
    begun = Trainer(SPACE, digit_data(), QUICK).supernet.state_dict()
    one, two = (load_file(Run(each).supernet / WEIGHTS) for each in (run, other))
    off = sum(float((one[name] - two[name]).square().sum()) for name in two)
    return (off / sum(float((begun[name] - two[name]).square().sum()) for name in two)) ** 0.5


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "run"
    train("digits", path, config=QUICK)
    return path


# Machine --------------------------------------------------------------------------------------------------------------


def test_parts_of_a_batch_and_checkpointing_change_next_to_nothing(trained: Path, tmp_path: Path) -> None:
    """Sums of parts round otherwise; blocks that run again do not, nor do workers that read."""
    config = replace(QUICK, gradient_checkpointing=True, workers=1)
    train("digits", tmp_path / "same", config=config)
    assert weights(tmp_path / "same") == weights(trained)
    train("digits", tmp_path / "parts", config=replace(QUICK, accumulation=3))
    assert 0 < distance(tmp_path / "parts", trained) < 1e-2


def test_bfloat16_trains_float32_weights_and_goes_on_in_it(trained: Path, tmp_path: Path) -> None:
    half = replace(QUICK, precision="bf16")
    train("digits", tmp_path / "whole", config=half)
    assert 1e-4 < distance(tmp_path / "whole", trained) < 0.5
    assert {tensor.dtype for tensor in load_file(Run(tmp_path / "whole").supernet / WEIGHTS).values()} == {
        torch.float32
    }
    assert read_manifest(Run(tmp_path / "whole"))["steps"]["train"]["precision"] == "bf16"
    broken = tmp_path / "broken"
    with pytest.raises(KilledError):
        train("digits", broken, config=half, progress=stop_at(2))
    with safe_open(str(Run(broken).training / "state.safetensors"), framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float32}
    with pytest.raises(RunError, match="has precision bf16, not fp32; leave out --precision"):
        train("digits", broken, config=replace(half, precision="fp32"), resume=True)
    train("digits", broken, config=replace(half, precision="auto"), resume=True)
    assert weights(broken) == weights(tmp_path / "whole")


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no device 'cuda:99' here"):
        train("digits", tmp_path / "run", config=replace(QUICK, device="cuda:99"))
    assert not (tmp_path / "run").exists()


# Noise ----------------------------------------------------------------------------------------------------------------


def drawn(config: TrainingConfig, space: SearchSpace = SPACE) -> tuple[Trainer, Batch]:
    trainer = Trainer(space, digit_data(), config)
    return trainer, trainer.draw(next(trainer.batches))[0]


def test_noise_levels_are_shifted_as_asked_and_the_supernet_is_sampled_so(tmp_path: Path) -> None:
    (_, plain), (_, shifted) = drawn(QUICK), drawn(replace(QUICK, sigma_shift=3.0))
    assert torch.equal(shifted.sigma, shift_sigma(plain.sigma, 3.0)) and not torch.equal(shifted.sigma, plain.sigma)
    assert torch.equal(shifted.noise, plain.noise)
    train("digits", tmp_path, config=replace(QUICK, sigma_shift=3.0, steps=1))
    recipe, _ = read_recipe(Run(tmp_path).supernet)
    assert recipe.shift == 3.0 and recipe.steps == 28


def test_the_distribution_of_noise_levels_does_not_drift_over_a_training() -> None:
    """Quantiles of what 60 steps draw, early and late, against the closed form: logits are normal around log 3."""
    trainer = Trainer(SPACE, digit_data(), replace(QUICK, batch_size=64, sigma_shift=3.0, steps=10**6))
    read = next(trainer.batches)
    for begin in (0, 900_000):
        sigmas = []
        for trainer.step in range(begin, begin + 60):
            sigmas.append(trainer.draw(read)[0].sigma.double())
        every = torch.cat(sigmas).sort().values
        quantiles = torch.special.ndtr((every / (1 - every)).log() - torch.tensor(3.0).log())
        expected = (torch.arange(len(every)) + 0.5) / len(every)
        assert (quantiles - expected).abs().max() < 0.01


# Learning rate --------------------------------------------------------------------------------------------------------


def test_the_learning_rate_is_a_function_of_optimiser_steps_alone(tmp_path: Path) -> None:
    """Not of parts of a batch, nor of how often the training was interrupted."""
    rates: list[float] = []
    plain = Trainer.train_step

    def watched(self: Trainer, rate_share: float) -> Any:
        losses = plain(self, rate_share)
        rates.append(self.learning_rate)
        assert {group["lr"] for group in self.optimizers[-1].param_groups} == {self.learning_rate}
        return losses

    config = replace(QUICK, accumulation=2, learning_rate=1e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", watched)
        for stop in (1, 3):
            with pytest.raises(KilledError):
                train("digits", tmp_path, config=config, resume=True, progress=stop_at(stop))
        train("digits", tmp_path, config=config, resume=True)
    assert rates == [1e-3 * schedule(step / 4, config.warmup) for step in (0, 1, 2, 3)]


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 8), ("seed", 1), ("optimizer", "adamw"), ("muon_dtype", "bfloat16")]
)
def test_a_begun_training_keeps_what_its_state_depends_on(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=QUICK, progress=stop_at(1))
    with pytest.raises(RunError, match=f"has {name} .*, not {value}; leave out --{name.replace('_', '-')} to go on"):
        train("digits", tmp_path, config=replace(QUICK, **{name: value}), resume=True)


def test_without_a_configuration_a_training_goes_on_with_its_own(tmp_path: Path) -> None:
    config = replace(QUICK, optimizer="adamw", learning_rate=1e-3, seed=3)
    train("digits", tmp_path / "whole", config=config)
    with pytest.raises(KilledError):
        train("digits", tmp_path / "broken", config=config, progress=stop_at(2))
    train("digits", tmp_path / "broken", resume=True)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_the_configuration_of_a_run_trains_the_same_again(trained: Path, tmp_path: Path) -> None:
    training = read_training_config(Run(trained).config)
    assert (training.space, training.data, training.run) == ("digits", "digits", None)
    assert training.config == replace(QUICK, precision="fp32", muon_dtype="float32")
    train(training.space, tmp_path / "again", data=training.data, config=training.config)
    assert weights(tmp_path / "again") == weights(trained)
    space = register_space(rename_space(SPACE, "of-my-own"))
    train(space, tmp_path / "own", data="digits", config=replace(QUICK, steps=1))
    training = read_training_config(Run(tmp_path / "own").config)
    assert training.space == str(Run(tmp_path / "own").space) and get_space(training.space) == space


# Beginning ------------------------------------------------------------------------------------------------------------


def test_a_training_begins_with_the_weights_of_another(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    config = replace(QUICK, start_from=other)
    begun = Trainer(SPACE, digit_data(), config).supernet.state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in load_file(Run(other).supernet / WEIGHTS).items())
    train("digits", tmp_path / "whole", config=config)
    broken = tmp_path / "broken"
    with pytest.raises(KilledError):
        train("digits", broken, config=config, progress=stop_at(2))
    digest = supernet_digest(Run(other).supernet)
    shutil.rmtree(other)
    train("digits", broken, config=config, resume=True)
    assert weights(broken) == weights(tmp_path / "whole") != weights(trained)
    for run in (broken, tmp_path / "whole"):
        assert read_manifest(Run(run))["steps"]["train"]["start"] == digest
        assert read_training_config(Run(run).config).config.start_from == other


def test_what_a_training_cannot_begin_with_costs_nothing(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(CheckpointError, match="no weights"):
            train("digits", tmp_path / "run", config=replace(QUICK, start_from=folder), force=True)
    assert "train" in read_manifest(Run(tmp_path / "run"))["steps"] and weights(tmp_path / "run") == weights(trained)
    train("digits", tmp_path / "run", config=replace(QUICK, start_from=tmp_path / "run"), force=True)
    assert load_supernet(Run(tmp_path / "run").supernet) and weights(tmp_path / "run") != weights(trained)


# Numbers that are none ------------------------------------------------------------------------------------------------


def broken_draws(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """Let one number of the noise of a step be `value`."""
    plain = Trainer.draw

    def draw(self: Trainer, read: DataBatch) -> Any:
        batch, spec = plain(self, read)
        if self.step == step:
            batch.noise[0, 0, 0, 0] = value
        return batch, spec

    monkeypatch.setattr(Trainer, "draw", draw)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_loss_that_is_no_number_stops_and_loses_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    # States by time alone would be of no step at all.
    config = replace(QUICK, save_every_s=1e6)
    with monkeypatch.context() as patch, pytest.raises(TrainingError) as stopped:
        broken_draws(patch, 2, value)
        train("digits", tmp_path, config=config)
    said = str(stopped.value)
    assert said.startswith("In step 3 full is no finite number any more; the state before it is kept")
    assert "lower --learning-rate (now 0.005) or --muon-learning-rate (now 0.01)" in said and "\n" not in said
    seen: list[float] = []
    train("digits", tmp_path, resume=True, progress=lambda done, total, note: seen.append(done))
    assert seen == [3, 4] and weights(tmp_path) == weights(trained)


def test_a_training_that_blows_up_says_what_to_lower(tmp_path: Path) -> None:
    config = replace(QUICK, optimizer="adamw", learning_rate=1e18, steps=12, warmup=0.9)
    with pytest.raises(TrainingError, match=r"lower --learning-rate \(now 1e\+18\)\.$"):
        train("digits", tmp_path, config=config)
