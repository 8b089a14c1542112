"""Data: latents with captions, split into what trains, what validates and what judges.

Real latents and captions come through the same `CaptionedLatents`; the digits of scikit-learn are their own latents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SpaceError
from subdit.space import get_space
from supernet.data.text import NUMERALS

SPLIT_SEED = 20260123


@dataclass(frozen=True)
class CaptionedLatents:
    """Latents (count, channels, size, size) float32, a caption and a class number for each."""

    latents: npt.NDArray[np.float32]
    captions: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.latents)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> CaptionedLatents:
        """The rows, in that order."""
        index = np.asarray(rows)
        captions = tuple(self.captions[row] for row in index.tolist())
        return CaptionedLatents(self.latents[index], captions, self.labels[index])

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits of the content."""
        return hashlib.sha256(self.latents.tobytes() + "\n".join(self.captions).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class DataSplit:
    """`train` and `validation` may be seen by anything that learns or chooses; `judge` only by what judges."""

    train: CaptionedLatents
    validation: CaptionedLatents
    judge: CaptionedLatents

    @property
    def seen(self) -> CaptionedLatents:
        """Train and validation together: the training half."""
        both = (self.train, self.validation)
        return CaptionedLatents(
            np.concatenate([part.latents for part in both]),
            (*self.train.captions, *self.validation.captions),
            np.concatenate([part.labels for part in both]),
        )


def digit_caption(digit: int) -> str:
    """What the digits are called, such as 'a handwritten seven'."""
    return f"a handwritten {NUMERALS[digit]}"


@cache
def digits() -> DataSplit:
    """scikit-learn's 1,797 scans of handwritten digits in [-1, 1]: 799 train, 100 validation, 898 judge, stratified."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans = load_digits()
    labels = scans.target.astype(np.int64)
    latents = (scans.images[:, None] / 8 - 1).astype(np.float32)
    everything = CaptionedLatents(latents, tuple(digit_caption(label) for label in labels.tolist()), labels)
    seen, judge = train_test_split(np.arange(len(labels)), test_size=898, stratify=labels, random_state=SPLIT_SEED)
    train, validation = train_test_split(seen, test_size=100, stratify=labels[seen], random_state=SPLIT_SEED)
    return DataSplit(everything.take(train), everything.take(validation), everything.take(judge))


def load_data(space_name: str) -> DataSplit:
    """The data that a space is trained on; raises `SpaceError` where it has none."""
    space = get_space(space_name)
    if (space.latent_channels, space.latent_size) != (1, 8):
        raise SpaceError(f"Space {space_name!r} has no data set of its own; train space 'digits', which has.")
    return digits()
