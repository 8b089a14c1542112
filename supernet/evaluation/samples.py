"""Judging a model by its samples: a fixed number per class, by seed, against the half that nothing learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from subdit.space import get_space
from supernet.data.digits import DataSplit
from supernet.data.digits import digit_caption
from supernet.data.text import text_tensors
from supernet.evaluation.metrics import frechet_distance
from supernet.evaluation.metrics import novelty
from supernet.evaluation.metrics import recognised
from supernet.flow_matching import guided_velocity
from supernet.model.placement import device_of
from supernet.model.placement import float_array
from supernet.model.placement import full_precision
from supernet.model.placement import model_inputs
from supernet.parallel import run_shards
from supernet.parallel import shard_count
from supernet.parallel import shard_slices
from supernet.sampling import sample_euler

CLASSES = 10
PER_CLASS = 90

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judgement:
    """Quality of sets of samples; figures compare only at equal numbers of them.

    Attributes:
        fd_mean: Frechet distance to the judge half over pixels in [-1, 1], mean over seeds; lower is better.
        fd_spread: largest minus smallest over seeds.
        nn_ratio: median nearest-neighbour distance to the training half over that of real unseen images.
        accuracy: share recognised by a support-vector classifier fitted on the training half.
        samples: in each set.
        seeds: how many sample sets.
        fd: per seed.
    """

    fd_mean: float
    fd_spread: float
    nn_ratio: float
    accuracy: float
    samples: int
    seeds: int
    fd: tuple[float, ...]


def class_labels(per_class: int = PER_CLASS) -> npt.NDArray[np.int64]:
    """Labels of the samples that are judged: `per_class` of each class, in order."""
    return np.repeat(np.arange(CLASSES), per_class)


def generate(
    model: nn.Module,
    space_name: str,
    labels: npt.NDArray[np.int64],
    *,
    steps: int,
    shift: float = 1.0,
    seed: int = 0,
    guidance_scale: float = 1.0,
) -> Samples:
    """Samples (len(labels), channels, size, size) of a torch model by Euler steps from noise of that seed."""
    captions = tuple(digit_caption(int(label)) for label in labels)
    text = text_tensors(space_name, captions)
    empty = text_tensors(space_name, ("",))
    space = get_space(space_name)
    shape = (len(labels), space.latent_channels, space.latent_size, space.latent_size)
    noise = np.random.default_rng([seed, 7]).standard_normal(shape).astype(np.float32)

    def part(rows: slice) -> Samples:
        conditions = tuple(tokens[rows] for tokens in text)

        def velocity(x: Samples, timestep: Samples) -> Samples:
            inputs = torch.from_numpy(x), torch.from_numpy(timestep)
            predicted = full_precision(model(*model_inputs(model, *inputs, conditions)))
            if guidance_scale != 1:
                without = [tokens.expand(len(x), -1, -1) for tokens in empty]
                unconditional = full_precision(model(*model_inputs(model, *inputs, without)))
                predicted = guided_velocity(predicted, unconditional, guidance_scale)
            return float_array(predicted)

        with torch.inference_mode():
            return sample_euler(velocity, noise[rows], steps=steps, shift=shift)

    return np.concatenate(run_shards(part, shard_slices(len(labels), shard_count(), device_of(model))))


def judge(sets: Sequence[Samples], data: DataSplit, labels: npt.NDArray[np.int64]) -> Judgement:
    """Judge sample sets (one a seed) that were asked for these labels."""
    seen, real = data.seen, data.judge.latents
    fd = tuple(round(frechet_distance(samples, real), 4) for samples in sets)
    return Judgement(
        fd_mean=round(float(np.mean(fd)), 4),
        fd_spread=round(max(fd) - min(fd), 4),
        nn_ratio=round(float(np.mean([novelty(samples, seen=seen.latents, judge=real) for samples in sets])), 4),
        accuracy=round(float(np.mean([recognised(samples, labels, seen=seen) for samples in sets])), 4),
        samples=len(labels),
        seeds=len(sets),
        fd=fd,
    )


def judge_sampling(
    model: nn.Module,
    space_name: str,
    data: DataSplit,
    *,
    steps: int,
    shift: float,
    seeds: int,
    per_class: int = PER_CLASS,
) -> Judgement:
    """Generate one sample set a seed and judge them."""
    labels = class_labels(per_class)
    sets = [generate(model, space_name, labels, steps=steps, shift=shift, seed=seed) for seed in range(seeds)]
    return judge(sets, data, labels)


def judge_plain_few_steps(
    model: nn.Module, space_name: str, data: DataSplit, *, seeds: int, per_class: int = PER_CLASS
) -> Judgement:
    """Plain Euler in 4 steps, the better of shift 1 and shift 3."""
    how: dict[str, Any] = {"steps": 4, "seeds": seeds, "per_class": per_class}
    judged = [judge_sampling(model, space_name, data, shift=shift, **how) for shift in (1.0, 3.0)]
    return min(judged, key=lambda judgement: judgement.fd_mean)
