"""The protocol of quality proxies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from subdit.space import SubDiTSpec


@dataclass(frozen=True)
class Evaluation:
    """A proxy's value, lower is better, with its standard error; 0 where the proxy does not know it."""

    value: float
    error: float = 0.0


class QualityProxy(Protocol):
    """A number that ranks sub-DiTs without training them; deterministic on fixed data.

    Attributes:
        id: what stores and tables call it, such as `validation_loss`.
        unit: what the number is, for people.
        supernet_digest: digest of the weights it judges; hexadecimal, names its store.
        data_hash: hash of the data it judges on; evaluations on other data are other evaluations.
    """

    @property
    def id(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def supernet_digest(self) -> str: ...

    @property
    def data_hash(self) -> str: ...

    def evaluate(self, spec: SubDiTSpec) -> float | Evaluation:
        """The proxy's value for this sub-DiT, lower is better."""
        ...
