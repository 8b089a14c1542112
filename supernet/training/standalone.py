"""Training one sub-DiT on its own: the quality that a proxy predicts."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.data.data_set import DataSet
from supernet.data.loader import BatchOrder
from supernet.data.loader import load_batches
from supernet.flow_matching import add_noise
from supernet.flow_matching import mean_squared_error
from supernet.flow_matching import sample_sigma
from supernet.flow_matching import velocity
from supernet.model.dit import SubDiT
from supernet.model.elastic import ElasticDiT
from supernet.model.placement import model_inputs
from supernet.model.placement import torch_device
from supernet.training.augmentation import augment
from supernet.training.augmentation import check_augmentation
from supernet.training.config import TrainingConfig
from supernet.training.ema import moving_average
from supernet.training.noise import noise_shift
from supernet.training.optimizers import optimizers_of
from supernet.training.optimizers import schedule
from supernet.training.random_stream import random_stream

if TYPE_CHECKING:
    from diffusers.training_utils import EMAModel

AfterStep = Callable[[int, float, AbstractContextManager[SubDiT]], None]
"""Called with the number of updates that are done, the last one's loss, and the model with its averaged weights."""


def train_alone(
    spec: SubDiTSpec,
    data: DataSet,
    *,
    updates: int,
    seed: int,
    supernet: ElasticDiT | None = None,
    config: TrainingConfig | None = None,
    init_seed: int | None = None,
    after_step: AfterStep | None = None,
    progress: ProgressCallback = no_progress,
) -> SubDiT:
    """The EMA weights of a sub-DiT after `updates` steps on its own, from the supernet's weights or else from new ones.

    Same data, loss, optimisers and schedule as the supernet's training, without sub-networks and text dropping.
    Initialisation, batches and noise come from the seed, so equal calls give equal weights on equal machines; with
    `init_seed` the initialisation comes from that one, so that several sub-DiTs can share batches and noise alone.
    Fine-tuning starts from weights that are good already, so its learning rates are a fifth of those. `after_step`
    changes nothing.
    """
    # The default learning rates depend on the number of steps.
    config = replace(config or TrainingConfig(), steps=max(1, updates))
    check_augmentation(config, data)
    space = get_space(spec.space)
    with torch.random.fork_rng():
        torch.manual_seed(seed if init_seed is None else init_seed)
        model = SubDiT.from_spec(space, spec) if supernet is None else supernet.extract(spec)
    model.to(torch_device(config.device)).train()
    parameters = list(model.parameters())
    optimizers = optimizers_of(model, parameters, config)
    ema = moving_average(model.parameters(), decay=config.ema_decay)
    gain = 1.0 if supernet is None else 0.2
    order = BatchOrder(data.count("train"), config.batch_size, seed=seed)
    for step, read in enumerate(load_batches(data, order, steps=range(updates))):
        generator = random_stream(seed, step)
        latents = augment(read.latents, config.augmentation, seed=seed, step=step)
        noise = torch.randn(latents.shape, generator=generator)
        sigma = sample_sigma(len(read), generator=generator, shift=noise_shift(config, space))
        x_t = add_noise(latents, noise, sigma)
        predicted = model(*model_inputs(model, x_t, 1000 * sigma, read.text.embeddings))
        loss = mean_squared_error(predicted, velocity(latents, noise).to(predicted.device))
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = gain * peak * schedule(step / updates, config.warmup)
            optimizer.step()
        ema.step(model.parameters())
        if after_step is not None:
            after_step(step + 1, loss.item(), _averaged(model, ema))
        progress(step + 1, updates, f"loss {loss.item():.3f}")
    if updates:
        ema.copy_to(model.parameters())
    return model.eval()


@contextmanager
def _averaged(model: SubDiT, ema: EMAModel) -> Iterator[SubDiT]:
    """The model with its averaged weights, to be judged; afterwards it trains on with its own."""
    parameters = list(model.parameters())
    ema.store(parameters)
    ema.copy_to(parameters)
    model.eval()
    try:
        yield model
    finally:
        model.train()
        ema.restore(parameters)
