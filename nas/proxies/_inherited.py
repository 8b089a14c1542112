"""What proxies of inherited weights share: the run's supernet and its fixed validation triples, loaded when needed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from supernet.validation import ValidationSet


class Inherited:
    """The supernet is loaded at the first evaluation: a search whose evaluations are all in the store needs none.

    Raises `CheckpointError` where the supernet's checkpoint is missing or damaged.
    """

    def __init__(
        self, supernet_path: Path, space_name: str, *, seed: int = 0, data: ValidationSet | None = None
    ) -> None:
        from supernet.checkpoints import supernet_digest

        self._path = supernet_path
        self._space_name = space_name
        self._seed = seed
        self._given = data
        self.supernet_digest: str = supernet_digest(supernet_path)

    @cached_property
    def _supernet(self) -> Any:
        from supernet.checkpoints import load_supernet

        return load_supernet(self._path)

    @cached_property
    def _data(self) -> ValidationSet:
        from supernet.validation import validation_set

        return validation_set(self._space_name, seed=self._seed) if self._given is None else self._given

    @property
    def data_hash(self) -> str:
        return str(self._data.hash)
