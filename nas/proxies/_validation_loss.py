"""The default proxy: validation flow-matching loss of the supernet's inherited weights."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nas.proxies._inherited import Inherited
from nas.proxies._proxy import Evaluation
from subdit.space import SubDiTSpec

if TYPE_CHECKING:
    from supernet.evaluation.validation_loss import ValidationSet

QUARTERS = 4


class ValidationLoss(Inherited):
    """Mean squared error of the velocity on fixed images, noise and timesteps, with the supernet's own weights.

    Its error is that of the difference to the full network's loss on the same triples: a triple that is hard for all
    sub-DiTs is no noise between them.
    """

    id = "validation_loss"
    unit = "flow-matching loss on the validation images, inherited weights"

    @cached_property
    def _triples(self) -> ValidationSet:
        return self._data

    @cached_property
    def _of_full(self) -> Any:
        from supernet.evaluation.validation_loss import validation_losses

        return validation_losses(self._supernet, self._supernet.full_spec, self._triples)

    def _evaluate(self, spec: SubDiTSpec) -> Evaluation:
        from supernet.evaluation.validation_loss import validation_losses

        losses = validation_losses(self._supernet, spec, self._triples)
        difference = losses - self._of_full
        return Evaluation(float(losses.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference))))


class QuarterLoss(ValidationLoss):
    """The validation loss on a quarter of its triples by noise level, the first one nearest to the image.

    The mean of all four is `validation_loss`; another weighting of them can be fitted on sub-DiTs trained alone.

    Args:
        quarter: 1 to `QUARTERS`.
    """

    unit = "flow-matching loss on validation images at a quarter of the noise levels, inherited weights"

    def __init__(self, supernet_path: Path, space_name: str, *, quarter: int, seed: int = 0) -> None:
        super().__init__(supernet_path, space_name, seed=seed)
        self._quarter = quarter
        self.id = f"validation_loss_quarter_{quarter}"

    @cached_property
    def _triples(self) -> ValidationSet:
        return self._data.noise_part(self._quarter - 1, QUARTERS)
