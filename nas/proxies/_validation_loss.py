"""The default proxy: validation flow-matching loss of the supernet's inherited weights."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from supernet.space import SubDiTSpec

if TYPE_CHECKING:
    from supernet.validation import ValidationSet


class ValidationLoss:
    """Mean squared error of the velocity on fixed images, noise and timesteps, with the supernet's own weights.

    The supernet is loaded at the first evaluation: a search whose evaluations are all in the store needs none. Raises
    `CheckpointError` where the supernet's checkpoint is missing or damaged.
    """

    id = "validation_loss"
    unit = "flow-matching loss on the validation images, inherited weights"

    def __init__(self, supernet_path: Path, space_name: str, *, seed: int = 0) -> None:
        from supernet.checkpoints import supernet_digest

        self._path = supernet_path
        self._space_name = space_name
        self._seed = seed
        self.supernet_digest: str = supernet_digest(supernet_path)

    @cached_property
    def _supernet(self) -> Any:
        from supernet.checkpoints import load_supernet

        return load_supernet(self._path)

    @cached_property
    def _data(self) -> ValidationSet:
        from supernet.validation import validation_set

        return validation_set(self._space_name, seed=self._seed)

    @property
    def data_hash(self) -> str:
        return str(self._data.hash)

    def evaluate(self, spec: SubDiTSpec) -> float:
        from supernet.validation import validation_loss

        return float(validation_loss(self._supernet, spec, self._data))
