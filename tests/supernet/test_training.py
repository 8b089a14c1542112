"""Training: the same from the same seed, and the same however often it was interrupted."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load
from safetensors.torch import save

import supernet.training.muon as muon
import supernet.training.step_loop as step_loop
from subdit.core.errors import CheckpointError
from subdit.core.errors import ConfigError
from subdit.core.errors import RunError
from subdit.core.errors import SpaceError
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.run import start_manifest
from subdit.core.training_record import SUPERNET
from subdit.core.training_record import TrainingRecord
from subdit.core.training_record import cut_sentence
from subdit.core.training_record import training_records
from subdit.core.weights import WEIGHTS
from subdit.space import get_space
from supernet.checkpoints import load_supernet
from supernet.model.elastic import ElasticDiT
from supernet.training.config import TrainingConfig
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import StepLosses
from supernet.training.members import StepMembers
from supernet.training.metrics import read_metrics
from supernet.training.optimizers import schedule
from supernet.training.train import train
from supernet.training.trainer import Trainer
from tests.supernet.digit_data import digit_data
from tests.supernet.killed import KilledError
from tests.supernet.killed import stop_at
from tests.supernet.two_encoders import two_encoder_space

SPACE = get_space("digits")
STEPS = 5
QUICK = TrainingConfig(steps=STEPS, ceiling_s=None, batch_size=2, save_every_s=0)


def ticking_clock(seconds: float) -> Any:
    """A clock that is so much later whenever it is looked at, so that each step takes as long."""
    now = itertools.count()
    return SimpleNamespace(perf_counter=lambda: seconds * next(now))


def weights(run: Path) -> bytes:
    return (Run(run).supernet / WEIGHTS).read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    path = tmp_path_factory.mktemp("trained") / "run"
    train("digits", path, config=QUICK)
    return path


# The same again -------------------------------------------------------------------------------------------------------


def test_training_depends_on_its_seed_alone(trained: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    train("digits", tmp_path / "again", config=QUICK)
    assert weights(tmp_path / "again") == weights(trained)
    assert torch.equal(torch.random.get_rng_state(), before), "nor does it touch the caller's randomness"
    train("digits", tmp_path / "other", config=replace(QUICK, seed=1))
    assert weights(tmp_path / "other") != weights(trained)


def test_two_text_encoders_are_dropped_independently_and_nothing_else_changes() -> None:
    config = TrainingConfig(steps=STEPS, batch_size=64, encoder_drop=0.5)
    spaces = ("digits", two_encoder_space().name)
    alone, both = (Trainer(get_space(each), digit_data(each), config) for each in spaces)
    (one, one_members), (two, two_members) = drawn(alone), drawn(both)
    assert one.text_mask is None and two.text_mask is not None and two.text_mask.shape == (64, 10)
    assert set(map(tuple, two.text_mask[:, [0, 4]].tolist())) == {(True, True), (True, False), (False, True)}
    assert torch.equal(two.text_mask, drawn(both)[0].text_mask), "drawn from seed and step"
    for key in ("latents", "noise", "sigma"):
        assert torch.equal(getattr(one, key), getattr(two, key)), key
    assert torch.equal(one.text[0], two.text[0]) and replace(two_members.subs[0], space="digits") == one_members.subs[0]
    before = both.supernet.full.text_projection.encoders["more"][1].weight.detach().clone()
    both.train_step(0.5)
    assert not torch.equal(both.supernet.full.text_projection.encoders["more"][1].weight, before)


def test_what_training_leaves(trained: Path) -> None:
    run = Run(trained)
    assert load_supernet(run.supernet).config["space"] == "digits"
    assert read_manifest(run)["steps"]["train"]["steps"] == STEPS
    assert yaml.safe_load(run.config.read_text())["training"]["batch_size"] == 2
    assert not list(run.training.glob("*.safetensors")), "a finished training needs no resume state"
    assert not list(trained.rglob("*.tmp"))


@pytest.mark.parametrize("stops", [pytest.param((STEPS,), marks=pytest.mark.slow), (1, 2, 4)])
def test_interrupted_training_ends_with_the_same_weights(trained: Path, tmp_path: Path, stops: tuple[int, ...]) -> None:
    run = tmp_path / "run"
    for stop in stops:
        with pytest.raises(KilledError):
            train("digits", run, config=QUICK, resume=True, progress=stop_at(stop))
    seen: list[float] = []
    train("digits", run, config=QUICK, resume=True, progress=lambda done, total, note: seen.append(done))
    assert seen == list(range(stops[-1], STEPS + 1))[1:], "it goes on, and does not start anew"
    assert weights(run) == weights(trained)


def test_killed_while_the_weights_are_written(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(self: ElasticDiT, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.save_config(folder)
        (folder / WEIGHTS).write_bytes(weights(trained)[:1000])
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(ElasticDiT, "save_pretrained", torn)
        train("digits", tmp_path / "run", config=QUICK)
    train("digits", tmp_path / "run", config=QUICK, resume=True)
    assert weights(tmp_path / "run") == weights(trained)


def test_forced_training_that_was_killed_goes_on(trained: Path, tmp_path: Path) -> None:
    """The weights that it replaces no longer count as this run's."""
    run = tmp_path / "run"
    train("digits", run, config=replace(QUICK, steps=1, seed=5))
    with pytest.raises(KilledError):
        train("digits", run, config=QUICK, force=True, progress=stop_at(3))
    seen: list[float] = []
    train("digits", run, config=QUICK, resume=True, progress=lambda done, total, note: seen.append(done))
    assert seen == [4, 5]
    assert weights(run) == weights(trained)


