"""Specs as columns of numbers, for a regression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from subdit.space._search_space import EncodedSpecs
from subdit.space._search_space import SearchSpace


def spec_features(space: SearchSpace, encoded: EncodedSpecs) -> npt.NDArray[np.float32]:
    """Specs of shape (n, dimensions) to (n, columns): the value of each elastic dimension, and its logarithm.

    Values are scaled to [-1, 1] within a dimension. The column of the logarithm holds its difference from the value, as
    each further block or channel helps less than the one before.
    """
    columns = []
    for index, values in enumerate(space.dimensions.values()):
        if len(values) < 2:
            continue
        listed = np.asarray(values, dtype=np.float64)
        plain = 2 * (listed - listed[0]) / (listed[-1] - listed[0]) - 1
        columns.append(plain.astype(np.float32)[encoded[:, index]])
        if len(values) > 2:
            log = np.log1p(listed)
            bent = 2 * (log - log[0]) / (log[-1] - log[0]) - 1 - plain
            columns.append(bent.astype(np.float32)[encoded[:, index]])
    return np.stack(columns, axis=1) if columns else np.zeros((len(encoded), 0), dtype=np.float32)
