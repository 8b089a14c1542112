"""The text encoders of a data set opened again, for prompts: the same ones, or none.

What was trained with a data set samples with its encoders. Another version of an encoder, another template, or an empty
prompt that is not the one which captions were dropped for, make guidance wrong without an error. Here the first two are
refused, and the empty prompt is not encoded again but taken from the data set, so that it has the bits of training on
every device.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from subdit.core.errors import DataError
from subdit.space import TextInput
from supernet.data.data_set import TextBatch
from supernet.data.manifest import key_difference
from supernet.data.text_encoder import PLAIN_TEMPLATE
from supernet.data.text_encoder import PRECISION
from supernet.data.text_encoder import EncodedText
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import load_text_encoder
from supernet.data.text_encoder import null_text

NULL_TOLERANCE = 0.02
"""By how much of its largest number the empty prompt may differ here: rounding to a stored dtype, and of devices."""


@dataclass(frozen=True)
class PromptEncoders:
    """Text encoders in the order of the space's text inputs, with the empty prompt (1, ...) of training."""

    encoders: tuple[TextEncoder, ...]
    null: TextBatch

    def encode(self, prompts: Sequence[str]) -> TextBatch:
        """The prompts' text in the dtype of the null text; raises `SampleError` on a prompt that cannot be read."""
        encoded = [encoder.encode(prompts) for encoder in self.encoders]
        mask = torch.from_numpy(np.concatenate([text.mask for text in encoded], axis=1))
        embeddings = [
            torch.from_numpy(text.embeddings).to(null.dtype)
            for text, null in zip(encoded, self.null.embeddings, strict=True)
        ]
        empty = torch.tensor([not prompt.strip() for prompt in prompts], dtype=torch.bool)
        return TextBatch(tuple(embeddings), mask).with_null(empty, self.null)


def open_prompt_encoders(
    keys: Mapping[str, Mapping[str, Any]], references: Mapping[str, str], null: TextBatch, *, device: str = "auto"
) -> PromptEncoders:
    """The encoders that keys are of, in their order.

    Args:
        keys: by text input the key of its encoder, `key["text"]` of a data set.
        references: by text input what `load_text_encoder` opens.
        null: the empty prompt that training saw, `null_text()` of the data set.
        device: as torch names it, or "auto".

    Raises:
        DataError: an encoder is not there, is another one, or encodes the empty prompt otherwise.
    """
    encoders = []
    masks = null.mask.split([key["tokens"] for key in keys.values()], dim=1)
    for (name, key), stored, mask in zip(keys.items(), null.embeddings, masks, strict=True):
        encoder = load_text_encoder(
            TextInput(name, key["width"], key["tokens"]),
            references[name],
            template=key.get("template", PLAIN_TEMPLATE),
            device=device,
            precision=key.get("precision", PRECISION),
        )
        if difference := key_difference({"text": {name: encoder.key}}, {"text": {name: dict(key)}}):
            raise DataError(
                f"The text encoder {references[name]!r} is not the one that was trained with: {difference}; name that "
                f"one with --text {name}=PATH."
            )
        if not _alike(null_text(encoder), stored.float().numpy(), mask.numpy()):
            raise DataError(
                f"The text encoder {references[name]!r} encodes the empty prompt otherwise than in training; use the "
                "versions of torch and transformers that the data was encoded with."
            )
        encoders.append(encoder)
    return PromptEncoders(tuple(encoders), null)


def _alike(found: EncodedText, embeddings: Any, mask: Any) -> bool:
    most = NULL_TOLERANCE * float(np.abs(embeddings).max(initial=0.0))
    return np.array_equal(found.mask, mask) and bool((np.abs(found.embeddings - embeddings) <= most).all())
