"""The text encoders of a data set, opened again for prompts.

A model samples with the text encoders that it was trained with. Guidance goes wrong without an error where an encoder
has other weights or another template, or where its empty prompt is not the one that training replaced captions by. So
other encoders are refused, and the empty prompt comes from the data set: it has the bits of training on every device.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from subdit.core.errors import DataError
from subdit.space import TextInput
from supernet.data.manifest import key_difference
from supernet.data.text_encoder import PLAIN_TEMPLATE
from supernet.data.text_encoder import PRECISION
from supernet.data.text_encoder import Embeddings
from supernet.data.text_encoder import EncodedText
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import load_text_encoder
from supernet.data.text_encoder import null_text

if TYPE_CHECKING:
    from supernet.data.data_set import TextBatch

NULL_TOLERANCE = 0.02
"""By how much of its largest number the empty prompt may differ here: rounding to a stored dtype, and of devices."""


@dataclass(frozen=True)
class PromptEncoders:
    """Text encoders in the order of the space's text inputs, with the empty prompt (1, ...) of training.

    An exported model has no empty prompt beside it; its encoders then say what it is.
    """

    encoders: tuple[TextEncoder, ...]
    null: TextBatch | None

    def embed(self, prompts: Sequence[str]) -> tuple[Embeddings, ...]:
        """Per text input (count, tokens, width) float32, without torch where there is no empty prompt of training.

        Raises `SampleError` on a prompt that cannot be read.
        """
        if self.null is None:
            return tuple(encoder.encode(prompts).embeddings for encoder in self.encoders)
        return tuple(text.float().numpy() for text in self.encode(prompts).embeddings)

    def encode(self, prompts: Sequence[str]) -> TextBatch:
        """The prompts' text in the dtype of the null text; raises `SampleError` on a prompt that cannot be read."""
        import torch

        from supernet.data.data_set import TextBatch

        assert self.null is not None
        encoded = [encoder.encode(prompts) for encoder in self.encoders]
        mask = torch.from_numpy(np.concatenate([text.mask for text in encoded], axis=1))
        embeddings = [
            torch.from_numpy(text.embeddings).to(null.dtype)
            for text, null in zip(encoded, self.null.embeddings, strict=True)
        ]
        empty = torch.tensor([not prompt.strip() for prompt in prompts], dtype=torch.bool)
        return TextBatch(tuple(embeddings), mask).with_null(empty, self.null)


def open_prompt_encoders(
    keys: Mapping[str, Mapping[str, Any]], places: Mapping[str, str], null: TextBatch | None, *, device: str = "auto"
) -> PromptEncoders:
    """The text encoders with these keys, in their order.

    Args:
        keys: by text input the key of its encoder, `key["text"]` of a data set.
        places: by `text.NAME` what `load_text_encoder` opens for a text input.
        null: the empty prompt that training saw, `null_text()` of the data set, where it is at hand.
        device: as torch names it, or "auto".

    Raises:
        DataError: an encoder is not there, is another one, or gives another empty prompt.
    """
    encoders = []
    for index, (name, key) in enumerate(keys.items()):
        place = places[f"text.{name}"]
        encoder = load_text_encoder(
            TextInput(name, key["width"], key["tokens"]),
            place,
            template=key.get("template", PLAIN_TEMPLATE),
            device=device,
            precision=key.get("precision", PRECISION),
        )
        if difference := key_difference({"text": {name: encoder.key}}, {"text": {name: dict(key)}}):
            raise DataError(
                f"The text encoder {place!r} is not the one that was trained with: {difference}; name that "
                f"one with --text {name}=PATH."
            )
        if null is not None and not _alike(null_text(encoder), null, index):
            raise DataError(
                f"The text encoder {place!r} gives another empty prompt than in training; use the "
                "versions of torch and transformers that the data was encoded with."
            )
        encoders.append(encoder)
    return PromptEncoders(tuple(encoders), null)


def _alike(found: EncodedText, null: TextBatch, index: int) -> bool:
    """Whether an empty prompt is that of the text input at `index` in training."""
    start = sum(text.shape[1] for text in null.embeddings[:index])
    embeddings = null.embeddings[index].float().numpy()
    mask = null.mask[:, start : start + embeddings.shape[1]].numpy()
    most = NULL_TOLERANCE * float(np.abs(embeddings).max(initial=0.0))
    return np.array_equal(found.mask, mask) and bool((np.abs(found.embeddings - embeddings) <= most).all())
