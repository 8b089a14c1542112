"""A surrogate: the quality of specs that were not evaluated, predicted from those that were.

Bayesian ridge regression (scikit-learn; MacKay, "Bayesian interpolation", 1992) on how much of each dimension a spec
has and on every pair of dimensions. Proposals use weights drawn from its posterior (Thompson sampling), so that workers
that ask at the same moment explore different specs; reported predictions use its mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import spec_features

Floats = npt.NDArray[np.float64]

FEWEST = 30
"""Evaluations below which there is no surrogate."""
FOLDS = 5
THOMPSON_SCALE = 0.25
"""Fraction of the posterior's standard deviation that is drawn with. With all of it, the best of many candidates
is mostly the luckiest; with none, workers who ask at the same moment agree on one."""


def features(single: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Columns of shape (n, columns) with the product of every pair, shape (n, features)."""
    first, second = np.triu_indices(single.shape[1])
    return np.concatenate([single, single[:, first] * single[:, second]], axis=1).astype(np.float64)


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate; predictions are in the quality's own unit.

    Attributes:
        mean, std: of the qualities it was fitted on.
        weights: posterior mean, (features,).
        intercept: of the scaled quality.
        root: the symmetric square root of the posterior covariance, (features, features).
    """

    space: SearchSpace
    mean: float
    std: float
    weights: Floats
    intercept: float
    root: Floats

    def predict(self, encoded: EncodedSpecs) -> Floats:
        """Expected quality of specs (n, dimensions), shape (n,)."""
        return self.predict_drawn(encoded, self.weights)

    def draw(self, rng: np.random.Generator) -> Floats:
        """Weights drawn from the posterior, its standard deviation times `THOMPSON_SCALE`, for `predict_drawn`."""
        return self.weights + THOMPSON_SCALE * (self.root @ rng.standard_normal(self.root.shape[1]))

    def predict_drawn(self, encoded: EncodedSpecs, weights: Floats) -> Floats:
        """Quality of specs (n, dimensions) as drawn weights have it, shape (n,)."""
        # In double precision, so that two candidates are not told apart by the order of a sum.
        single = spec_features(self.space, encoded).astype(np.float64)
        count = single.shape[1]
        # A quadratic form: the products of pairs are never written down.
        pairs = np.zeros((count, count))
        pairs[np.triu_indices(count)] = weights[count:]
        scaled = np.einsum("ij,ij->i", single, single @ pairs.T + weights[:count])
        return self.mean + self.std * (scaled + self.intercept)


@dataclass(frozen=True)
class SurrogateError:
    """How far predictions are from evaluations that the surrogate was not fitted on, by cross-validation.

    Attributes:
        evaluations: number of evaluations compared.
        mean_absolute_error: in the quality's unit.
        relative_absolute_error: the same over the mean absolute deviation of the evaluations from their median; 1 for
            a useless surrogate.
        kendall_tau: rank agreement.
    """

    evaluations: int
    mean_absolute_error: float
    relative_absolute_error: float
    kendall_tau: float


def fit_surrogate(space: SearchSpace, encoded: EncodedSpecs, quality: Floats) -> Surrogate:
    """Fit on evaluated specs (n, dimensions) and their quality (n,)."""
    from sklearn.linear_model import BayesianRidge

    mean, std = float(np.mean(quality)), float(np.std(quality)) or 1.0
    model: Any = BayesianRidge(max_iter=30, tol=1e-3)
    model.fit(features(spec_features(space, encoded)), (quality - mean) / std)
    values, vectors = np.linalg.eigh(model.sigma_)
    # The symmetric root. Directions without evaluations share one eigenvalue, whose eigenvectors are not unique: the
    # second factor makes the root unique, so that a rounding error does not change a resumed search.
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return Surrogate(space, mean, std, np.asarray(model.coef_), float(model.intercept_), root)


def latest_surrogate(space: SearchSpace, encoded: EncodedSpecs, quality: Floats) -> Surrogate:
    """`fit_surrogate`, not fitted again where one of the last few was on the very same evaluations."""
    key = (space.name, space.size, encoded.tobytes(), quality.tobytes())
    if key not in _latest:
        while len(_latest) >= _KEPT:
            _latest.pop(next(iter(_latest)))
        _latest[key] = fit_surrogate(space, encoded, quality)
    return _latest[key]


_KEPT = 4
_latest: dict[tuple[str, int, bytes, bytes], Surrogate] = {}


def surrogate_error(space: SearchSpace, encoded: EncodedSpecs, quality: Floats) -> SurrogateError | None:
    """Cross-validated error over `FOLDS` folds; None where there are too few evaluations."""
    from device_profiles import kendall_tau

    if len(quality) < FEWEST:
        return None
    fold = np.random.default_rng(0).permutation(len(quality)) % FOLDS
    predicted = np.empty(len(quality))
    for index in range(FOLDS):
        fitted = fit_surrogate(space, encoded[fold != index], quality[fold != index])
        predicted[fold == index] = fitted.predict(encoded[fold == index])
    mean = float(np.mean(np.abs(predicted - quality)))
    deviation = float(np.mean(np.abs(quality - np.median(quality))))
    tau = kendall_tau(predicted, quality)
    return SurrogateError(len(quality), mean, mean / deviation if deviation > 0 else 1.0, tau)
