"""The default proxy: validation flow-matching loss of the supernet's inherited weights."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from nas.proxies._inherited import Inherited
from nas.proxies._proxy import Evaluation
from subdit.space import SubDiTSpec


class ValidationLoss(Inherited):
    """Mean squared error of the velocity on fixed images, noise and timesteps, with the supernet's own weights.

    Its error is that of the difference to the full network's loss on the same triples: a triple that is hard for all
    sub-DiTs is no noise between them.
    """

    id = "validation_loss"
    unit = "flow-matching loss on the validation images, inherited weights"

    @cached_property
    def _of_full(self) -> Any:
        from supernet.evaluation.validation_loss import validation_losses

        return validation_losses(self._supernet, self._supernet.full_spec, self._data)

    def _evaluate(self, spec: SubDiTSpec) -> Evaluation:
        from supernet.evaluation.validation_loss import validation_losses

        losses = validation_losses(self._supernet, spec, self._data)
        difference = losses - self._of_full
        return Evaluation(float(losses.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference))))
