"""What every text encoder must do; a plug-in's tests subclass `TextEncoderContract`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import null_text


class TextEncoderContract:
    """A subclass gives the encoder, a second one made in the same way, and prompts that it can read."""

    PROMPTS: tuple[str, ...]
    CUT_SHORT: str | None = None
    """A prompt of more tokens than are kept, None where such prompts are refused."""

    @pytest.fixture
    def encoder(self) -> TextEncoder:
        raise NotImplementedError

    @pytest.fixture
    def again(self) -> TextEncoder:
        raise NotImplementedError

    def test_it_is_one(self, encoder: TextEncoder) -> None:
        assert isinstance(encoder, TextEncoder)
        assert json.loads(json.dumps(encoder.key)) == encoder.key
        assert encoder.key["name"] == encoder.name

    def test_it_gives_what_it_states(self, encoder: TextEncoder) -> None:
        text = encoder.encode(self.PROMPTS)
        assert text.embeddings.shape == (len(self.PROMPTS), encoder.tokens, encoder.width)
        assert text.embeddings.dtype == np.float32 and np.isfinite(text.embeddings).all()
        assert text.mask.shape == text.embeddings.shape[:2] and text.mask.dtype == np.bool_
        assert text.mask.any(axis=1).all(), "a prompt without a token leaves nothing to attend to"
        assert encoder.encode([]).embeddings.shape == (0, encoder.tokens, encoder.width)

    def test_a_prompt_is_encoded_by_itself(self, encoder: TextEncoder) -> None:
        together = encoder.encode(self.PROMPTS)
        for row, prompt in enumerate(self.PROMPTS):
            alone = encoder.encode([prompt])
            assert np.array_equal(alone.mask[0], together.mask[row])
            np.testing.assert_allclose(alone.embeddings[0], together.embeddings[row], atol=1e-5)

    def test_prompts_are_told_apart(self, encoder: TextEncoder) -> None:
        text = encoder.encode(["", *self.PROMPTS]).embeddings
        distances = np.abs(text[:, None] - text[None]).max((2, 3))
        assert distances[~np.eye(len(text), dtype=bool)].min() > 1e-3

    def test_the_empty_prompt_has_the_same_bits_everywhere(self, encoder: TextEncoder, again: TextEncoder) -> None:
        null = null_text(encoder)
        among = encoder.encode([self.PROMPTS[0], "", *self.PROMPTS, ""])
        assert np.array_equal(among.embeddings[1], null.embeddings[0])
        assert np.array_equal(among.embeddings[-1], null.embeddings[0])
        assert np.array_equal(among.mask[1], null.mask[0])
        assert np.array_equal(null_text(again).embeddings, null.embeddings)

    def test_the_same_encoder_made_again_is_the_same(self, encoder: TextEncoder, again: TextEncoder) -> None:
        assert encoder.key == again.key
        assert np.array_equal(encoder.encode(self.PROMPTS).embeddings, again.encode(self.PROMPTS).embeddings)

    def test_prompts_that_are_cut_short_are_told(self, encoder: TextEncoder) -> None:
        assert encoder.truncated([]).shape == (0,)
        assert not encoder.truncated(["", *self.PROMPTS]).any()
        if self.CUT_SHORT is not None:
            assert encoder.truncated([self.PROMPTS[0], self.CUT_SHORT]).tolist() == [False, True]
            assert encoder.encode([self.CUT_SHORT]).mask.all()