# Cut short -----------------------------------------------------------------------------------------------------------


CUT = replace(QUICK, steps=40, ceiling_s=20.0)
"""With steps of a second 20 of the 40 are made; that is decided after 18."""


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was cut, and not killed."""
    path = tmp_path_factory.mktemp("cut") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_loop, "time", ticking_clock(1.0))
        train("digits", path, config=CUT)
    return path


def learning_rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rates that training asks for from now on; it does nothing else."""
    seen: list[float] = []

    def watched(self: Trainer, rate_share: float) -> StepLosses:
        seen.append(rate_share)
        return StepLosses(full=1.0, sub=2.0, distill=3.0, full_gradient_norm=4.0, sub_gradient_norm=5.0)

    monkeypatch.setattr(Trainer, "train_step", watched)
    return seen


def test_time_enters_nothing_while_the_ceiling_does_not_bind(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds, ceiling_s in (("slow", 1.0, 6.0), ("slower", 100.0, None)):
        monkeypatch.setattr(step_loop, "time", ticking_clock(seconds))
        train("digits", tmp_path / name, config=replace(QUICK, ceiling_s=ceiling_s))
        assert weights(tmp_path / name) == weights(trained)


def test_a_cut_training_cools_down_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_loop, "time", ticking_clock(1.0))
    rates, notes = learning_rates(monkeypatch), list[str]()
    train("digits", tmp_path, config=CUT, progress=lambda done, total, note: notes.append(note))
    whole = [schedule(step / 40, CUT.warmup) for step in range(40)]
    assert rates[:18] == whole[:18]
    assert rates[18:] == pytest.approx([whole[18], whole[18] / 2])
    records = training_records(Run(tmp_path))
    assert records == {SUPERNET: TrainingRecord(20, 40, 20.0, 18)}
    lines = list(read_metrics(Run(tmp_path).training / "metrics.jsonl"))
    assert [line["last_step"] for line in lines] == [20]
    assert notes[0] == "step 1 of 40"
    assert notes[2] == "step 3 of 40, about 40 seconds; the ceiling of 20 seconds cuts it near 20"
    assert notes[18].startswith("step 19 of 20, cut from 40 by the ceiling in seconds")
    sentence = cut_sentence(records, space="digits")
    assert sentence.startswith("Supernet trained 20 of 40 steps: ")
    assert "worse than README's" in sentence and sentence.endswith("with --no-ceiling takes 40 seconds here.")


