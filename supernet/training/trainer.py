"""Elastic training of a supernet: shows progress, survives being killed at any moment, goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from diffusers.training_utils import EMAModel

from subdit.core.errors import RunError
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
from subdit.space import SearchSpace
from subdit.space import SpaceLike
from subdit.space import SubDiTSpec
from subdit.space import get_space
from subdit.space import start_run
from supernet.checkpoints import save_model
from supernet.data.data_record import read_record
from supernet.data.data_set import DataBatch
from supernet.data.data_set import DataSet
from supernet.data.data_sets import default_data_set
from supernet.data.data_sets import open_data_set
from supernet.data.data_sets import record_of
from supernet.data.loader import BatchOrder
from supernet.data.loader import load_batches
from supernet.data.text import drop_encoders
from supernet.flow_matching import sample_sigma
from supernet.model.elastic import ElasticDiT
from supernet.parallel import run_shards
from supernet.parallel import shard_count
from supernet.training.config import TrainingConfig
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import StepLosses
from supernet.training.elastic_step import elastic_step
from supernet.training.muon import muon_dtype
from supernet.training.optimizers import optimizers_of
from supernet.training.optimizers import schedule
from supernet.training.resume_state import ResumeState
from supernet.training.resume_state import resume_facts
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState
from supernet.training.step_budget import last_step
from supernet.training.step_budget import learning_rate_share
from supernet.training.step_budget import record
from supernet.training.step_loop import run_steps

STATE = "state.safetensors"
METRICS = "metrics.jsonl"


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

    With `force`, what was made from the weights that are replaced stays and becomes stale; a warning says what that is.

    Raises:
        SpaceError: there is no such space, or it has no data set of its own and none is given.
        DataError: the data set is missing, damaged, of another space, or has nothing to train on.
        RunError: the run holds a trained supernet, or a begun one and `resume` is not given; or is of another space;
            or the begun one has another data set, number of steps or dtype of Muon, or was cut and has no ceiling now.
        CheckpointError: the resume state is damaged.
    """
    space = get_space(space)
    config = TrainingConfig() if config is None else config
    budget = StepBudget(config.steps, config.ceiling_s)
    muon_dtype(config.muon_dtype, torch.device("cpu"))
    run = Run(run_path)
    state = run.training / STATE
    with run.lock():
        # Finished is what the manifest says: a kill while the weights are written leaves the state to go on from.
        manifest = start_run(run, space)
        if "train" in manifest["steps"] and not force:
            raise RunError(f"The run {run.path} holds a trained supernet; pass --force to train it again.")
        if state.exists() and not (resume or force):
            raise RunError(
                f"The run {run.path} holds a begun training; pass --resume to go on or --force to start over."
            )
        if force:
            if told := stale_after_training(run):
                warn_stale(told)
            set_aside_unknown(run)
            state.unlink(missing_ok=True)
            (run.training / METRICS).unlink(missing_ok=True)
            # Killed from here on, this training is a begun one, whatever weights an earlier one left.
            manifest["steps"].pop("train", None)
            write_json(run.manifest, manifest)
        config = replace(config, muon_dtype=_muon_dtype(config, state))
        reference, data_set = _data_set(data, space, run, state)
        record_of_data = record_of(data_set, reference)
        trainer = Trainer(space, data_set, config)
        members = {"supernet": (trainer.supernet, trainer.optimizers)}
        facts = {"muon_dtype": config.muon_dtype, "data": data_set.digest, "data_set": record_of_data.reference}
        kept = ResumeState(state, members, {"supernet": trainer.ema}, facts=facts)
        begun = kept.load(budget)
        described = {"space": space.name, "data": record_of_data.reference, "training": asdict(config)}
        write_atomic(run.config, yaml.safe_dump(described, sort_keys=False))
        reached, losses = run_training(trainer, budget, begun, run, kept, progress)
        trainer.ema.copy_to(trainer.supernet.parameters())
        save_model(trainer.supernet, run.supernet, data=record_of_data)
        mark_reports(run)
        made = record(budget, reached).to_dict() | {"full_loss": losses, "muon_dtype": config.muon_dtype}
        record_step(run, "train", made | {"data": data_set.digest})
        state.unlink(missing_ok=True)
    return run.supernet


def _data_set(data: str | Path | None, space: SearchSpace, run: Run, state: Path) -> tuple[str | Path, DataSet]:
    """What opens the data set and the set: what is asked for, what the begun training in `state` has, or the run."""
    begun, recorded = resume_facts(state), read_record(run.supernet)
    if begun and "data" not in begun:
        raise RunError(
            f"The training begun in {state} is of an earlier version, which drew other batches; start over (--force)."
        )
    reference = data or begun.get("data_set") or (recorded.reference if recorded else default_data_set(space))
    data_set = open_data_set(reference, space=space)
    if begun and data_set.digest != begun["data"]:
        raise RunError(
            f"The training begun in {state} has another data set than {data_set.name}, or the same as it was before; "
            "name that one with --data, or start over with --force."
        )
    return reference, data_set


