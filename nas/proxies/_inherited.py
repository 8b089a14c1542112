"""Base of proxies with inherited weights: the run's supernet and its fixed validation triples, loaded when needed."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.proxies._proxy import Evaluation
from subdit.space import SubDiTSpec
from subdit.space import get_space

if TYPE_CHECKING:
    from supernet.data.data_set import DataSet
    from supernet.evaluation.validation_loss import ValidationSet

Velocities = npt.NDArray[np.float32]

_MOST_PASSES = 2
_passes: OrderedDict[tuple[str, str, str], Velocities] = OrderedDict()
"""What the last sub-DiTs predicted, by weights, data and spec."""


def forget_passes() -> None:
    """Let the next evaluation of each proxy take as long as it takes alone."""
    _passes.clear()


class Inherited:
    """The supernet is loaded at the first evaluation: a search whose evaluations are all in the store needs none.

    Raises `CheckpointError` where the supernet's checkpoint is missing or damaged.
    """

    def __init__(
        self, supernet_path: Path, space_name: str, *, seed: int = 0, data: ValidationSet | None = None
    ) -> None:
        from subdit.core.weights import supernet_digest

        self._path = supernet_path
        self._space_name = space_name
        self._seed = seed
        self._given = data
        self.supernet_digest: str = supernet_digest(supernet_path)

    @cached_property
    def _supernet(self) -> Any:
        from supernet.checkpoints import load_supernet_of
        from supernet.model.placement import torch_device

        return load_supernet_of(self._path, self.supernet_digest).to(torch_device("auto"))

    @cached_property
    def _data(self) -> ValidationSet:
        from supernet.evaluation.validation_loss import validation_set

        return validation_set(self._data_set, seed=self._seed) if self._given is None else self._given

    @cached_property
    def _data_set(self) -> DataSet:
        """What the supernet was trained on; of it, proxies see the split validation."""
        from supernet.data.data_sets import checkpoint_data

        return checkpoint_data(self._path, get_space(self._space_name))

    def evaluate(self, spec: SubDiTSpec) -> float | Evaluation:
        """The proxy's value for this sub-DiT, lower is better."""
        import torch

        from supernet.evaluation.validation_loss import FEW_TOKENS

        before = torch.get_num_threads()
        if get_space(self._space_name).tokens <= FEW_TOKENS:
            # Products this small gain nothing from a second thread, and values do not depend on the number of cores.
            torch.set_num_threads(1)
        try:
            return self._evaluate(spec)
        finally:
            torch.set_num_threads(before)

    def _evaluate(self, spec: SubDiTSpec) -> float | Evaluation:
        raise NotImplementedError

    @property
    def data_hash(self) -> str:
        return str(self._data.hash)

    def _velocities(self, spec: SubDiTSpec) -> Velocities:
        """Predicted velocities (count, channels, size, size) on the fixed triples.

        Proxies of the same weights that are asked for one sub-DiT, one after the other, share one pass.
        """
        from supernet.evaluation.validation_loss import predicted_velocities

        key = (self.supernet_digest, self._data.hash, spec.hash)
        found = _passes.get(key)
        if found is None:
            found = _passes[key] = predicted_velocities(self._supernet, spec, self._data)
            while len(_passes) > _MOST_PASSES:
                _passes.popitem(last=False)
        return found