@pytest.mark.parametrize(
    "stop", [pytest.param(7, marks=pytest.mark.slow), 18, pytest.param(19, marks=pytest.mark.slow)]
)
def test_a_cut_training_that_was_killed_ends_as_an_uninterrupted_one(
    cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Killed before the cut, right when it was decided, and after; once it is, no clock matters any more."""
    monkeypatch.setattr(step_loop, "time", ticking_clock(1.0))
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=CUT, progress=stop_at(stop))
    monkeypatch.setattr(step_loop, "time", ticking_clock(1.0 if stop < 18 else 77.0))
    train("digits", tmp_path, config=CUT, resume=True)
    assert weights(tmp_path) == weights(cut)


def test_a_cut_training_does_not_go_on_without_a_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_loop, "time", ticking_clock(1.0))
    learning_rates(monkeypatch)
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=CUT, progress=stop_at(19))
    kept = Run(tmp_path).config.read_bytes()
    with pytest.raises(RunError, match="was cut after 18 steps"):
        train("digits", tmp_path, config=replace(CUT, ceiling_s=None), resume=True)
    with pytest.raises(RunError, match="one of 40 steps, not 41"):
        train("digits", tmp_path, config=replace(CUT, steps=41), resume=True)
    assert Run(tmp_path).config.read_bytes() == kept
    train("digits", tmp_path, config=replace(CUT, ceiling_s=1000.0), resume=True)
    assert training_records(Run(tmp_path))[SUPERNET].steps == 20, "what was cut stays cut"


# Muon's dtype ---------------------------------------------------------------------------------------------------------


def muon_dtypes(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The dtypes in which Muon really iterates from now on."""
    seen: list[torch.dtype] = []
    iterate = muon.orthogonalize

    def watched(matrices: torch.Tensor, **options: Any) -> torch.Tensor:
        seen.append(matrices.dtype)
        return iterate(matrices, **options)

    monkeypatch.setattr(muon, "orthogonalize", watched)
    return seen


def test_a_resumed_training_keeps_the_dtype_of_muon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = muon_dtypes(monkeypatch)
    begun = replace(QUICK, muon_dtype="bfloat16")
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=begun, progress=stop_at(2))
    with pytest.raises(RunError, match="begun training has muon_dtype bfloat16, not float32; leave out --muon-dtype"):
        train("digits", tmp_path, config=replace(QUICK, muon_dtype="float32"), resume=True)
    train("digits", tmp_path, config=QUICK, resume=True)
    assert set(seen) == {torch.bfloat16}
    assert read_manifest(Run(tmp_path))["steps"]["train"]["muon_dtype"] == "bfloat16"
    assert yaml.safe_load(Run(tmp_path).config.read_text())["training"]["muon_dtype"] == "bfloat16"
    seen.clear()
    train("digits", tmp_path, config=QUICK, force=True)
    assert set(seen) == {torch.float32}
    with pytest.raises(ConfigError, match="'half'"):
        train("digits", tmp_path, config=replace(QUICK, muon_dtype="half"), force=True)
    assert "train" in read_manifest(Run(tmp_path))["steps"], "a refusal costs nothing"


def test_a_state_of_an_earlier_version_is_refused_and_kept(tmp_path: Path) -> None:
    """It names no data set, and its batches were drawn in another way."""
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=replace(QUICK, muon_dtype="bfloat16"), progress=stop_at(2))
    state = Run(tmp_path).training / "state.safetensors"
    tensors = load(state.read_bytes())
    kinds = {key.partition(".optimizer.")[2] for key in tensors if ".optimizer." in key}
    assert kinds == {"momentum_buffer", "step", "exp_avg", "exp_avg_sq"}
    facts = {"step": "2", "elapsed_s": "31.5", "ema_step.supernet": "2"}
    state.write_bytes(save(tensors, metadata=facts))
    kept = state.read_bytes()
    with pytest.raises(RunError, match=r"earlier version, which drew other batches; start over \(--force\)"):
        train("digits", tmp_path, config=QUICK, resume=True)
    assert state.read_bytes() == kept


# Refusals -------------------------------------------------------------------------------------------------------------


def test_a_trained_supernet_is_not_overwritten(trained: Path) -> None:
    kept = weights(trained)
    for resume in (False, True):
        with pytest.raises(RunError, match="trained supernet; pass --force"):
            train("digits", trained, config=QUICK, resume=resume)
    assert weights(trained) == kept


def test_a_begun_training_is_neither_resumed_nor_overwritten_unasked(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=QUICK, progress=stop_at(2))
    with pytest.raises(RunError, match="--resume .*--force"):
        train("digits", tmp_path, config=QUICK)
    seen: list[float] = []
    train("digits", tmp_path, config=QUICK, force=True, progress=lambda done, total, note: seen.append(done))
    assert seen[0] == 1
    assert weights(tmp_path) == weights(trained)


def test_a_run_of_another_space_is_refused(tmp_path: Path) -> None:
    start_manifest(Run(tmp_path), space="mobile")
    with pytest.raises(RunError, match="of space 'mobile', not 'digits'"):
        train("digits", tmp_path, config=QUICK)
    with pytest.raises(SpaceError, match="mars"):
        train("mars", tmp_path / "new", config=QUICK)
    assert not (tmp_path / "new").exists()