def _muon_dtype(config: TrainingConfig, state: Path) -> str:
    """The dtype by its own name: that of the training that goes on, or what the configuration says of a new one."""
    wanted = str(muon_dtype(config.muon_dtype, torch.device("cpu"))).removeprefix("torch.")
    begun = resume_facts(state)
    kept = begun.get("muon_dtype", wanted)
    if config.muon_dtype not in ("auto", kept):
        raise RunError(
            f"The training begun in {state} has Muon in {kept}, not {config.muon_dtype}; leave out --muon-dtype to go "
            "on with it, or start over with --force."
        )
    return kept


def run_training(
    trainer: Trainer, budget: StepBudget, begun: StepState, run: Run, kept: ResumeState, progress: ProgressCallback
) -> tuple[StepState, float | None]:
    """Train to the end of the budget, keeping resume states and metrics; returns the full network's last mean loss."""
    run.training.mkdir(parents=True, exist_ok=True)
    trainer.begin(begun.step)
    metrics = run.training / METRICS
    drop_metrics_after(metrics, begun.step)
    mean: float | None = None
    window: list[StepLosses] = []
    rises_and_falls = partial(schedule, warmup=trainer.config.warmup)

    def work(state: StepState) -> str:
        window.append(trainer.train_step(learning_rate_share(budget, state, rises_and_falls)))
        return f"loss {mean:.3f}" if mean else ""

    def each(state: StepState) -> None:
        nonlocal mean
        if len(window) == 20:
            mean = float(np.mean([losses.full for losses in window]))
            keys = asdict(window[0])
            line = {key: round(float(np.mean([getattr(losses, key) for losses in window])), 5) for key in keys}
            far = {"step": state.step, "last_step": last_step(budget, state), "elapsed_s": round(state.elapsed_s, 2)}
            with metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**far, **line}) + "\n")
            window.clear()

    save_every_s = trainer.config.save_every_s
    reached = run_steps(budget, begun, kept, work, progress=progress, each=each, save_every_s=save_every_s)
    return reached, mean


class Trainer:
    """The supernet, its optimisers and EMA; random choices come from (seed, step), so a resumed run is the same.

    Raises `DataError` where the data set has nothing to train on.
    """

    def __init__(self, space: SearchSpace, data: DataSet, config: TrainingConfig) -> None:
        self.space = space
        self.config = config
        self.data = data
        self.order = BatchOrder(data.count("train"), config.batch_size, seed=config.seed)
        self.null = data.null_text()
        self.shards = shard_count()
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.supernet = ElasticDiT.of_space(space)
        parameters = list(self.supernet.parameters())
        made = optimizers_of(self.supernet.full, parameters, config)
        self.optimizers, self.peaks = [optimizer for optimizer, _ in made], [peak for _, peak in made]
        self.ema = EMAModel(self.supernet.parameters(), decay=config.ema_decay, use_ema_warmup=True, power=0.75)
        self.begin(0)

    def begin(self, step: int) -> None:
        """Go on with this step, whose batch is read next."""
        self.step = step
        self.batches = load_batches(self.data, self.order, steps=range(step, self.config.steps))

    def draw(self, read: DataBatch) -> tuple[Batch, SubDiTSpec]:
        """What this step makes of its rows, and its sub-network."""
        seed = np.random.SeedSequence([self.config.seed, self.step])
        generator = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
        dropped = torch.rand(len(read), generator=generator) < self.config.text_drop
        text = read.text.with_null(dropped, self.null).embeddings
        noise = torch.randn(read.latents.shape, generator=generator)
        sigma = sample_sigma(len(read), generator=generator)
        spec = self.space.decode(self.space.sample(np.random.default_rng(seed), 1))[0]
        return Batch(latents=read.latents, noise=noise, sigma=sigma, text=text, text_mask=self.draw_text_mask()), spec

    def draw_text_mask(self) -> torch.Tensor | None:
        """Which text tokens this step's samples see, None where there is one encoder only."""
        tokens = [text.tokens for text in self.space.text_inputs]
        if len(tokens) < 2:
            return None
        # A stream of its own, so that a space's other draws do not depend on how many encoders it has.
        rng = np.random.default_rng([self.config.seed, self.step, 1])
        return torch.from_numpy(
            drop_encoders(tokens, self.config.batch_size, probability=self.config.encoder_drop, rng=rng)
        )

    def train_step(self, rate_share: float) -> StepLosses:
        """One step of the optimisers, each at that share of its peak learning rate."""
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate_share
        batch, spec = self.draw(next(self.batches))
        losses = elastic_step(
            self.supernet,
            spec,
            batch,
            sub_weight=self.config.sub_weight,
            distill_weight=self.config.distill_weight,
            shards=self.shards,
        )
        torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), self.config.max_grad_norm)
        if self.shards > 1:
            run_shards(lambda optimizer: optimizer.step(), self.optimizers)
        else:
            for optimizer in self.optimizers:
                optimizer.step()
        self.ema.step(self.supernet.parameters())
        self.step += 1
        return losses


def read_metrics(path: Path) -> Iterator[dict[str, float]]:
    """The lines of a metrics file; a torn last line, left by a kill, is skipped."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def drop_metrics_after(path: Path, step: int) -> None:
    """Remove the lines of later steps, which a resumed training will write again."""
    if path.exists():
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
