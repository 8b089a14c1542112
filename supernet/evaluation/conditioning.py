"""The text that samples are drawn for, read batch by batch, so that memory does not grow with the number of samples."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from supernet.data.data_set import DataSet


@dataclass(frozen=True)
class Text:
    """Text as a DiT takes it: per text encoder embeddings (count, tokens, width)."""

    embeddings: tuple[Tensor, ...]

    def __getitem__(self, rows: slice) -> Text:
        return Text(tuple(tokens[rows] for tokens in self.embeddings))

    def expand(self, count: int) -> Text:
        """The single row, repeated `count` times."""
        return Text(tuple(tokens.expand(count, -1, -1) for tokens in self.embeddings))


@dataclass(frozen=True)
class Conditioning:
    """Text of samples.

    Attributes:
        count: number of samples.
        read: text of a slice of the samples; called by one thread at a time.
        null: the empty prompt, one row.
    """

    count: int
    read: Callable[[slice], Text]
    null: Text


def condition_on_rows(data: DataSet, split: str, rows: Sequence[int]) -> Conditioning:
    """The captions of rows of a split."""
    return Conditioning(
        len(rows), lambda part: Text(data.read(split, rows[part]).text.embeddings), Text(data.null_text().embeddings)
    )
