"""Whether two trainings of a sub-DiT agree better in one truth table than in another, as with common noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas.proxy_benchmark._bands import Difference
from nas.proxy_benchmark._correlation import DRAWS
from nas.proxy_benchmark._correlation import kendall_tau
from nas.truth_table import TruthTable
from subdit.core.errors import SearchError

Floats = npt.NDArray[np.float64]


def compare_agreement(first: TruthTable, second: TruthTable, *, quality: str = "loss", seed: int = 0) -> Difference:
    """Kendall tau between two trainings in the first table less that in the second, over the sub-DiTs of both.

    The interval resamples sub-DiTs, the same ones of both tables. Raises `SearchError` where fewer than three sub-DiTs
    are trained twice in both, or a table has no such quality.
    """
    pairs = []
    for table in (first, second):
        known = zip(table.specs, table.losses(quality), strict=True)
        pairs.append({spec.hash: losses[:2] for spec, losses in known if len(losses) > 1})
    common = [name for name in pairs[0] if name in pairs[1]]
    if len(common) < 3:
        raise SearchError(f"The tables have {len(common)} sub-DiTs that both trained twice; train at least 3 there.")
    one, other = (np.asarray([found[name] for name in common]) for found in pairs)
    rows = np.random.default_rng([seed, 2]).integers(0, len(common), (DRAWS, len(common)))
    low, high = np.percentile(_tau(one, rows) - _tau(other, rows), [2.5, 97.5])
    every = np.arange(len(common))
    return Difference(float(_tau(one, every) - _tau(other, every)), float(low), float(high))


def _tau(pairs: Floats, rows: npt.NDArray[np.int64]) -> Floats:
    return kendall_tau(pairs[rows, 0], pairs[rows, 1])
