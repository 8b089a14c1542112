"""The text that samples are drawn for, read batch by batch, so that memory does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from supernet.data.text import text_tensors


@dataclass(frozen=True)
class Text:
    """Text as a DiT takes it.

    Attributes:
        embeddings: per text encoder (count, tokens, width).
        mask: (count, tokens of all), False where a token is padding; None where all count.
    """

    embeddings: tuple[Tensor, ...]
    mask: Tensor | None = None

    def __getitem__(self, rows: slice) -> Text:
        return Text(tuple(tokens[rows] for tokens in self.embeddings), None if self.mask is None else self.mask[rows])

    def expand(self, count: int) -> Text:
        """The one row, `count` times."""
        mask = None if self.mask is None else self.mask.expand(count, -1)
        return Text(tuple(tokens.expand(count, -1, -1) for tokens in self.embeddings), mask)


@dataclass(frozen=True)
class Conditioning:
    """Text of samples.

    Attributes:
        count: samples.
        read: text of some of them; called by one thread at a time.
        null: the empty prompt, one row.
    """

    count: int
    read: Callable[[slice], Text]
    null: Text


def condition_on(space_name: str, captions: Sequence[str]) -> Conditioning:
    """Captions as the text encoders of a space read them."""
    listed = tuple(captions)
    return Conditioning(
        len(listed), lambda rows: Text(text_tensors(space_name, listed[rows])), Text(text_tensors(space_name, ("",)))
    )
