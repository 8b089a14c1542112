"""Elastic training of a supernet: shows progress, survives being killed at any moment, goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from subdit.core.errors import RunError
from subdit.core.errors import TrainingError
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.origin import warn_stale
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.retraining import mark_reports
from subdit.core.retraining import set_aside_unknown
from subdit.core.retraining import stale_after_training
from subdit.core.run import Run
from subdit.core.run import record_step
from subdit.core.weights import supernet_digest
from subdit.space import SearchSpace
from subdit.space import SpaceLike
from subdit.space import built_in_space
from subdit.space import get_space
from subdit.space import space_hash
from subdit.space import start_run
from supernet.checkpoints import save_model
from supernet.data.data_record import DataRecord
from supernet.data.data_sets import record_of
from supernet.training.begun import START
from supernet.training.begun import STATE
from supernet.training.begun import begun_config
from supernet.training.begun import begun_data_set
from supernet.training.begun import begun_facts
from supernet.training.begun import kept_facts
from supernet.training.begun import settled_config
from supernet.training.config import TrainingConfig
from supernet.training.config_file import TrainingFile
from supernet.training.config_file import training_config_to_yaml
from supernet.training.elastic_step import StepLosses
from supernet.training.metrics import METRICS
from supernet.training.metrics import TENSORBOARD
from supernet.training.metrics import MetricsLog
from supernet.training.monitor import CHECKPOINTS
from supernet.training.monitor import SAMPLES
from supernet.training.monitor import Monitor
from supernet.training.optimizers import schedule
from supernet.training.resume_state import ResumeState
from supernet.training.start import start_folder
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState
from supernet.training.step_budget import last_step
from supernet.training.step_budget import learning_rate_share
from supernet.training.step_budget import record
from supernet.training.step_loop import run_steps
from supernet.training.stop_signal import stop_signal
from supernet.training.trainer import Trainer
from supernet.training.world import World
from supernet.training.world import joined_world

METRICS_EVERY = 20
"""Steps that a line of metrics is the mean of."""


def train(
    space: SpaceLike,
    run_path: Path,
    *,
    data: str | Path | None = None,
    config: TrainingConfig | None = None,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Train the supernet of a space, a name or a space file, into a run folder; returns the folder of its EMA weights.

    `data` is the name of a data set or a folder that `data encode` made. Where it is not given, a training goes on, or
    begins again, with the run's own, and a new one takes the data set that a space has by itself, as `digits` has.
    Where there is no `config`, a training goes on with the run's own.

    Started by torchrun as one of several processes, this one trains together with the others: each has its own part of
    every batch, all have the same weights, and the first one writes. How many they are may change where a training
    goes on.

    With `force`, what was made from the weights that are replaced stays and becomes stale; a warning says what that is.

    Raises:
        SpaceError: there is no such space, or it has no data set of its own and none is given.
        DataError: the data set is missing, damaged, of another space, or has nothing to train on.
        RunError: the run holds a trained supernet, or a begun one and `resume` is not given; or is of another space;
            or the begun one has another data set, number of steps, type of numbers, batch size, seed or optimiser, or
            was cut and has no ceiling now.
        ConfigError: there is no such device, or the configuration of a begun training is damaged.
        CheckpointError: the resume state is damaged, or the weights to begin with do not fit.
        SampleError: a prompt to sample cannot be read.
        TrainingError: a loss or gradient is not a finite number; the state before that step is kept. Or, of several
            processes, another one ended, or has other files.
        StoppedError: SIGTERM came; the state after the step that was under way is kept.
        MissingExtraError: TensorBoard or samples are asked for, and what they need is not installed.
    """
    space, run = get_space(space), Run(run_path)
    config = config or (begun_config(run) if resume else None) or TrainingConfig()
    with joined_world(config.device) as world, ExitStack() as held, stop_signal() as stopped:
        started: dict[str, Any] = {}

        def start() -> None:
            held.enter_context(run.lock())
            started.update(_start(run, space, resume=resume, force=force))

        world.first(start)
        shown = progress if world.is_first else no_progress
        _train(space, run, data, config, started, world, stopped, force=force, progress=shown)
    return run.supernet


def _start(run: Run, space: SearchSpace, *, resume: bool, force: bool) -> dict[str, Any]:
    """The run's manifest; raises `RunError` where the run may not be written."""
    # Finished is what the manifest says: a kill while the weights are written leaves the state to go on from.
    manifest = start_run(run, space)
    if "train" in manifest["steps"] and not force:
        raise RunError(f"The run {run.path} holds a trained supernet; pass --force to train it again.")
    if (run.training / STATE).exists() and not (resume or force):
        raise RunError(f"The run {run.path} holds a begun training; pass --resume to go on or --force to start over.")
    return manifest


