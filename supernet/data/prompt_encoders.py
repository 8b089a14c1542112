"""The text encoders of a data set opened again, for prompts: the same ones, or none.

What was trained with a data set samples with its encoders. Another version of an encoder, another template, or an empty
prompt that is not the one which captions were dropped for, make guidance wrong without an error; here each is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from subdit.core.errors import DataError
from subdit.space import TextInput
from supernet.data.data_set import TextBatch
from supernet.data.manifest import key_difference
from supernet.data.text_encoder import PLAIN_TEMPLATE
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import load_text_encoder
from supernet.data.text_encoder import null_text


def open_prompt_encoders(
    keys: Mapping[str, Mapping[str, Any]],
    references: Mapping[str, str],
    null: TextBatch,
    *,
    device: str = "auto",
) -> tuple[TextEncoder, ...]:
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
    widths = [key["tokens"] for key in keys.values()]
    masks = null.mask.split(widths, dim=1)
    for (name, key), stored, mask in zip(keys.items(), null.embeddings, masks, strict=True):
        encoder = load_text_encoder(
            TextInput(name, key["width"], key["tokens"]),
            references[name],
            template=key.get("template", PLAIN_TEMPLATE),
            device=device,
        )
        if difference := key_difference({"text": {name: encoder.key}}, {"text": {name: dict(key)}}):
            raise DataError(
                f"The text encoder {references[name]!r} is not the one that was trained with: {difference}; name that "
                f"one with --text {name}=PATH."
            )
        empty = null_text(encoder)
        same = torch.equal(torch.from_numpy(empty.embeddings).to(stored.dtype), stored)
        if not (same and np.array_equal(empty.mask, mask.numpy())):
            raise DataError(
                f"The text encoder {references[name]!r} encodes the empty prompt otherwise than in training; use the "
                "versions of torch and transformers, and the kind of device, that the data was encoded with."
            )
        encoders.append(encoder)
    return tuple(encoders)
