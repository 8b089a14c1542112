"""Steps of elastic training: what a step draws, and what it does to the supernet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import torch

from subdit.core.errors import TrainingError
from subdit.space import SearchSpace
from supernet.data.data_set import DataBatch
from supernet.data.data_set import DataSet
from supernet.data.loader import BatchOrder
from supernet.data.loader import load_batches
from supernet.data.text import drop_encoders
from supernet.flow_matching import sample_sigma
from supernet.model.elastic import ElasticDiT
from supernet.model.placement import autocast_dtype
from supernet.model.placement import torch_device
from supernet.parallel import run_shards
from supernet.parallel import shard_count
from supernet.recipe import MANY_STEPS
from supernet.recipe import SamplingRecipe
from supernet.training.augmentation import augment
from supernet.training.augmentation import check_augmentation
from supernet.training.config import TrainingConfig
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import StepLosses
from supernet.training.elastic_step import elastic_step
from supernet.training.ema import moving_average
from supernet.training.members import StepMembers
from supernet.training.members import draw_members
from supernet.training.noise import noise_shift
from supernet.training.optimizers import optimizers_of
from supernet.training.random_stream import random_stream
from supernet.training.start import start_from
from supernet.training.world import World


class Trainer:
    """The supernet, its optimisers and EMA; random choices come from (seed, step), so a resumed run is the same.

    Attributes:
        supernet: on the device.
        optimizers: of it, with
        peaks: the learning rates that they rise to.
        ema: the moving average of its weights.
        step: the one that comes next.
        learning_rate: AdamW's of the step before.
        recipe: how the trained supernet is sampled.
    """

    def __init__(
        self,
        space: SearchSpace,
        data: DataSet,
        config: TrainingConfig,
        *,
        device: torch.device | None = None,
        begun: bool = False,
        world: World | None = None,
    ) -> None:
        """On a device, by default the one of the configuration. Where the training has `begun`, the weights that it
        began with are of no account. Of a `world`'s processes each has its own samples of every batch.

        Raises:
            DataError: the data set has nothing to train on, or a batch does not go to all processes evenly.
            CheckpointError: weights to begin with do not fit.
            ConfigError: there is no such device, or augmentation of latents that are no pictures.
        """
        check_augmentation(config, data)
        self.space = space
        self.config = config
        self.data = data
        self.world = world or World()
        self.order = BatchOrder(
            data.count("train"), config.batch_size, seed=config.seed, rank=self.world.rank, ranks=self.world.ranks
        )
        self.null = data.null_text()
        self.shift = noise_shift(config, space)
        self.recipe = SamplingRecipe(MANY_STEPS.steps, self.shift)
        device = torch_device(config.device) if device is None else device
        self.autocast = autocast_dtype(config.precision, device)
        self.shards = shard_count() if device.type == "cpu" else 1
        # On the processor, where the same numbers are drawn whatever the device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.supernet = ElasticDiT.of_space(space)
        if config.start_from is not None and not begun:
            start_from(self.supernet, config.start_from)
        self.supernet.to(device)
        if config.gradient_checkpointing:
            self.supernet.enable_gradient_checkpointing()
        parameters = list(self.supernet.parameters())
        made = optimizers_of(self.supernet.full, parameters, config)
        self.optimizers, self.peaks = [optimizer for optimizer, _ in made], [peak for _, peak in made]
        self.learning_rate = 0.0
        self.ema = moving_average(parameters, decay=config.ema_decay)
        self.begin(0)

    def begin(self, step: int) -> None:
        """Go on with this step, whose batch is read next."""
        self.step = step
        steps = range(step, self.config.steps)
        self.batches = load_batches(self.data, self.order, steps=steps, workers=self.config.workers)

    def draw(self, read: DataBatch) -> tuple[Batch, StepMembers]:
        """What this step makes of this process's rows, and who takes part in it.

        Drawn for the whole batch, whatever the number of processes, so that each has other noise and all have the same.
        """
        own, count = self.world.own, len(read) * self.world.ranks
        generator = random_stream(self.config.seed, self.step)
        dropped = own(torch.rand(count, generator=generator) < self.config.text_drop)
        text = read.text.with_null(dropped, self.null).embeddings
        noise = own(torch.randn(count, *read.latents.shape[1:], generator=generator))
        sigma = own(sample_sigma(count, generator=generator, shift=self.shift))
        latents = augment(
            read.latents, self.config.augmentation, seed=self.config.seed, step=self.step, world=self.world
        )
        mask = self.draw_text_mask()
        batch = Batch(
            latents=latents, noise=noise, sigma=sigma, text=text, text_mask=None if mask is None else own(mask)
        )
        return batch, draw_members(self.space, self.config, self.step)

    def draw_text_mask(self) -> torch.Tensor | None:
        """Which text tokens this step's samples, all processes' together, see, None where there is one encoder only."""
        tokens = [text.tokens for text in self.space.text_inputs]
        if len(tokens) < 2:
            return None
        # A stream of its own, so that a space's other draws do not depend on how many encoders it has.
        rng = np.random.default_rng([self.config.seed, self.step, 1])
        return torch.from_numpy(
            drop_encoders(tokens, self.config.batch_size, probability=self.config.encoder_drop, rng=rng)
        )

    def train_step(self, rate_share: float) -> StepLosses:
        """One step of the optimisers, each at that share of its peak learning rate.

        Raises `TrainingError` where a loss or a gradient is not a finite number; then nothing has changed.
        """
        batch, members = self.draw(next(self.batches))
        losses = elastic_step(
            self.supernet,
            members.subs,
            batch,
            full_spec=members.full,
            sub_weight=self.config.sub_weight,
            distill_weight=self.config.distill_weight,
            balance=self.config.balance,
            shards=self.shards,
            accumulation=self.config.accumulation,
            autocast=self.autocast,
            world=self.world,
        )
        self._require_finite(losses)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate_share
        self.learning_rate = self.config.adamw_peak * rate_share
        torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), self.config.max_grad_norm)
        if self.shards > 1:
            run_shards(lambda optimizer: optimizer.step(), self.optimizers)
        else:
            for optimizer in self.optimizers:
                optimizer.step()
        self.ema.step(self.supernet.parameters())
        self.step += 1
        return losses

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The supernet with its averaged weights while the block runs, and afterwards as it was."""
        parameters = list(self.supernet.parameters())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        self.supernet.eval()
        try:
            yield
        finally:
            self.ema.restore(parameters)
            self.supernet.train()

    def _require_finite(self, losses: StepLosses) -> None:
        broken = [name for name, value in asdict(losses).items() if not math.isfinite(value)]
        if not broken:
            return
        rates = f"--learning-rate (now {self.config.adamw_peak:g})"
        if self.config.optimizer == "muon":
            rates += f" or --muon-learning-rate (now {self.config.muon_peak:g})"
        raise TrainingError(
            f"In step {self.step + 1:,} {broken[0].replace('_', ' ')} is no finite number any more; the state before "
            f"it is kept, so go on with --resume and a lower {rates}."
        )

    def is_finite(self) -> bool:
        """Whether all weights are finite numbers."""
        return all(bool(parameter.isfinite().all()) for parameter in self.supernet.parameters())
