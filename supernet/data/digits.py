"""Data: latents with captions, split into what trains, what validates and what judges.

Real latents and captions come through the same `CaptionedLatents`; the digits of scikit-learn are their own latents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from functools import cached_property
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SpaceError
from subdit.space import get_space
from supernet.data.data_set import DataBatch
from supernet.data.data_set import TextBatch
from supernet.data.data_set import space_key
from supernet.data.text import NUMERALS
from supernet.data.text import text_encoders
from supernet.data.text_encoder import EncodedText
from supernet.data.text_encoder import null_text

if TYPE_CHECKING:
    from supernet.data.shards import Record

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


class DigitsDataSet:
    """The digits as a `DataSet` in memory; the plug-in `digits` of `subdit.data_sets`."""

    name = "digits"

    def __init__(self) -> None:
        self._space = get_space("digits")
        self._parts = {part: getattr(digits(), part) for part in ("train", "validation", "judge")}
        self._encoders = text_encoders(self._space)
        self.references = {encoder.name: "words" for encoder in self._encoders}
        self.key: dict[str, Any] = {
            "space": space_key(self._space),
            "latents": {"class": "pixels", "channels": 1},
            "text": {encoder.name: encoder.key for encoder in self._encoders},
        }

    @cached_property
    def digest(self) -> str:
        content = [self.key, *(part.hash for part in self._parts.values())]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def count(self, split: str) -> int:
        return len(self._parts[split])

    def read(self, split: str, rows: Sequence[int]) -> DataBatch:
        import torch

        taken = self._parts[split].take(rows)
        text = _text_batch([encoder.encode(taken.captions) for encoder in self._encoders])
        return DataBatch(tuple(_ids(split, rows)), torch.from_numpy(taken.latents), text)

    def records(self, split: str, rows: Sequence[int]) -> list[Record]:
        from supernet.data.shards import Record

        taken = self._parts[split].take(rows)
        return [
            Record(id=identity, caption=caption, split=split, group=identity, columns={"label": str(label)})
            for identity, caption, label in zip(_ids(split, rows), taken.captions, taken.labels.tolist(), strict=True)
        ]

    def null_text(self) -> TextBatch:
        return _text_batch([null_text(encoder) for encoder in self._encoders])


def _ids(split: str, rows: Sequence[int]) -> list[str]:
    return [f"{split}/{row}" for row in rows]


def _text_batch(encoded: Sequence[EncodedText]) -> TextBatch:
    import torch

    return TextBatch(
        tuple(torch.from_numpy(text.embeddings) for text in encoded),
        torch.from_numpy(np.concatenate([text.mask for text in encoded], axis=1)),
    )
