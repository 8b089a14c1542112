"""A model of true quality, fitted on some tens of sub-DiTs trained on their own.

It predicts from the logarithm of FLOPs, the dimensions and what cheap proxies say. With fewer trainings than features
only a penalty keeps it sane, and the error on what was fitted tells nothing. So every figure of it is of sub-DiTs that
were left out.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SearchError
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import count_flops
from subdit.space import spec_features

Floats = npt.NDArray[np.float64]

FEWEST = 6
"""Trainings below which nothing is fitted."""
RIDGES = tuple(np.logspace(4, -3, 15).tolist())
"""Penalties next to the sum of squares of standardised features; with the first hardly more than the mean is left."""


@dataclass(frozen=True)
class Prediction:
    """Predicted qualities (n,), and the standard deviation of each one's error."""

    mean: Floats
    std: Floats


Model = Callable[[Floats], Prediction]
"""Features (n, columns) to predictions."""


def quality_features(space: SearchSpace, encoded: EncodedSpecs, scores: Mapping[str, Floats]) -> Floats:
    """Features (n, columns): log FLOPs, each dimension and its logarithm, and proxies' scores (n,) by name."""
    flops = np.log(count_flops(space, encoded).astype(np.float64))
    return np.column_stack([flops, spec_features(space, encoded), *(scores[name] for name in sorted(scores))])


def fit_model(features: Floats, truth: Floats) -> Model:
    """Ridge regression of the qualities `truth` (n,) on features (n, columns); `SearchError` below `FEWEST` rows.

    The penalty is that of the least leave-one-out error (scikit-learn's RidgeCV). That error is the variance of a
    prediction, scaled by how far a sub-DiT lies from what was fitted: by 1 + 1/n + x (X'X + penalty)^-1 x', over the
    mean of the same when each row is left out.
    """
    from sklearn.linear_model import RidgeCV

    count, columns = features.shape
    if count < FEWEST:
        raise SearchError(f"Of {count} trainings no quality can be learned; take at least {FEWEST}.")
    center, scale = features.mean(axis=0), features.std(axis=0)
    # What hardly differs here says nothing, and must not say much elsewhere.
    scale = np.where(scale > 1e-9 * np.maximum(np.abs(center), 1.0), scale, np.inf)
    x = (features - center) / scale
    # Of equal errors the first is taken, so the largest penalties come first.
    ridge: Any = RidgeCV(alphas=RIDGES, store_cv_results=True).fit(x, truth)
    variance = float(ridge.cv_results_.mean(axis=0).min())
    inverse = np.linalg.inv(x.T @ x + ridge.alpha_ * np.eye(columns))

    def distance(asked: Floats) -> Floats:
        return 1 / count + np.einsum("ij,jk,ik->i", asked, inverse, asked)

    own = np.minimum(distance(x), 1 - 1e-9)
    usual = float(np.mean(1 + own / (1 - own)))

    def predict(asked: Floats) -> Prediction:
        z = (asked - center) / scale
        mean = np.asarray(ridge.predict(z), dtype=np.float64)
        return Prediction(mean, np.sqrt(variance * (1 + distance(z)) / usual))

    return predict


def leave_one_out(features: Floats, truth: Floats) -> Prediction:
    """What the model says of each sub-DiT when it is fitted, penalty and all, on the others; raises as `fit_model`."""
    found = []
    for row in range(len(truth)):
        others = np.arange(len(truth)) != row
        found.append(fit_model(features[others], truth[others])(features[row : row + 1]))
    return Prediction(*(np.concatenate([getattr(one, part) for one in found]) for part in ("mean", "std")))
