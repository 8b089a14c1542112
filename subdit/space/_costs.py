"""Costs of sub-DiTs in closed form, by the names of figures in `subdit.core.quantities`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SpaceError
from subdit.space._memory import weight_bytes
from subdit.space._runtime_memory import peak_memory_bytes
from subdit.space._search_space import EncodedSpecs
from subdit.space._search_space import SearchSpace
from subdit.space._sizes import PRECISIONS
from subdit.space._sizes import count_flops
from subdit.space._sizes import count_params

_SIZES = {"file_mb": weight_bytes, "memory_mb": peak_memory_bytes}
CLOSED_FORMS = ("params", "gflops", *_SIZES)
"""Figures that `closed_form_cost` knows; latencies need a device profile."""


def closed_form_cost(name: str, space: SearchSpace, encoded: EncodedSpecs, precision: str) -> npt.NDArray[np.float64]:
    """One of `CLOSED_FORMS` of encoded specs (n, dimensions), shape (n,): MB are 10^6 bytes, GFLOP 10^9 operations.

    `file_mb` is the size of the stored weights without file headers. `memory_mb` is the peak of a process, see
    `peak_memory_bytes`. Both are for weights at `precision`; raises `SpaceError` where that is none of `PRECISIONS`.
    """
    if name == "params":
        return count_params(space, encoded).astype(np.float64)
    if name == "gflops":
        return np.asarray(count_flops(space, encoded) / 1e9)
    if precision not in PRECISIONS:
        raise SpaceError(f"There is no {name} for weights in {precision!r}; there is {', '.join(PRECISIONS)}.")
    return np.asarray(_SIZES[name](space, encoded, precision) / 1e6)
