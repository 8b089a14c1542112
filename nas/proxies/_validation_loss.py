"""The default proxy: validation flow-matching loss of the supernet's inherited weights."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas.proxies._inherited import Inherited
from nas.proxies._proxy import Evaluation
from subdit.space import SubDiTSpec

Losses = npt.NDArray[np.float64]

QUARTERS = 4


class ValidationLoss(Inherited):
    """Mean squared error of the velocity on fixed images, noise and timesteps, with the supernet's own weights.

    Its error is that of the difference to the full network's loss on the same triples: a triple that is hard for all
    sub-DiTs is no noise between them.
    """

    id = "validation_loss"
    unit = "flow-matching loss on the validation images, inherited weights"

    @cached_property
    def _of_full(self) -> Losses:
        return self._losses(self._supernet.full_spec)

    @cached_property
    def _rows(self) -> slice | npt.NDArray[np.int64]:
        """Of the triples, those that count."""
        return slice(None)

    def _losses(self, spec: SubDiTSpec) -> Losses:
        from supernet.evaluation.validation_loss import losses_of

        return losses_of(self._velocities(spec), self._data)

    def _evaluate(self, spec: SubDiTSpec) -> Evaluation:
        losses = self._losses(spec)[self._rows]
        difference = losses - self._of_full[self._rows]
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
    def _rows(self) -> npt.NDArray[np.int64]:
        order = np.argsort(self._data.sigma.numpy(), kind="stable")
        return np.array_split(order, QUARTERS)[self._quarter - 1]
