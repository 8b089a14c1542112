"""Learned features without external weights: a small convolutional network that classifies the train split.

If images have no classes, the network learns by how many quarter turns they are rotated (Gidaris et al., ICLR 2018).
Its inputs are latents, so it needs no decoder. Mean and deviation of the train split standardise them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn

from supernet.evaluation.feature_spaces import LATENTS
from supernet.evaluation.feature_spaces import FeatureSpace
from supernet.evaluation.reference import Images
from supernet.evaluation.reference import Labels
from supernet.evaluation.reference import RealImages

STEPS = 400
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WIDTHS = (32, 64, 128)
SMALLEST_SIDE = 4
"""Longest side of an image before the last convolutions; longer sides are halved first."""
TURNS = 4


class _Network(nn.Module):
    """Convolutions, the mean over positions, and one linear head per column of classes."""

    def __init__(self, channels: int, size: int, classes: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while len(layers) < 3 * len(WIDTHS) or size > SMALLEST_SIDE:
            width = WIDTHS[min(len(layers) // 3, len(WIDTHS) - 1)]
            stride = 2 if size > SMALLEST_SIDE else 1
            # Group norms work within an image, so its features do not depend on the rest of the batch.
            layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.GroupNorm(8, width), nn.GELU()]
            channels, size = width, -(-size // stride)
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(channels, count) for count in classes)

    def features(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.body(images).mean(dim=(2, 3))
        return pooled


class ConvolutionalFeatures:
    """The mean over positions of the network's last convolution, 128 numbers; the constructor trains the network."""

    id = "convolutional"
    expects = LATENTS
    linear = True

    def __init__(self, train: RealImages, *, steps: int, seed: int = 0) -> None:
        axes = (0, 2, 3)
        self._mean = train.latents.mean(axis=axes, keepdims=True)
        self._std = train.latents.std(axis=axes, keepdims=True) + 1e-6
        before = torch.get_num_threads()
        # Sums over threads would make the weights depend on the number of cores.
        torch.set_num_threads(1)
        try:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed)
                self._network = _train(self._standard(train.latents), train.labels, steps, seed)
        finally:
            torch.set_num_threads(before)
        digest = hashlib.sha256(self._mean.tobytes() + self._std.tobytes())
        for tensor in self._network.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        self.hash = digest.hexdigest()[:10]

    def __call__(self, images: Images) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(self._network.features(self._standard(images)).numpy(), dtype=np.float32)

    def _standard(self, images: Images) -> Tensor:
        return torch.from_numpy((images - self._mean) / self._std)


def convolutional(train: RealImages) -> FeatureSpace:
    """Entry point: features learned on the train split."""
    return ConvolutionalFeatures(train, steps=STEPS)


def _train(images: Tensor, labels: Labels, steps: int, seed: int) -> _Network:
    targets = {column: torch.from_numpy(values) for column, values in labels.items() if values.max() > 0}
    classes = [int(values.max()) + 1 for values in targets.values()] or [TURNS]
    network = _Network(images.shape[1], images.shape[-1], classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=max(steps, 1))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(images), (BATCH_SIZE,), generator=generator)
        batch, wanted = images[rows], [values[rows] for values in targets.values()]
        if not targets:
            turns = torch.randint(TURNS, (BATCH_SIZE,), generator=generator)
            batch = torch.stack([torch.rot90(x, int(k), (1, 2)) for x, k in zip(batch, turns, strict=True)])
            wanted = [turns]
        pooled = network.features(batch)
        losses = [
            # The class of a row is negative if it is unknown.
            nn.functional.cross_entropy(head(pooled), values.where(values >= 0, -100), reduction="sum") / BATCH_SIZE
            for head, values in zip(network.heads, wanted, strict=True)
        ]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    return network.eval()
