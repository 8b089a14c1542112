"""The calibrated proxy: the quality that a model of trainings alone predicts from a sub-DiT and cheap proxies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nas.calibration._model import fit_model
from nas.calibration._model import quality_features
from nas.proxies import Evaluation
from nas.proxies import QualityStore
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec

Floats = npt.NDArray[np.float64]

CALIBRATED_LOSS = "calibrated_loss"


class CalibratedQuality:
    """Predicted loss of a sub-DiT that is trained on its own, with the standard deviation of the prediction's error.

    Args:
        specs, truth: sub-DiTs trained on their own and their losses (n,).
        stores: of the proxies whose values are features, by id; what they know already costs nothing.
        supernet: digest of the weights that these proxies judge by.
        updates: of each training.

    Raises `SearchError` where there are too few trainings.
    """

    id = CALIBRATED_LOSS

    def __init__(
        self,
        space: SearchSpace,
        specs: Sequence[SubDiTSpec],
        truth: Floats,
        stores: Mapping[str, QualityStore],
        *,
        supernet: str,
        updates: int,
    ) -> None:
        self._space = space
        self._stores = stores
        self.features = self._features(specs)
        self._model = fit_model(self.features, truth)
        self.supernet_digest = supernet
        self.unit = f"predicted loss when trained alone for {updates} updates, learned from {len(specs)} sub-DiTs"
        told = hashlib.sha256(f"{space.name} {updates} {[spec.hash for spec in specs]}".encode())
        told.update(np.round(self.features, 9).tobytes() + np.round(truth, 9).tobytes())
        self.data_hash = told.hexdigest()[:10]

    def evaluate(self, spec: SubDiTSpec) -> Evaluation:
        """The predicted loss, lower is better."""
        found = self._model(self._features([spec]))
        return Evaluation(float(found.mean[0]), float(found.std[0]))

    def _features(self, specs: Sequence[SubDiTSpec]) -> Floats:
        scores = {
            name: np.asarray([store.value(spec) for spec in specs], dtype=np.float64)
            for name, store in self._stores.items()
        }
        return quality_features(self._space, self._space.encode(specs), scores)
