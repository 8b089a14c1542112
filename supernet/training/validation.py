"""Validation losses while a training runs: the same pictures, noise and timesteps each time, of every named point.

Eight timesteps in the middle of equal parts of the way from picture to noise, whatever shift the training has, so that
losses of two trainings compare; and no random numbers, so that a training with validations ends as one without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from subdit.core.errors import DataError
from subdit.space import SubDiTSpec
from supernet.data.data_set import DataSet
from supernet.data.data_set import evenly
from supernet.evaluation.validation_loss import ValidationSet
from supernet.flow_matching import add_noise
from supernet.flow_matching import velocity
from supernet.model.elastic import ElasticDiT
from supernet.model.placement import full_precision
from supernet.model.placement import model_inputs

TIMESTEPS = 8
MOST_PICTURES = 32
"""Of the split validation, evenly spaced."""
NOISE_SEED = 0


@dataclass(frozen=True)
class PointLosses:
    """Mean squared errors of a point's velocity, by sigma.

    Attributes:
        by_sigma: the mean over pictures at each of the sigmas.
    """

    by_sigma: Mapping[float, float]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.by_sigma.values())))


def fixed_validation_set(data: DataSet) -> ValidationSet:
    """Each picture at every one of the sigmas (i + 0.5) / 8; `DataError` where there is no picture."""
    count = data.count("validation")
    if not count:
        raise DataError(
            f"The data set {data.name} has no images in the split validation; encode it with a larger one, or leave "
            "validate_every out."
        )
    read = data.read("validation", [row for row in evenly(count, MOST_PICTURES) for _ in range(TIMESTEPS)])
    sigmas = (np.arange(TIMESTEPS) + 0.5) / TIMESTEPS
    noise = np.random.default_rng(NOISE_SEED).standard_normal(read.latents.shape)
    return ValidationSet(
        latents=read.latents,
        noise=torch.from_numpy(noise.astype(np.float32)),
        sigma=torch.from_numpy(np.tile(sigmas, len(read) // TIMESTEPS).astype(np.float32)),
        text=read.text.tensors(),
    )


@torch.no_grad()
def point_losses(
    supernet: ElasticDiT, data: ValidationSet, points: Mapping[str, SubDiTSpec], *, rows_at_once: int
) -> dict[str, PointLosses]:
    """Losses of sub-networks with inherited weights, by the names of `points`; so many rows are computed at once."""
    found = {}
    for name, spec in points.items():
        errors = torch.cat(
            [
                _errors(supernet, spec, data, slice(start, start + rows_at_once))
                for start in range(0, len(data.sigma), rows_at_once)
            ]
        )
        means = errors.unflatten(0, (-1, TIMESTEPS)).double().mean(0).tolist()
        found[name] = PointLosses(dict(zip(data.sigma[:TIMESTEPS].tolist(), means, strict=True)))
    return found


def _errors(supernet: ElasticDiT, spec: SubDiTSpec, data: ValidationSet, rows: slice) -> torch.Tensor:
    """Mean squared error of each row."""
    latents, noise, sigma = data.latents[rows], data.noise[rows], data.sigma[rows]
    inputs = model_inputs(supernet, add_noise(latents, noise, sigma), 1000 * sigma, [text[rows] for text in data.text])
    wrong = full_precision(supernet(*inputs, spec=spec)).cpu() - velocity(latents, noise)
    return wrong.square().flatten(1).mean(1)
