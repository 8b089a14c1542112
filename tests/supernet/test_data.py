"""The one split of the digits, and the text that goes with it."""

from __future__ import annotations

import numpy as np
import pytest

from subdit.core.errors import DataError
from subdit.core.errors import SampleError
from subdit.core.errors import SpaceError
from subdit.space import get_space
from supernet.data.data_sets import default_data_set
from supernet.data.data_sets import open_data_set
from supernet.data.digits import digit_caption
from supernet.data.digits import digits
from supernet.data.text import WordEncoder
from supernet.data.text import digit_words
from tests.supernet.digit_data import word_tensors

DATA = digits()
PARTS = {"train": DATA.train, "validation": DATA.validation, "judge": DATA.judge}


def test_the_split_has_the_promised_sizes() -> None:
    assert {name: len(part) for name, part in PARTS.items()} == {"train": 799, "validation": 100, "judge": 898}
    assert len(DATA.seen) == 899


def test_the_split_is_a_partition_of_scikit_learns_scans() -> None:
    """By content: no image is anywhere twice, none is lost, so nothing that learns has seen the judge half."""
    from sklearn.datasets import load_digits

    contents = {name: {image.tobytes() for image in part.latents} for name, part in PARTS.items()}
    for name, part in PARTS.items():
        assert len(contents[name]) == len(part), name
    assert not contents["train"] & contents["judge"]
    assert not contents["validation"] & contents["judge"]
    assert not contents["train"] & contents["validation"]
    scans = (load_digits().images / 8 - 1).astype(np.float32)
    assert {scan.tobytes() for scan in scans} == contents["train"] | contents["validation"] | contents["judge"]


def test_every_part_is_stratified() -> None:
    everything = np.concatenate([part.labels for part in PARTS.values()])
    shares = np.bincount(everything) / len(everything)
    for name, part in PARTS.items():
        assert np.abs(np.bincount(part.labels, minlength=10) - shares * len(part)).max() <= 1, name


def test_labels_and_captions_belong_to_their_images() -> None:
    from sklearn.datasets import load_digits

    scans = load_digits()
    label_of = {
        (scan / 8 - 1).astype(np.float32).tobytes(): label for scan, label in zip(*scans_of(scans), strict=True)
    }
    for part in (*PARTS.values(), DATA.seen):
        assert part.latents.shape[1:] == (1, 8, 8) and part.latents.dtype == np.float32
        assert part.latents.min() == -1 and part.latents.max() == 1
        for image, caption, label in zip(part.latents, part.captions, part.labels, strict=True):
            assert label == label_of[image.tobytes()]
            assert caption == digit_caption(int(label))
    assert digit_caption(7) == "a handwritten seven"


def scans_of(scans: object) -> tuple[np.ndarray, np.ndarray]:
    return scans.images, scans.target  # type: ignore[attr-defined]


def test_the_split_is_always_the_same() -> None:
    digits.cache_clear()
    assert digits().train.hash == DATA.train.hash
    assert len({part.hash for part in PARTS.values()}) == 3


def test_taking_rows_keeps_them_together() -> None:
    taken = DATA.judge.take([5, 2, 5])
    assert taken.captions == tuple(DATA.judge.captions[row] for row in (5, 2, 5))
    assert np.array_equal(taken.latents[1], DATA.judge.latents[2])
    assert taken.labels.tolist() == DATA.judge.labels[[5, 2, 5]].tolist()


def test_a_space_without_data_is_refused() -> None:
    with pytest.raises(SpaceError, match="'mobile-1k' has no data"):
        default_data_set(get_space("mobile-1k"))
    with pytest.raises(DataError, match="latents of 1x8x8, and those of space 'mobile-1k'"):
        open_data_set("digits", space=get_space("mobile-1k"))
    assert default_data_set(get_space("digits")) == "digits"


# Text -----------------------------------------------------------------------------------------------------------------


def encoder(**changes: object) -> WordEncoder:
    return WordEncoder(**{"name": "words", "width": 16, "tokens": 3, "vocabulary": ("a", "b", "c"), **changes})  # type: ignore[arg-type]


def test_embeddings_are_of_words_and_places() -> None:
    one = encoder().embed(["a b", "b a", "A  b", ""])
    assert one.shape == (4, 3, 16) and one.dtype == np.float32
    assert np.array_equal(one, encoder().embed(["a b", "b a", "a b", ""]))
    assert not np.allclose(one[0], one[1])
    np.testing.assert_allclose(one[0, 0] - one[1, 1], one[3, 0] - one[3, 1], atol=1e-6, err_msg="word a, two places")
    assert not np.array_equal(one, encoder(seed=1).embed(["a b", "b a", "a b", ""]))


@pytest.mark.parametrize(
    ("prompt", "named"), [("a dog", "unknown word 'dog'"), ("a b c a", "4 words; write at most 3"), ("a, b", "'a,'")]
)
def test_prompts_that_cannot_be_read_are_refused(prompt: str, named: str) -> None:
    with pytest.raises(SampleError, match=named):
        encoder().encode(["a b", prompt])


def test_the_encoders_are_those_the_space_names() -> None:
    space = get_space("digits")
    (text,) = space.text_inputs
    made = digit_words(text)
    assert (made.name, made.width, made.tokens) == (text.name, text.width, text.tokens)
    captions = tuple(digit_caption(label) for label in range(10))
    encoded = made.embed(captions)
    distances = np.linalg.norm(encoded[:, None] - encoded[None], axis=(2, 3))[~np.eye(10, dtype=bool)]
    assert distances.min() > 1, "the ten captions are told apart"
    (tensor,) = word_tensors((*captions, captions[0]))
    assert np.array_equal(tensor.numpy(), np.concatenate([encoded, encoded[:1]]))
