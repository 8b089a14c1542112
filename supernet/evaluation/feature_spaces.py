"""Feature spaces, in which images are compared.

Plug-ins are entry points of the group `subdit.feature_spaces`: functions that take the train split and return a
`FeatureSpace`. Most ignore the split. `pixels`, `latents`, `convolutional` and `efficientnet` are among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import metadata
from typing import Any
from typing import Protocol
from typing import runtime_checkable

import numpy as np
import numpy.typing as npt

from subdit.core.errors import EvaluationError
from supernet.evaluation.reference import RealImages

GROUP = "subdit.feature_spaces"
PICTURES, LATENTS = "pictures", "latents"

Images = npt.NDArray[np.float32]
Features = npt.NDArray[np.floating[Any]]


@runtime_checkable
class FeatureSpace(Protocol):
    """Features of images; those of an image do not depend on the rest of its batch.

    Attributes:
        id: its name on the command line, in files and in tables.
        hash: hexadecimal digest of all that its features depend on; only figures of one digest can be compared.
        expects: "pictures" (count, channels, height, width) in [-1, 1], or "latents" as the DiT draws them.
        linear: whether classes are recognised by a linear probe, as in learned features.
    """

    id: str
    hash: str
    expects: str
    linear: bool

    def __call__(self, images: Images) -> Features:
        """Features (count, dims) of images (count, channels, size, size); the same at each call."""
        ...


FeatureSpaceFactory = Callable[[RealImages], FeatureSpace]
"""Makes a feature space, which may learn from the real images of the train split."""


class PlainNumbers:
    """The images' own numbers, flattened. A Frechet distance of pixels does not see faint noise."""

    linear = False

    def __init__(self, id: str, expects: str) -> None:
        self.id = id
        self.expects = expects
        self.hash = hashlib.sha256(id.encode()).hexdigest()[:10]

    def __call__(self, images: Images) -> Features:
        return images.reshape(len(images), -1)


PIXELS = PlainNumbers("pixels", PICTURES)
LATENT_NUMBERS = PlainNumbers("latents", LATENTS)


def pixels(train: RealImages) -> FeatureSpace:
    """Entry point: the pictures' own numbers."""
    return PIXELS


def latents(train: RealImages) -> FeatureSpace:
    """Entry point: the latents' own numbers."""
    return LATENT_NUMBERS


def feature_space_names() -> tuple[str, ...]:
    """The sorted names of all feature spaces."""
    return tuple(sorted(metadata.entry_points(group=GROUP).names))


def make_feature_space(name: str, train: RealImages) -> FeatureSpace:
    """The feature space of that name; raises `EvaluationError` if there is none or it cannot be made."""
    found = tuple(metadata.entry_points(group=GROUP, name=name))
    if not found:
        raise EvaluationError(f"There is no feature space {name!r}; choose from {', '.join(feature_space_names())}.")
    try:
        space = found[0].load()(train)
    except (ImportError, AttributeError) as error:
        raise EvaluationError(f"The feature space {name!r} cannot be imported ({error}); repair it.") from error
    if not isinstance(space, FeatureSpace) or space.expects not in (PICTURES, LATENTS):
        raise EvaluationError(f"{found[0].value} makes no `FeatureSpace`; repair or uninstall its package.")
    return space
