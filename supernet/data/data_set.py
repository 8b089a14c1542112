"""What a data set is to training and judging: latents with the text of their captions, in three splits."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol
from typing import runtime_checkable

from subdit.core.errors import DataError
from subdit.space import SearchSpace
from supernet.data.manifest import key_difference

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from supernet.data.shards import Record


@dataclass(frozen=True)
class TextBatch:
    """Text as a DiT takes it.

    Attributes:
        embeddings: per text input of the space (count, its tokens, its width), floats as they are stored.
        mask: (count, tokens of all) bool, False where a token is padding. Embeddings are zero there, which the DiT's
            norm turns into one learned token: a model, and its graph on a phone, needs no mask.
    """

    embeddings: tuple[Tensor, ...]
    mask: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
        """The embeddings in float32 on a device, as a model takes them."""
        return tuple(text.to(device).float() for text in self.embeddings)

    def with_null(self, rows: Tensor, null: TextBatch) -> TextBatch:
        """The same with the text `null` (1, ...) in the rows where a mask (count,) is true.

        Training drops captions by this, and sampling has its empty prompts by it, so that both have the same bits.
        """
        embeddings = [
            empty.to(text.dtype).where(rows[:, None, None], text)
            for text, empty in zip(self.embeddings, null.embeddings, strict=True)
        ]
        return TextBatch(tuple(embeddings), null.mask.where(rows[:, None], self.mask))


@dataclass(frozen=True)
class DataBatch:
    """Rows of a data set.

    Attributes:
        ids: of the pictures.
        latents: (count, channels, size, size) float32, normalised.
        text: of their captions.
    """

    ids: tuple[str, ...]
    latents: Tensor
    text: TextBatch

    def __len__(self) -> int:
        return len(self.ids)


@runtime_checkable
class DataSet(Protocol):
    """Captioned latents of one space. Rows of a split are numbered from 0; `train` and `validation` may be seen by what
    learns or chooses, `judge` only by what judges.

    Attributes:
        name: what it is called in sentences.
        digest: hexadecimal digits of its content and of all that it depends on.
        key: what it depends on, as JSON: among it `space`, what `space_key` says of its space, and
            `text`, by text input the key of its encoder.
        places: where what made it was: by `text.NAME` what `load_text_encoder` opened for a text input, and by `vae`
            the autoencoder of its latents, where they are of one. Nothing depends on them.
    """

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def key(self) -> Mapping[str, Any]: ...

    @property
    def places(self) -> Mapping[str, str]: ...

    def count(self, split: str) -> int:
        """Rows of a split."""
        ...

    def read(self, split: str, rows: Sequence[int]) -> DataBatch:
        """Rows of a split, in that order; raises `DataError` where text is not that of its picture."""
        ...

    def records(self, split: str, rows: Sequence[int]) -> list[Record]:
        """What is known of the pictures of rows, their captions among it."""
        ...

    def null_text(self) -> TextBatch:
        """The empty prompt (1, ...) as its text encoders gave it."""
        ...


def space_key(space: SearchSpace) -> dict[str, Any]:
    """What of a space its data depends on, as JSON."""
    return {
        "latent_size": space.latent_size,
        "latent_channels": space.latent_channels,
        "text_inputs": {text.name: [text.tokens, text.width] for text in space.text_inputs},
    }


def require_space(data_set: DataSet, space: SearchSpace) -> DataSet:
    """Return the data set; raises `DataError` where the space takes other latents or text."""
    if difference := key_difference(data_set.key["space"], space_key(space)):
        raise DataError(
            f"The data set {data_set.name} was made for another space than {space.name!r}: {difference}; encode the "
            "pictures for this one."
        )
    # Batches hold text by position.
    have, want = list(data_set.key["text"]), [text.name for text in space.text_inputs]
    if have != want:
        raise DataError(
            f"The data set {data_set.name} has the text inputs {', '.join(have)}, in another order than those of the "
            f"space {space.name!r}, {', '.join(want)}; encode the pictures for this one."
        )
    return data_set


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the rows 0 to `count`, spread evenly."""
    return [index * count // min(count, most) for index in range(min(count, most))]
