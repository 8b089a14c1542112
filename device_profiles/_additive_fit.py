"""The plain form of a latency: a sum of terms, each proportional to a feature; fitted on relative errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Ridge penalty over the mean square of a column; it keeps correlated columns from large opposite weights.
_RIDGE = 1e-3
# Degrees of freedom of the t distribution that weighs outliers down, and iterations of the reweighted fit.
_TAIL = 4.0
_ROUNDS = 5
# No prediction is below this fraction of the smallest measured latency.
_FLOOR = 1 / 3


@dataclass(frozen=True)
class AdditiveFit:
    """latency = weights @ (1, standardised features), in milliseconds."""

    mean: Floats
    std: Floats
    weights: Floats
    floor_ms: float

    def predict(self, features: Floats) -> Floats:
        """Latencies in milliseconds of features of shape (n, features), never below the floor."""
        columns = _columns(features, self.mean, self.std)
        return np.maximum(columns @ self.weights, self.floor_ms)


def fit_additive(features: Floats, latency_ms: Floats, *, robust: bool = True) -> AdditiveFit:
    """Fit on features of shape (n, features) and latencies of shape (n,); without `robust`, plain least squares."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    std = np.where(std > 1e-9 * np.abs(mean), std, np.inf)
    relative = _columns(features, mean, std) / latency_ms[:, None]
    weights, solution = np.ones(len(latency_ms)), np.zeros(relative.shape[1])
    for _ in range(_ROUNDS if robust else 1):
        scaled = relative * weights[:, None]
        square = scaled.T @ scaled
        ridge = _RIDGE * np.trace(square) / len(square) / len(latency_ms)
        solution = np.linalg.solve(square + ridge * np.eye(len(square)), scaled.T @ weights)
        weights = np.sqrt(tail_weights(relative @ solution - 1))
    return AdditiveFit(mean, std, solution, float(_FLOOR * latency_ms.min()))


def tail_weights(residuals: Floats, scale: float | None = None) -> Floats:
    """Weights of rows whose residuals come from a t distribution, shape (n,); `scale` by default from their median."""
    if scale is None:
        scale = float(1.4826 * np.median(np.abs(residuals)))
    return (_TAIL + 1) / (_TAIL + np.square(residuals / max(scale, 1e-12)))


def _columns(features: Floats, mean: Floats, std: Floats) -> Floats:
    return np.column_stack([np.ones(len(features)), (features - mean) / std])