def _train(
    space: SearchSpace,
    run: Run,
    data: str | Path | None,
    config: TrainingConfig,
    manifest: dict[str, Any],
    world: World,
    stopped: Callable[[], bool],
    *,
    force: bool,
    progress: ProgressCallback,
) -> None:
    """Train in this process, beside the others; the first one, which has the run's `manifest`, writes."""
    budget, state = StepBudget(config.steps, config.ceiling_s), run.training / STATE
    going_on = {} if force else begun_facts(run)
    config = settled_config(config, world.device, going_on)
    reference, data_set = begun_data_set(data, space, run, going_on)
    record_of_data = record_of(data_set, reference)
    start = _start_digest(config, going_on)
    trainer = Trainer(space, data_set, config, device=world.device, begun=bool(going_on), world=world)
    monitor = Monitor(trainer, run.training, record_of_data)
    if force:
        world.first(lambda: _begin_anew(run, manifest))
    members = {"supernet": (trainer.supernet, trainer.optimizers)}
    facts = {**kept_facts(config), **start, "data": data_set.digest, "data_set": record_of_data.reference}
    kept = ResumeState(state, members, {"supernet": trainer.ema}, facts=facts, writes=world.is_first)
    begun = kept.load(budget)
    _require_same(world, trainer, begun, data_set.digest)
    world.first(lambda: write_atomic(run.config, _described(space, record_of_data, config)))
    reached, losses = run_training(trainer, budget, begun, run, kept, monitor, progress, stopped)

    def leave() -> None:
        trainer.ema.copy_to(trainer.supernet.parameters())
        save_model(trainer.supernet, run.supernet, recipe=trainer.recipe, data=record_of_data)
        mark_reports(run)
        made = record(budget, reached).to_dict() | {"full_loss": losses, "muon_dtype": config.muon_dtype}
        record_step(run, "train", made | start | {"precision": config.precision, "data": data_set.digest})
        state.unlink(missing_ok=True)

    world.first(leave)


def _require_same(world: World, trainer: Trainer, begun: StepState, data: str) -> None:
    """Raise `TrainingError` where the world's processes would not train the same."""
    if world.ranks == 1:
        return
    total = sum(float(parameter.detach().double().abs().sum()) for parameter in trainer.supernet.parameters())
    settings = replace(trainer.config, device="")
    world.require_same(
        {
            "space": space_hash(trainer.space),
            "data set": data,
            "settings": repr(settings),
            "resume state": repr(replace(begun, elapsed_s=0.0)),
            "weights to begin with": repr(total),
        }
    )


def _begin_anew(run: Run, manifest: dict[str, Any]) -> None:
    """Let nothing of a begun training, and of a finished one not the mark of its end, be left."""
    if told := stale_after_training(run):
        warn_stale(told)
    set_aside_unknown(run)
    for name in (STATE, METRICS):
        (run.training / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, SAMPLES, TENSORBOARD):
        shutil.rmtree(run.training / name, ignore_errors=True)
    # Killed from here on, this training is a begun one, whatever weights an earlier one left.
    manifest["steps"].pop("train", None)
    write_json(run.manifest, manifest)


def _start_digest(config: TrainingConfig, begun: Mapping[str, str]) -> dict[str, str]:
    """The digest of the weights that the training begins, or began, with; nothing where these are new."""
    if begun:
        return {key: value for key, value in begun.items() if key == START}
    if config.start_from is None:
        return {}
    return {START: supernet_digest(start_folder(config.start_from))}


def _described(space: SearchSpace, data: DataRecord, config: TrainingConfig) -> str:
    """The training file that repeats this training."""
    built_in = built_in_space(space.name) == space
    training = TrainingFile(space.name if built_in else Run(Path()).space.name, data.reference, None, config)
    return training_config_to_yaml(
        training, header="How this run was trained. The same again: subdit train THIS_FILE --run OTHER"
    )


def run_training(
    trainer: Trainer,
    budget: StepBudget,
    begun: StepState,
    run: Run,
    kept: ResumeState,
    monitor: Monitor,
    progress: ProgressCallback,
    stopped: Callable[[], bool],
) -> tuple[StepState, float | None]:
    """Train to the end of the budget, keeping resume states and metrics; returns the full network's last mean loss."""
    trainer.begin(begun.step)
    world = trainer.world
    log = MetricsLog(run.training, log=trainer.config.log, after=begun.step) if world.is_first else None
    if log is not None:
        monitor.begin(log, after=begun.step)
    mean: float | None = None
    window: list[StepLosses] = []
    rises_and_falls = partial(schedule, warmup=trainer.config.warmup)

    def work(state: StepState) -> str:
        try:
            window.append(trainer.train_step(learning_rate_share(budget, state, rises_and_falls)))
        except TrainingError:
            # The step has changed nothing.
            if trainer.is_finite():
                kept.save(budget, state)
            raise
        said = {"loss": mean, "validation": monitor.validation_loss}
        return ", ".join(f"{name} {value:.3f}" for name, value in said.items() if value)

    def each(state: StepState) -> None:
        nonlocal mean
        if log is None:
            window.clear()
            return
        if len(window) == METRICS_EVERY:
            mean = float(np.mean([losses.full for losses in window]))
            keys = asdict(window[0])
            line = {key: round(float(np.mean([getattr(losses, key) for losses in window])), 5) for key in keys}
            log.write(
                state.step,
                {"last_step": last_step(budget, state), "elapsed_s": round(state.elapsed_s, 2), **line}
                | {"learning_rate": trainer.learning_rate},
            )
            window.clear()
        monitor.look(state.step, last=state.step == last_step(budget, state))

    save_every_s = trainer.config.save_every_s
    try:
        reached = run_steps(
            budget,
            begun,
            kept,
            work,
            progress=progress,
            each=each,
            save_every_s=save_every_s,
            world=world,
            stopped=stopped,
        )
    finally:
        if log is not None:
            log.close()
    return reached, mean
