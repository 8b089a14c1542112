"""The reference: real images that samples are compared with, and the prompts that samples are drawn for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from subdit.core.errors import EvaluationError

if TYPE_CHECKING:
    from supernet.evaluation.conditioning import Conditioning

Images = npt.NDArray[np.float32]
Labels = Mapping[str, npt.NDArray[np.int64]]
"""Per column of classes, the class index of each row."""

PROMPT_STREAM = 9
"""Keeps random numbers of prompts apart from those of noise."""


@dataclass(frozen=True)
class RealImages:
    """Real images with their captions and classes.

    Attributes:
        latents: (count, channels, size, size), as the DiT draws them.
        captions: one per image.
        labels: class indices by column, negative if unknown; empty if images have no classes.
        hash: hexadecimal digest of the content.
    """

    latents: Images
    captions: tuple[str, ...]
    labels: Labels
    hash: str

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True)
class Prompts:
    """Captions of real images, which samples are drawn for, and the classes of those images.

    Attributes:
        rows: rows of the judge half.
        captions: captions of these rows.
        labels: class indices by column.
    """

    rows: npt.NDArray[np.int64]
    captions: tuple[str, ...]
    labels: Labels

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Reference:
    """Real images of a data set: a half for training and choices, and a half that only judges.

    Attributes:
        train: images of the splits train and validation.
        judge: images of the split judge.
        condition: text of prompts as the model takes it.
        decode: latents (count, ...) to pictures (count, channels, height, width) in [-1, 1]; None without a decoder.
    """

    train: RealImages
    judge: RealImages
    condition: Callable[[Prompts], Conditioning]
    decode: Callable[[Images], Images] | None = None

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits of both halves; only figures of one reference can be compared."""
        return hashlib.sha256(f"{self.train.hash} {self.judge.hash}".encode()).hexdigest()[:10]

    def draw_prompts(self, count: int, *, seed: int) -> Prompts:
        """Prompts of `count` images of the judge half, drawn without replacement; all are repeated if it has fewer."""
        whole, rest = divmod(count, len(self.judge))
        order = np.random.default_rng([seed, PROMPT_STREAM]).permutation(len(self.judge))
        return self._prompts(np.concatenate([np.tile(np.arange(len(self.judge)), whole), np.sort(order[:rest])]))

    def class_prompts(self, per_class: int) -> Prompts:
        """Prompts of `per_class` images of each class of the judge half, in the order of the classes.

        A class with fewer images repeats them. Raises `EvaluationError` unless the data has exactly one column of
        classes.
        """
        if len(self.judge.labels) != 1:
            raise EvaluationError(
                f"The data has {len(self.judge.labels)} columns of classes; prompts per class need one; draw "
                "prompts of the judge split instead."
            )
        (labels,) = self.judge.labels.values()
        rows = [np.resize(np.flatnonzero(labels == each), per_class) for each in np.unique(labels)]
        return self._prompts(np.concatenate(rows))

    def balanced_prompts(self, per_class: int) -> Prompts:
        """Class prompts if the data has exactly one column of classes, else `10 * per_class` drawn prompts."""
        if len(self.judge.labels) == 1:
            return self.class_prompts(per_class)
        return self.draw_prompts(min(10 * per_class, len(self.judge)), seed=0)

    def _prompts(self, rows: npt.NDArray[np.int64]) -> Prompts:
        captions = tuple(self.judge.captions[row] for row in rows.tolist())
        return Prompts(rows, captions, {column: labels[rows] for column, labels in self.judge.labels.items()})


def same_images(images: Images) -> Images:
    """The decoder of latents that are pictures themselves."""
    return images
