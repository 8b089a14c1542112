"""Distance to the full network's velocity: how much of the supernet's own function a sub-DiT keeps."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from nas.proxies._inherited import Inherited
from nas.proxies._inherited import Velocities
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
    def _of_full(self) -> Velocities:
        return self._velocities(self._supernet.full_spec)

    def _evaluate(self, spec: SubDiTSpec) -> Evaluation:
        difference = self._velocities(spec) - self._of_full
        each = np.square(difference).reshape(len(difference), -1).mean(axis=1)
        return Evaluation(float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each))))
