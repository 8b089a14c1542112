"""Distance to the full network's velocity: how much of the supernet's own function a sub-DiT keeps."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from nas.proxies._inherited import Inherited
from nas.proxies._proxy import Evaluation
from subdit.space import SubDiTSpec


class VelocityDistance(Inherited):
    """Mean squared distance to the full network's velocity on the fixed triples of the validation loss.

    Less noisy than the loss, which contains an error that no network could avoid; but a sub-DiT that is better than the
    full network would count as worse.
    """

    id = "velocity_distance"
    unit = "mean squared distance to the full network's velocity, inherited weights"

    @cached_property
    def _of_full(self) -> Any:
        from supernet.evaluation.validation_loss import predicted_velocities

        return predicted_velocities(self._supernet, self._supernet.full_spec, self._data)

    def _evaluate(self, spec: SubDiTSpec) -> Evaluation:
        from supernet.evaluation.validation_loss import predicted_velocities

        difference = predicted_velocities(self._supernet, spec, self._data) - self._of_full
        each = np.square(difference).reshape(len(difference), -1).mean(axis=1)
        return Evaluation(float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each))))
