"""Frechet distance of few-step samples with inherited weights, in any feature space."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.proxies._inherited import Inherited
from subdit.space import SubDiTSpec

Features = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
"""Samples (count, channels, size, size) to features (count, ...)."""


def plain_features(samples: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """The samples' own numbers: pixels of digits, latents elsewhere."""
    return samples.reshape(len(samples), -1)


class FewStepDistance(Inherited):
    """Frechet distance to the validation images of one sample per validation triple, from its fixed noise and text.

    Args:
        features: the feature space, by default the samples' own numbers.
        feature_name: distinguishes this feature space from others in stores; needed with `features`.
        steps, shift: of the sampling.
    """

    unit = "Frechet distance of few-step samples to the validation images, inherited weights"

    def __init__(
        self,
        supernet_path: Path,
        space_name: str,
        *,
        seed: int = 0,
        features: Features = plain_features,
        feature_name: str = "",
        steps: int = 4,
        shift: float = 1.0,
    ) -> None:
        super().__init__(supernet_path, space_name, seed=seed)
        if features is not plain_features and not feature_name:
            raise ValueError("name the feature space, so that its evaluations are kept apart from others'")
        self._features = features
        self._how = f"{feature_name or 'plain'}/{steps}/{shift:g}"
        self._steps, self._shift = steps, shift
        self.id = "few_step_distance" if not feature_name else f"few_step_distance_{feature_name}"

    @property
    def data_hash(self) -> str:
        return hashlib.sha256(f"{self._data.hash} {self._how}".encode()).hexdigest()[:10]

    @cached_property
    def _real(self) -> Any:
        from supernet.data.digits import load_data

        return self._features(load_data(self._space_name).validation.latents)

    def _evaluate(self, spec: SubDiTSpec) -> float:
        from supernet.evaluation.metrics import frechet_distance
        from supernet.evaluation.validation_loss import velocity_function
        from supernet.sampling import sample_euler

        velocity = velocity_function(self._supernet, spec, self._data.text)
        samples = sample_euler(velocity, self._data.noise.numpy(), steps=self._steps, shift=self._shift)
        return frechet_distance(np.asarray(self._features(samples)), self._real)
