"""Feature spaces: those that come along, and how plug-ins are found and refused."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import torch

from subdit.core.errors import EvaluationError
from supernet.evaluation import feature_spaces
from supernet.evaluation.convolutional import ConvolutionalFeatures
from supernet.evaluation.feature_spaces import LATENT_NUMBERS
from supernet.evaluation.feature_spaces import PIXELS
from supernet.evaluation.feature_spaces import FeatureSpace
from supernet.evaluation.feature_spaces import make_feature_space
from supernet.evaluation.judge import Judge
from supernet.evaluation.reference import RealImages
from tests.supernet.digit_data import digit_reference
from tests.supernet.evaluation.feature_space_contract import FeatureSpaceContract

REFERENCE = digit_reference()
FEW = 30
"""Steps of the network's training, of which the contract needs no more."""


class OfDigits(FeatureSpaceContract):
    NAME: str

    @pytest.fixture
    def space(self) -> FeatureSpace:
        return make_feature_space(self.NAME, REFERENCE.train)

    again = space

    @pytest.fixture
    def images(self) -> np.ndarray:
        return REFERENCE.judge.latents[:9]


class TestPixels(OfDigits):
    NAME = "pixels"


class TestLatents(OfDigits):
    NAME = "latents"


class TestConvolutional(OfDigits):
    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> FeatureSpace:
        return ConvolutionalFeatures(REFERENCE.train, steps=FEW)

    @pytest.fixture
    def again(self) -> FeatureSpace:
        return ConvolutionalFeatures(REFERENCE.train, steps=FEW)


class TestConvolutionalWithoutClasses(TestConvolutional):
    """Of larger images with several channels, learned by quarter turns."""

    TRAIN = RealImages(
        np.random.default_rng(0).standard_normal((40, 3, 20, 20)).astype(np.float32), ("",) * 40, {}, "0000"
    )

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> FeatureSpace:
        return ConvolutionalFeatures(cls.TRAIN, steps=3)

    @pytest.fixture
    def again(self) -> FeatureSpace:
        return ConvolutionalFeatures(self.TRAIN, steps=3)

    @pytest.fixture
    def images(self) -> np.ndarray:
        return self.TRAIN.latents[:6]


def test_pixels_are_the_numbers_of_the_images() -> None:
    images = REFERENCE.judge.latents[:3]
    for space in (PIXELS, LATENT_NUMBERS):
        assert np.array_equal(space(images), images.reshape(3, 64))
    assert PIXELS.hash != LATENT_NUMBERS.hash


def test_learned_features_tell_what_was_learned() -> None:
    space = ConvolutionalFeatures(REFERENCE.train, steps=150)
    figures = Judge(REFERENCE, space).real_figures(898, seed=0)
    assert figures["accuracy_label"] > 0.95


def test_learning_leaves_the_state_of_torch_alone_and_depends_on_what_it_is_given() -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    one = ConvolutionalFeatures(REFERENCE.train, steps=2)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
    others = [
        ConvolutionalFeatures(REFERENCE.train, steps=3),
        ConvolutionalFeatures(REFERENCE.train, steps=2, seed=1),
        ConvolutionalFeatures(REFERENCE.judge, steps=2),
        ConvolutionalFeatures(replace(REFERENCE.train, labels={}), steps=2),
    ]
    assert len({one.hash, *(other.hash for other in others)}) == 5


def test_classes_that_are_not_known_teach_nothing() -> None:
    """A column of which one class is known has nothing to tell apart; unknown rows of another are left out."""
    labels = REFERENCE.train.labels["label"].copy()
    labels[::2] = -1
    ConvolutionalFeatures(replace(REFERENCE.train, labels={"label": labels}), steps=2)
    none = ConvolutionalFeatures(replace(REFERENCE.train, labels={"label": np.full_like(labels, -1)}), steps=2)
    assert none.hash == ConvolutionalFeatures(replace(REFERENCE.train, labels={}), steps=2).hash


# Plug-ins -------------------------------------------------------------------------------------------------------------


def plug_in(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entries = metadata.EntryPoints([metadata.EntryPoint("mine", value, feature_spaces.GROUP)])
    monkeypatch.setattr(metadata, "entry_points", lambda **which: entries.select(**which))


class Means:
    id, hash, expects, linear = "mine", "abcd", "pictures", False

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return images.mean(axis=(1, 2))


def make_means(train: RealImages) -> FeatureSpace:
    return Means()


def make_nothing(train: RealImages) -> object:
    return object()


def test_a_plug_in_is_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, f"{__name__}:make_means")
    assert isinstance(make_feature_space("mine", REFERENCE.train), Means)
    with pytest.raises(EvaluationError, match="no feature space 'pixels'; choose from mine"):
        make_feature_space("pixels", REFERENCE.train)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f"{__name__}:make_nothing", "makes no `FeatureSpace`; repair or uninstall"),
        (f"{__name__}:not_there", "cannot be imported .*not_there.*; repair it"),
        ("no_such_package_of_ours:make", "cannot be imported .*no_such_package_of_ours"),
    ],
)
def test_a_broken_plug_in_is_named(monkeypatch: pytest.MonkeyPatch, value: str, said: str) -> None:
    plug_in(monkeypatch, value)
    with pytest.raises(EvaluationError, match=said):
        make_feature_space("mine", REFERENCE.train)


def test_those_that_come_along_are_entry_points() -> None:
    assert {"convolutional", "latents", "pixels"} <= set(feature_spaces.feature_space_names())
