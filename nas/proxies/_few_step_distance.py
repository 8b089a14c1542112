"""Frechet distance of few-step samples with inherited weights, in any feature space."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.proxies._inherited import Inherited
from subdit.core.errors import SearchError
from subdit.space import SubDiTSpec
from supernet.evaluation.feature_spaces import LATENT_NUMBERS
from supernet.evaluation.feature_spaces import LATENTS
from supernet.evaluation.feature_spaces import FeatureSpace


class FewStepDistance(Inherited):
    """Frechet distance to the validation images of one sample per validation triple, from its fixed noise and text.

    Args:
        features: the feature space, by default the samples' own numbers; raises `SearchError` where it needs pictures.
        steps, shift: of the sampling.
    """

    unit = "Frechet distance of few-step samples to the validation images, inherited weights"

    def __init__(
        self,
        supernet_path: Path,
        space_name: str,
        *,
        seed: int = 0,
        features: FeatureSpace = LATENT_NUMBERS,
        steps: int = 4,
        shift: float = 1.0,
    ) -> None:
        super().__init__(supernet_path, space_name, seed=seed)
        if features.expects != LATENTS:
            raise SearchError(f"The feature space {features.id!r} needs pictures; take one of latents.")
        plain = features is LATENT_NUMBERS
        self._features = features
        self._how = f"{'plain' if plain else f'{features.id} {features.hash}'}/{steps}/{shift:g}"
        self._steps, self._shift = steps, shift
        self.id = "few_step_distance" if plain else f"few_step_distance_{features.id}"

    @property
    def data_hash(self) -> str:
        return hashlib.sha256(f"{self._data.hash} {self._how}".encode()).hexdigest()[:10]

    @cached_property
    def _real(self) -> Any:
        from supernet.data.data_set import evenly
        from supernet.evaluation.validation_loss import MOST_IMAGES

        rows = evenly(self._data_set.count("validation"), MOST_IMAGES)
        return self._features(self._data_set.read("validation", rows).latents.numpy())

    def _evaluate(self, spec: SubDiTSpec) -> float:
        from supernet.evaluation.metrics import frechet_distance
        from supernet.evaluation.validation_loss import velocity_function
        from supernet.sampling import sample_euler

        velocity = velocity_function(self._supernet, spec, self._data.text)
        samples = sample_euler(velocity, self._data.noise.numpy(), steps=self._steps, shift=self._shift)
        return frechet_distance(self._features(samples), self._real)