def damaged_states(state: Path) -> dict[str, bytes]:
    good = state.read_bytes()
    tensors = load(good)
    name = "supernet.3.weight"
    with safe_open(str(state), framework="pt") as file:
        numbers = file.metadata()
    return {
        "empty": b"",
        "torn": good[: len(good) // 2],
        "text": b"not a state",
        "a tensor short": save({key: value for key, value in tensors.items() if key != name}, metadata=numbers),
        "a tensor of another shape": save({**tensors, name: torch.zeros(3, 3, 3)}, metadata=numbers),
        "without its numbers": save(tensors),
    }


def test_damaged_resume_states_are_refused(tmp_path: Path) -> None:
    state = Run(tmp_path).training / "state.safetensors"
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=QUICK, progress=stop_at(1))
    for how, content in damaged_states(state).items():
        state.write_bytes(content)
        with pytest.raises(CheckpointError, match="resume state .* is damaged") as refused:
            train("digits", tmp_path, config=QUICK, resume=True)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 400, how


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path).lock(), pytest.raises(RunError, match="in use"):
        train("digits", tmp_path, config=QUICK)


# Its parts ------------------------------------------------------------------------------------------------------------


def test_metrics_are_kept_once_each_across_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def instant_step(self: Trainer, rate_share: float) -> StepLosses:
        self.step += 1
        return StepLosses(
            full=(self.step - 1) / 45, sub=2.0, distill=3.0, full_gradient_norm=4.0, sub_gradient_norm=5.0
        )

    monkeypatch.setattr(Trainer, "train_step", instant_step)
    monkeypatch.setattr(step_loop, "time", ticking_clock(1.0))
    config = TrainingConfig(steps=45, ceiling_s=None, save_every_s=20)
    with pytest.raises(KilledError):
        train("digits", tmp_path, config=config, progress=stop_at(21))
    metrics = Run(tmp_path).training / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write(json.dumps({"step": 40, "full": 0.0}) + '\n{"step": 41, "fu')
    train("digits", tmp_path, config=config, resume=True)
    lines = list(read_metrics(metrics))
    assert [line["step"] for line in lines] == [20, 41]
    assert [line["full"] for line in lines] == pytest.approx([9.5 / 45, 30.5 / 45], abs=1e-4)
    assert {"full", "sub", "distill", "elapsed_s"} <= lines[0].keys()
    assert [line["last_step"] for line in lines] == [45, 45]


def drawn(trainer: Trainer) -> tuple[Batch, StepMembers]:
    """What the trainer's step makes of its rows, and who takes part in it."""
    return trainer.draw(trainer.data.read("train", trainer.order.rows(trainer.step).tolist()))


def test_steps_draw_batches_of_their_own() -> None:
    trainer = Trainer(SPACE, digit_data(), TrainingConfig(batch_size=200, text_drop=0.25))
    first, members = drawn(trainer)
    again, same_members = drawn(trainer)
    assert torch.equal(first.noise, again.noise) and members == same_members
    trainer.step = 1
    second, _ = drawn(trainer)
    assert not torch.equal(first.latents, second.latents), "an epoch has every picture once"
    assert not torch.equal(first.noise, second.noise)
    assert not torch.equal(first.sigma, second.sigma)
    dropped = (first.text[0] == trainer.null.embeddings[0]).all(dim=(1, 2)).float().mean().item()
    assert 0.15 < dropped < 0.35
    assert 0 < first.sigma.min() and first.sigma.max() < 1
    specs = set()
    for trainer.step in range(40):
        specs.add(drawn(trainer)[1].subs)
    assert len(specs) == 40


def test_every_parameter_is_some_optimisers_own() -> None:
    trainer = Trainer(SPACE, digit_data(), TrainingConfig())
    owned = [id(p) for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(parameter) for parameter in trainer.supernet.parameters())


def test_schedule_rises_then_falls_to_zero() -> None:
    values = [schedule(share, 0.1) for share in np.linspace(0, 1, 101)]
    assert values[0] > 0 and max(values) == pytest.approx(1) and values[10] == pytest.approx(1)
    assert values[-1] == pytest.approx(0)
    assert all(a <= b for a, b in zip(values[:10], values[1:11], strict=True))
    assert all(a >= b for a, b in zip(values[10:-1], values[11:], strict=True))


def test_training_learns(tmp_path: Path) -> None:
    """A silent network's loss falls within a few steps, the full one's and the sub-networks'."""
    trainer = Trainer(SPACE, digit_data(), TrainingConfig(batch_size=16))
    losses = [trainer.train_step(0.8) for _ in range(15)]
    assert np.mean([step.full for step in losses[-5:]]) < 0.85 * losses[0].full
    assert np.mean([step.sub for step in losses[-5:]]) < 0.85 * losses[0].sub
