"""Sum of the first training losses (TSE: Ru et al., "Speedy performance estimation for neural architecture search",
NeurIPS 2021) from inherited weights."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from nas.proxies._inherited import Inherited
from subdit.space import SubDiTSpec

if TYPE_CHECKING:
    from supernet.model.dit import SubDiT


class FirstLosses(Inherited):
    """Mean of the training losses of a sub-DiT that is trained on from the supernet's weights.

    Batches and noise are the same for all sub-DiTs, so that the losses differ by the sub-DiTs alone. It takes as long
    as its updates, thousands of times as long as a loss.

    Args:
        updates: whose losses are averaged; the learning rate falls to zero by the last one.
    """

    unit = "mean training loss of the first updates from inherited weights"

    def __init__(self, supernet_path: Path, space_name: str, *, updates: int, seed: int = 0) -> None:
        super().__init__(supernet_path, space_name, seed=seed)
        self._updates = updates
        self.id = f"first_losses_{updates}"

    @property
    def data_hash(self) -> str:
        return hashlib.sha256(f"{self._data_set.digest} {self._seed} {self._updates}".encode()).hexdigest()[:10]

    def _evaluate(self, spec: SubDiTSpec) -> float:
        from supernet.recipe import read_recipe
        from supernet.training.config import TrainingConfig
        from supernet.training.standalone import train_alone

        # A supernet is sampled with the shift of noise levels that it was trained with.
        config = TrainingConfig(sigma_shift=read_recipe(self._path)[0].shift)
        losses: list[float] = []

        def note(_: int, loss: float, __: AbstractContextManager[SubDiT]) -> None:
            losses.append(loss)

        train_alone(
            spec,
            self._data_set,
            updates=self._updates,
            seed=self._seed,
            supernet=self._supernet,
            config=config,
            after_step=note,
        )
        return sum(losses) / len(losses)
