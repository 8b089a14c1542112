"""Training-free proxies that need no weights at all: the larger, the better."""

from __future__ import annotations

import math
from pathlib import Path

from subdit.space import SubDiTSpec
from subdit.space import count_flops
from subdit.space import count_params
from subdit.space import get_space


class Parameters:
    """Minus the logarithm of the number of parameters; the baseline that every proxy has to beat."""

    id = "parameters"
    unit = "minus the logarithm of the number of parameters"
    data_hash = "none"

    def __init__(self, supernet_path: Path, space_name: str, *, seed: int = 0) -> None:
        from subdit.core.weights import supernet_digest

        self._space = get_space(space_name)
        self.supernet_digest: str = supernet_digest(supernet_path)

    def evaluate(self, spec: SubDiTSpec) -> float:
        return -math.log(int(count_params(self._space, self._space.encode([spec]))[0]))


class Flops(Parameters):
    """Minus the logarithm of the FLOPs of one step."""

    id = "flop_count"
    unit = "minus the logarithm of the FLOPs of one step"

    def evaluate(self, spec: SubDiTSpec) -> float:
        return -math.log(int(count_flops(self._space, self._space.encode([spec]))[0]))
