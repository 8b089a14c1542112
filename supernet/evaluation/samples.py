"""Samples of a model from fixed seeds, and their judgements in quality.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn

from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import get_space
from supernet.evaluation.conditioning import Conditioning
from supernet.evaluation.conditioning import Text
from supernet.evaluation.judge import ACCURACY
from supernet.evaluation.judge import FRECHET
from supernet.evaluation.judge import NN_RATIO
from supernet.evaluation.judge import Figures
from supernet.evaluation.judge import Judge
from supernet.evaluation.reference import Prompts
from supernet.flow_matching import guided_velocity
from supernet.model.placement import device_of
from supernet.model.placement import float_array
from supernet.model.placement import full_precision
from supernet.model.placement import model_inputs
from supernet.parallel import run_shards
from supernet.parallel import shard_count
from supernet.parallel import shard_slices
from supernet.sampling import sample_euler

PER_CLASS = 90
TOKENS_AT_ONCE = 1 << 16
"""Tokens in a batch of samples, at most, which bounds the memory of sampling."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judgement:
    """Quality of sets of samples; only figures of equal numbers of samples and of one reference can be compared.

    Attributes:
        fd_mean: Frechet distance to the judge half in the feature space, mean over seeds; lower is better.
        fd_spread: largest minus smallest over seeds.
        nn_ratio: median nearest-neighbour distance to the training half over that of real unseen images.
        accuracy: share recognised by a classifier fitted on the training half; None if images have no classes.
        samples: samples per set.
        seeds: number of sample sets; their seeds count from 0.
        fd: Frechet distance per seed.
        feature_space: name of the feature space.
        reference_hash: digest of the real images, both halves.
        steps: Euler steps.
        shift: time shift.
        guidance_scale: scale of classifier-free guidance.
    """

    fd_mean: float
    fd_spread: float
    nn_ratio: float
    accuracy: float | None
    samples: int
    seeds: int
    fd: tuple[float, ...]
    feature_space: str
    reference_hash: str
    steps: int
    shift: float
    guidance_scale: float = 1.0


def generate(
    model: nn.Module,
    space_name: str,
    conditioning: Conditioning,
    *,
    steps: int,
    shift: float = 1.0,
    seed: int = 0,
    guidance_scale: float = 1.0,
    progress: ProgressCallback = no_progress,
) -> Samples:
    """Samples (count, channels, size, size) of a torch model by Euler steps from noise of that seed.

    `progress` reports samples; each step counts as a fraction of its samples.
    """
    space, count = get_space(space_name), conditioning.count
    shape = (count, space.latent_channels, space.latent_size, space.latent_size)
    noise = np.random.default_rng([seed, 7]).standard_normal(shape).astype(np.float32)
    at_once = max(TOKENS_AT_ONCE // space.tokens, 1)
    drawn = []
    for start in range(0, count, at_once):
        batch = slice(start, min(start + at_once, count))
        text, x = conditioning.read(batch), noise[batch]

        def part(rows: slice, text: Text = text, x: Samples = x, start: int = start) -> Samples:
            given, without = text[rows], conditioning.null.expand(rows.stop - rows.start)
            made = 0

            def velocity(x_t: Samples, timestep: Samples) -> Samples:
                nonlocal made
                inputs = torch.from_numpy(x_t), torch.from_numpy(timestep)
                predicted = _predict(model, *inputs, given)
                if guidance_scale != 1:
                    unconditional = _predict(model, *inputs, without)
                    predicted = guided_velocity(predicted, unconditional, guidance_scale)
                made += 1
                if rows.start == 0:
                    progress(start + len(x) * made / steps, count, "")
                return float_array(predicted)

            with torch.inference_mode():
                return sample_euler(velocity, x[rows], steps=steps, shift=shift)

        drawn += run_shards(part, shard_slices(len(x), shard_count(), device_of(model)))
    return np.concatenate(drawn)


def _predict(model: nn.Module, x_t: Tensor, timestep: Tensor, text: Text) -> Tensor:
    return full_precision(model(*model_inputs(model, x_t, timestep, text.embeddings)))


def judge_sampling(
    model: nn.Module,
    space_name: str,
    judge: Judge,
    *,
    steps: int,
    shift: float,
    seeds: int,
    per_class: int = PER_CLASS,
) -> Judgement:
    """Generate and judge one sample set per seed, for the prompts of `Reference.balanced_prompts`."""
    prompts = judge.reference.balanced_prompts(per_class)
    conditioning = judge.reference.condition(prompts)
    sets = [generate(model, space_name, conditioning, steps=steps, shift=shift, seed=seed) for seed in range(seeds)]
    return judge_samples(sets, judge, prompts, steps=steps, shift=shift)


def judge_samples(sets: Sequence[Samples], judge: Judge, prompts: Prompts, *, steps: int, shift: float) -> Judgement:
    """Judge sample sets, one per seed, that were drawn for `prompts`."""
    figures = [judge.figures(samples, prompts.labels) for samples in sets]
    fd = tuple(round(_number(each[FRECHET]), 4) for each in figures)
    return Judgement(
        fd_mean=round(float(np.mean(fd)), 4),
        fd_spread=round(max(fd) - min(fd), 4),
        nn_ratio=round(float(np.mean([_number(each[NN_RATIO]) for each in figures])), 4),
        accuracy=_mean_accuracy(figures, tuple(prompts.labels)),
        samples=len(prompts),
        seeds=len(sets),
        fd=fd,
        feature_space=judge.space.id,
        reference_hash=judge.reference.hash,
        steps=steps,
        shift=shift,
    )


def _mean_accuracy(figures: Sequence[Figures], columns: tuple[str, ...]) -> float | None:
    known = [each[ACCURACY + column] for each in figures for column in columns]
    numbers = [value for value in known if value is not None]
    return round(float(np.mean(numbers)), 4) if numbers else None


def judge_plain_few_steps(
    model: nn.Module, space_name: str, judge: Judge, *, steps: int = 4, seeds: int, per_class: int = PER_CLASS
) -> Judgement:
    """Judge few plain Euler steps with shift 1 and with shift 3, and return the better judgement."""
    how: dict[str, Any] = {"steps": steps, "seeds": seeds, "per_class": per_class}
    judged = [judge_sampling(model, space_name, judge, shift=shift, **how) for shift in (1.0, 3.0)]
    return min(judged, key=lambda judgement: judgement.fd_mean)


def _number(figure: float | None) -> float:
    return math.nan if figure is None else figure
