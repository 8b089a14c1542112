"""What a text encoder is to the rest of subdit, and the one that a name or a path stands for.

A text encoder turns prompts into a fixed number of token embeddings. It is frozen; the DiT norms and projects its
tokens itself. Plug-ins are entry points of the group `subdit.text_encoders`: functions of a space's `TextInput`, an
argument, a template, a device and a precision that return a `TextEncoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from typing import Protocol
from typing import runtime_checkable

import numpy as np
import numpy.typing as npt

from subdit.core.errors import DataError
from subdit.space import TextInput

GROUP = "subdit.text_encoders"
PLAIN_TEMPLATE = "{}"
PRECISION = "float32"

Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EncodedText:
    """Embeddings (count, tokens, width) float32, and the mask (count, tokens) of tokens that are no padding."""

    embeddings: Embeddings
    mask: npt.NDArray[np.bool_]

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> EncodedText:
        """The rows, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return EncodedText(self.embeddings[index], self.mask[index])


@runtime_checkable
class TextEncoder(Protocol):
    """A frozen encoder; `name`, `width` and `tokens` are those of the space's `TextInput` that it serves.

    The empty prompt is what unconditional generation is conditioned on. `encode` gives it the same bits alone and among
    others, so that the null text of training is that of sampling.
    """

    name: str
    width: int
    tokens: int

    @property
    def key(self) -> dict[str, Any]:
        """What embeddings depend on, as JSON; two caches with different keys do not mix."""
        ...

    def encode(self, prompts: Sequence[str]) -> EncodedText:
        """The prompts' tokens; raises `SampleError` on a prompt that it cannot read."""
        ...

    def truncated(self, prompts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which prompts (count,) have more tokens than are kept."""
        ...


def text_encoder_names() -> tuple[str, ...]:
    """Names of the text encoder plug-ins, in the order of the alphabet."""
    return tuple(sorted(metadata.entry_points(group=GROUP).names))


def absolute_reference(reference: str) -> str:
    """What `load_text_encoder` takes, so that it holds in any working directory."""
    return reference if reference.partition(":")[0] in text_encoder_names() else str(Path(reference).resolve())


def load_text_encoder(
    text_input: TextInput,
    reference: str,
    *,
    template: str = PLAIN_TEMPLATE,
    device: str = "auto",
    precision: str = PRECISION,
) -> TextEncoder:
    """The text encoder for a space's text input.

    Args:
        text_input: what the encoder must give.
        reference: PLUGIN or PLUGIN:ARGUMENT, or a folder that transformers saved, which is `transformers:FOLDER`.
        template: what a prompt is put into, at its `{}`; the empty prompt stays empty.
        device: as torch names it, or "auto".
        precision: of the encoder's own numbers, "float32", or "bfloat16" for half of the memory.

    Raises:
        DataError: there is no such encoder, or it gives other tokens than the space takes.
    """
    if template.count(PLAIN_TEMPLATE) != 1:
        raise DataError(f"The template {template!r} must hold {{}} once, where the caption stands.")
    plugin, _, argument = reference.partition(":")
    if plugin not in text_encoder_names():
        if not Path(reference).is_dir():
            raise DataError(
                f"There is no text encoder {reference!r}; name a folder that transformers saved, as nothing is "
                f"downloaded, or a plug-in of {', '.join(text_encoder_names())}."
            )
        plugin, argument = "transformers", reference
    (entry, *_) = metadata.entry_points(group=GROUP, name=plugin)
    try:
        factory = entry.load()
    except (ImportError, AttributeError) as error:
        raise DataError(f"The text encoder {plugin!r} cannot be imported ({error}); repair or uninstall it.") from error
    encoder = factory(text_input, argument, template=template, device=device, precision=precision)
    if not isinstance(encoder, TextEncoder):
        raise DataError(f"{entry.value} makes no `TextEncoder`; repair or uninstall its package.")
    for label in ("name", "width", "tokens"):
        if getattr(encoder, label) != getattr(text_input, label):
            raise DataError(
                f"The text encoder {reference!r} has {label} {getattr(encoder, label)}, but the space's text input "
                f"{text_input.name!r} has {getattr(text_input, label)}; name another encoder or change the space."
            )
    return encoder


def null_text(encoder: TextEncoder) -> EncodedText:
    """The empty prompt (1, tokens, width): what training drops captions for, and sampling guides away from."""
    return encoder.encode([""])
