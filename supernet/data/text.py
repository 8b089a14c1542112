"""The small text encoder of the digits, and how encoders are dropped in training.

Unconditional generation is conditioning on the empty prompt. Dropping an encoder, so that inference can go without it,
is leaving its tokens out of the cross-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.core.errors import DataError
from subdit.core.errors import SampleError
from subdit.space import TextInput
from supernet.data.text_encoder import PLAIN_TEMPLATE
from supernet.data.text_encoder import PRECISION
from supernet.data.text_encoder import Embeddings
from supernet.data.text_encoder import EncodedText

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class WordEncoder:
    """One fixed embedding for each word of a small vocabulary, plus one for each position.

    The embeddings are drawn once from a seed. That is a real, if humble, text encoder: the DiT learns what the words
    mean through cross-attention, as it does with larger ones.
    """

    def __init__(self, *, name: str, width: int, tokens: int, vocabulary: Sequence[str], seed: int = 0) -> None:
        self.name = name
        self.width = width
        self.tokens = tokens
        self.vocabulary = ("", *vocabulary)
        self.seed = seed
        rng = np.random.default_rng(seed)
        self._words = rng.standard_normal((len(self.vocabulary), width)).astype(np.float32)
        self._positions = 0.5 * rng.standard_normal((tokens, width)).astype(np.float32)

    @property
    def key(self) -> dict[str, Any]:
        return {
            "encoder": "words",
            "name": self.name,
            "width": self.width,
            "tokens": self.tokens,
            "vocabulary": list(self.vocabulary),
            "seed": self.seed,
        }

    def encode(self, prompts: Sequence[str]) -> EncodedText:
        embeddings = self.embed(prompts)
        return EncodedText(embeddings, np.ones(embeddings.shape[:2], dtype=np.bool_))

    def truncated(self, prompts: Sequence[str]) -> npt.NDArray[np.bool_]:
        return np.zeros(len(prompts), dtype=np.bool_)

    def embed(self, prompts: Sequence[str]) -> Embeddings:
        """Embeddings (len(prompts), tokens, width); raises `SampleError` on a prompt that it cannot read."""
        rows = np.zeros((len(prompts), self.tokens), dtype=np.int64)
        for row, prompt in zip(rows, prompts, strict=True):
            words = prompt.lower().split()
            if len(words) > self.tokens:
                raise SampleError(f"The prompt {prompt!r} has {len(words)} words; write at most {self.tokens}.")
            for index, word in enumerate(words):
                if word not in self.vocabulary:
                    raise SampleError(
                        f"The prompt {prompt!r} has the unknown word {word!r}; known are {self._known()}."
                    )
                row[index] = self.vocabulary.index(word)
        return self._words[rows] + self._positions

    def _known(self) -> str:
        return ", ".join(self.vocabulary[1:])


def digit_words(
    text_input: TextInput,
    argument: str = "",
    *,
    template: str = PLAIN_TEMPLATE,
    device: str = "auto",
    precision: str = PRECISION,
) -> WordEncoder:
    """The word encoder of the digits for a space's text input; the plug-in `words` of `subdit.text_encoders`.

    Device and precision have no effect on it: it looks words up in a table.
    """
    if argument or template != PLAIN_TEMPLATE:
        raise DataError("The text encoder 'words' has neither an argument nor a template; leave them out.")
    return WordEncoder(
        name=text_input.name,
        width=text_input.width,
        tokens=text_input.tokens,
        vocabulary=("a", "handwritten", "digit", *NUMERALS),
    )


def drop_encoders(
    tokens: Sequence[int], count: int, *, probability: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Masks (count, all tokens) that leave out whole encoders: each with `probability` by itself, but never all.

    Where all would go, one of them, drawn evenly, stays: no text at all is what the empty prompt says.

    Args:
        tokens: of each encoder.
        count: samples.
        probability: of dropping an encoder.
        rng: draws.
    """
    kept = rng.random((count, len(tokens))) >= probability
    stays = rng.integers(len(tokens), size=count)
    kept |= ~kept.any(axis=1, keepdims=True) & (np.arange(len(tokens)) == stays[:, None])
    return np.repeat(kept, tokens, axis=1)
