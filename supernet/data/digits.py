"""The digits of scikit-learn as a data set: their own latents, with captions of three words."""

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

from subdit.core.errors import DataError
from subdit.space import SearchSpace
from supernet.data.data_set import DataBatch
from supernet.data.data_set import TextBatch
from supernet.data.data_set import space_key
from supernet.data.splits import SPLITS
from supernet.data.text import NUMERALS
from supernet.data.text import digit_words
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


def has_digits(space: SearchSpace) -> bool:
    """Whether a space's latents are as the digits are."""
    return (space.latent_channels, space.latent_size) == (1, 8)


class DigitsDataSet:
    """The digits as a `DataSet` in memory, for any space of 1x8x8 latents; the plug-in `digits` of `subdit.data_sets`.

    `split` is what it holds, all digits where none is given. Raises `DataError` where a space has other latents.
    """

    name = "digits"

    def __init__(self, space: SearchSpace, *, split: DataSplit | None = None) -> None:
        if not has_digits(space):
            raise DataError(
                f"The digits are latents of 1x8x8, and those of space {space.name!r} are {space.latent_channels}x"
                f"{space.latent_size}x{space.latent_size}; name another data set."
            )
        self._split = split
        self._encoders = [digit_words(text) for text in space.text_inputs]
        self._encoded: dict[str, list[EncodedText]] = {}
        self.places = {f"text.{encoder.name}": "words" for encoder in self._encoders}
        self.key: dict[str, Any] = {
            "space": space_key(space),
            "latents": {"class": "pixels", "channels": 1},
            "text": {encoder.name: encoder.key for encoder in self._encoders},
        }

    @cached_property
    def digest(self) -> str:
        content = [self.key, *(self._part(split).hash for split in SPLITS)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def count(self, split: str) -> int:
        return len(self._part(split))

    def read(self, split: str, rows: Sequence[int]) -> DataBatch:
        import torch

        index = list(rows)
        latents = torch.from_numpy(self._part(split).latents[index])
        return DataBatch(
            tuple(_ids(split, rows)), latents, _text_batch([text.take(index) for text in self._text(split)])
        )

    def records(self, split: str, rows: Sequence[int]) -> list[Record]:
        from supernet.data.shards import Record

        taken = self._part(split).take(rows)
        return [
            Record(id=identity, caption=caption, split=split, group=identity, columns={"label": str(label)})
            for identity, caption, label in zip(_ids(split, rows), taken.captions, taken.labels.tolist(), strict=True)
        ]

    def null_text(self) -> TextBatch:
        return _text_batch([null_text(encoder) for encoder in self._encoders])

    def _part(self, split: str) -> CaptionedLatents:
        part: CaptionedLatents = getattr(self._split or digits(), split)
        return part

    def _text(self, split: str) -> list[EncodedText]:
        """All text of a split; a training would look the same words up in every step."""
        if split not in self._encoded:
            captions = self._part(split).captions
            self._encoded[split] = [encoder.encode(captions) for encoder in self._encoders]
        return self._encoded[split]


def _ids(split: str, rows: Sequence[int]) -> list[str]:
    return [f"{split}/{row}" for row in rows]


def _text_batch(encoded: Sequence[EncodedText]) -> TextBatch:
    import torch

    return TextBatch(
        tuple(torch.from_numpy(text.embeddings) for text in encoded),
        torch.from_numpy(np.concatenate([text.mask for text in encoded], axis=1)),
    )
