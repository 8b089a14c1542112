"""What every feature space must do; a plug-in's tests subclass `FeatureSpaceContract`."""

from __future__ import annotations

import string

import numpy as np
import pytest

from supernet.evaluation.feature_spaces import LATENTS
from supernet.evaluation.feature_spaces import PICTURES
from supernet.evaluation.feature_spaces import FeatureSpace


class FeatureSpaceContract:
    """A subclass gives the feature space, a second one made in the same way, and images that it reads."""

    @pytest.fixture
    def space(self) -> FeatureSpace:
        raise NotImplementedError

    @pytest.fixture
    def again(self) -> FeatureSpace:
        raise NotImplementedError

    @pytest.fixture
    def images(self) -> np.ndarray:
        """At least five different ones, float32 (count, channels, size, size)."""
        raise NotImplementedError

    def test_it_is_one(self, space: FeatureSpace) -> None:
        assert isinstance(space, FeatureSpace)
        assert space.expects in (PICTURES, LATENTS) and isinstance(space.linear, bool)
        assert space.id and space.id == space.id.strip().lower()
        assert len(space.hash) >= 4 and set(space.hash) <= set(string.hexdigits.lower())

    def test_it_gives_one_row_of_finite_numbers_for_each_image(self, space: FeatureSpace, images: np.ndarray) -> None:
        found = space(images)
        assert found.ndim == 2 and len(found) == len(images)
        assert np.issubdtype(found.dtype, np.floating) and np.isfinite(found).all()

    def test_it_leaves_images_and_random_numbers_alone(self, space: FeatureSpace, images: np.ndarray) -> None:
        before, state = images.copy(), np.random.get_state()[1].copy()
        one, other = space(images), space(images)
        assert np.array_equal(one, other) and np.array_equal(images, before)
        assert np.array_equal(np.random.get_state()[1], state)

    def test_an_image_has_its_own_features(self, space: FeatureSpace, images: np.ndarray) -> None:
        together = space(images)
        scale = np.abs(together).max()
        for row in range(len(images)):
            np.testing.assert_allclose(space(images[row : row + 1])[0], together[row], atol=1e-4 * scale)

    def test_images_are_told_apart(self, space: FeatureSpace, images: np.ndarray) -> None:
        found = space(images[:5])
        distances = np.abs(found[:, None] - found[None]).max(axis=2)
        assert distances[~np.eye(5, dtype=bool)].min() > 0

    def test_the_same_made_again_is_the_same(
        self, space: FeatureSpace, again: FeatureSpace, images: np.ndarray
    ) -> None:
        assert (space.id, space.hash, space.expects) == (again.id, again.hash, again.expects)
        assert np.array_equal(space(images), again(images))
