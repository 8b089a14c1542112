"""Validation flow-matching loss on fixed images, noise and sigmas: the default quality proxy.

Sigmas are stratified, so that every part of the path from noise to image weighs the same at any number of triples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subdit.core.errors import DataError
from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.data.data_set import DataSet
from supernet.data.data_set import evenly
from supernet.flow_matching import add_noise
from supernet.flow_matching import mean_squared_error
from supernet.flow_matching import velocity
from supernet.model.dit import SubDiT
from supernet.model.elastic import ElasticDiT
from supernet.model.placement import device_of
from supernet.model.placement import float_array
from supernet.model.placement import model_inputs
from supernet.parallel import run_shards
from supernet.parallel import shard_slices

FEW_TOKENS = 256
"""Tokens of a small sub-DiT, at most. Its threads get samples of their own, and wait for each other once. On a shared
machine, threads that waited for each other in every matrix product took three times as long on `digits`."""
MOST_IMAGES = 256
"""Images of a validation split in triples, at most, because a search evaluates thousands of sub-DiTs on them."""
HALVES = 2
"""Parts of the triples that a small sub-DiT processes side by side."""


@dataclass(frozen=True)
class ValidationSet:
    """Fixed (image, noise, sigma) triples with their text: tensors of (count, ...)."""

    latents: Tensor
    noise: Tensor
    sigma: Tensor
    text: tuple[Tensor, ...]

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits of the content; only losses on one set can be compared."""
        digest = hashlib.sha256()
        for tensor in (self.latents, self.noise, self.sigma, *self.text):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:10]

    def spread(self, count: int) -> ValidationSet:
        """`count` of the triples, evenly spread over the noise levels, or all triples if there are fewer."""
        order = torch.argsort(self.sigma, stable=True)
        rows = order[torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()]
        return ValidationSet(
            self.latents[rows], self.noise[rows], self.sigma[rows], tuple(tokens[rows] for tokens in self.text)
        )


def validation_set(
    data: DataSet, *, seed: int = 0, split: str = "validation", most: int = MOST_IMAGES, per_image: int = 2
) -> ValidationSet:
    """Triples drawn from a seed, `per_image` for each of at most `most` images, evenly spaced in a split.

    Raises `DataError` if the split is empty.
    """
    if not data.count(split):
        raise DataError(f"The data set {data.name} has no images in the split {split}; encode it with a larger one.")
    rng = np.random.default_rng(seed)
    rows = evenly(data.count(split), most) * per_image
    sigma = (rng.permutation(len(rows)) + 0.5) / len(rows)
    read = data.read(split, rows)
    return ValidationSet(
        latents=read.latents,
        noise=torch.from_numpy(rng.standard_normal(read.latents.shape).astype(np.float32)),
        sigma=torch.from_numpy(sigma.astype(np.float32)),
        text=read.text.tensors(),
    )


@torch.no_grad()
def validation_loss(model: ElasticDiT | SubDiT, data: ValidationSet, *, spec: SubDiTSpec | None = None) -> float:
    """Mean squared error of a model's velocity, or of a supernet's sub-network `spec`; lower is better."""
    inputs = model_inputs(model, add_noise(data.latents, data.noise, data.sigma), 1000 * data.sigma, data.text)
    predicted = model(*inputs, **({} if spec is None else {"spec": spec}))
    return mean_squared_error(predicted, velocity(data.latents, data.noise).to(predicted.device)).item()


def predicted_velocities(supernet: ElasticDiT, spec: SubDiTSpec, data: ValidationSet) -> npt.NDArray[np.float32]:
    """Velocities (count, channels, size, size) that the sub-network `spec` predicts with inherited weights.

    On a CPU, a small sub-network processes `HALVES` parts of the triples side by side. The parts are the same on any
    machine, so that values do not depend on the number of cores. Any other device processes all triples at once.
    """
    x_t, timestep = add_noise(data.latents, data.noise, data.sigma), 1000 * data.sigma
    # An extracted copy, which threads may share; within the supernet, each thread would look the sub-network up again.
    model = supernet.extract(spec)

    def part(rows: slice) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            texts = [tokens[rows] for tokens in data.text]
            return float_array(model(*model_inputs(model, x_t[rows], timestep[rows], texts)))

    parts = HALVES if get_space(spec.space).tokens <= FEW_TOKENS else 1
    return np.concatenate(run_shards(part, shard_slices(len(x_t), parts, device_of(model))))


def validation_losses(supernet: ElasticDiT, spec: SubDiTSpec, data: ValidationSet) -> npt.NDArray[np.float64]:
    """Mean squared error on each triple, shape (count,); their mean is `validation_loss`."""
    return losses_of(predicted_velocities(supernet, spec, data), data)


def losses_of(predicted: npt.NDArray[np.float32], data: ValidationSet) -> npt.NDArray[np.float64]:
    """Mean squared error of predicted velocities (count, channels, size, size) on each triple, shape (count,)."""
    wrong = predicted - velocity(data.latents, data.noise).numpy()
    return np.square(wrong, dtype=np.float64).reshape(len(wrong), -1).mean(axis=1)


def velocity_function(
    supernet: ElasticDiT, spec: SubDiTSpec, text: tuple[Tensor, ...]
) -> Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """The sub-network `spec` with inherited weights as a function for `sample_euler`, for a batch with this text."""
    model = supernet.extract(spec)

    def function(x: npt.NDArray[np.float32], timestep: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            return float_array(model(*model_inputs(model, torch.from_numpy(x), torch.from_numpy(timestep), text)))

    return function
