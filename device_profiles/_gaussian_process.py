"""A Gaussian process over the logarithm of latency: a smooth function of the architecture, and drift over time.

    log latency = mean + linear(x) + smooth(x) + segment + drift(order) + noise

`linear` and `smooth` (a squared exponential) weigh every feature by itself; `segment` is one level for each run of rows
between two change points; `drift` is an Ornstein-Uhlenbeck process, which neighbouring rows share beyond that level.
The kernel's parameters have the largest posterior density under weak priors, which keep them plausible where rows are
few. Rasmussen and Williams, Gaussian Processes for Machine Learning, chapters 2 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Prior medians and standard deviations of the logarithms of the kernel's parameters. Features have unit variance and
# latencies are logarithms, so that these are relative: a feature moves a latency by some per cent.
_PRIORS = {
    "slope_std": (np.log(0.05), 1.5),
    "length_scale": (np.log(4.0), 1.0),
    "smooth_std": (np.log(0.1), 1.0),
    "drift_std": (np.log(0.01), 1.0),
    "drift_length": (np.log(10.0), 1.0),
    "noise_std": (np.log(0.02), 1.0),
}
# Standard deviation of the mean, and of the level of a segment around it.
_MEAN = 1.0
_SEGMENT = 0.3
# A kernel without drift.
_NO_DRIFT = 1e-9
# Rows that are predicted at a time.
_CHUNK = 2048
# L-BFGS stays within this number of prior standard deviations, and ends after this number of iterations.
_BOUND = 4.0
_ITERATIONS = 40
# It ends where an iteration improves the log posterior density by less than this fraction.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Kernel:
    """Parameters of the covariance; standard deviations are of logarithms of latency.

    Attributes:
        slope_std: of the linear part, shape (features,).
        length_scale: of the smooth part, in standard deviations of each feature, shape (features,).
        smooth_std: of the smooth part.
        drift_std: of the drift.
        drift_length: number of rows over which the correlation of the drift falls to 1/e.
        noise_std: of a row's noise.
    """

    slope_std: Floats
    length_scale: Floats
    smooth_std: float
    drift_std: float
    drift_length: float
    noise_std: float

    @classmethod
    def start(cls, features: int) -> Kernel:
        """The medians of the priors."""
        return cls.from_vector(_prior(features)[0])

    def to_vector(self) -> Floats:
        """Logarithms of all parameters, shape (2 * features + 4,)."""
        rest = [self.smooth_std, self.drift_std, self.drift_length, self.noise_std]
        return np.log(np.concatenate([self.slope_std, self.length_scale, rest]))

    @classmethod
    def from_vector(cls, vector: Floats) -> Kernel:
        """Inverse of `to_vector`."""
        values = np.exp(vector)
        features = (len(values) - 4) // 2
        return cls(values[:features], values[features:-4], *map(float, values[-4:]))

    def of_features(self, first: Floats, second: Floats) -> Floats:
        """Covariance of two sets of rows by their features and the mean, shape (n, m)."""
        return _MEAN**2 + (first * self.slope_std**2) @ second.T + self.smooth(first, second)

    def of_order(self, order: Floats, segment: Ints) -> Floats:
        """Covariance of rows by when they were measured, shape (n, n)."""
        return self.drift(order) + _SEGMENT**2 * segment.any() * (segment[:, None] == segment)

    def smooth(self, first: Floats, second: Floats) -> Floats:
        """Squared exponential of two sets of rows, shape (n, m)."""
        a, b = first / self.length_scale, second / self.length_scale
        distance = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
        return self.smooth_std**2 * np.exp(-np.maximum(distance, 0) / 2)

    def drift(self, order: Floats) -> Floats:
        """Ornstein-Uhlenbeck covariance of rows, shape (n, n)."""
        return self.drift_std**2 * np.exp(-np.abs(order[:, None] - order) / self.drift_length)


def fit_kernel(
    features: Floats,
    target: Floats,
    order: Floats,
    segment: Ints,
    *,
    scale: Floats,
    start: Kernel,
    with_drift: bool = True,
) -> Kernel:
    """The kernel of largest posterior density for rows of `features` (n, features) and centred `target` (n,).

    A row's noise is `scale` (n,) times the kernel's. Without `with_drift` neighbours share only their segment. Raises
    `numpy.linalg.LinAlgError` where the rows allow no covariance that is positive definite.
    """
    from scipy.optimize import minimize

    mean, std = _prior(features.shape[1])
    vector = (start if with_drift else replace(start, drift_std=_NO_DRIFT)).to_vector()
    free = np.ones(len(vector), dtype=bool)
    free[-3:-1] = with_drift

    def negative_log_posterior(point: Floats) -> tuple[float, Floats]:
        vector[free] = mean[free] + std[free] * point
        value, gradient = log_likelihood(Kernel.from_vector(vector), features, target, order, segment, scale)
        return 0.5 * float(point @ point) - value, point - std[free] * gradient[free]

    found: Any = minimize(
        negative_log_posterior,
        np.clip((vector - mean) / std, -_BOUND, _BOUND)[free],
        jac=True,
        method="L-BFGS-B",
        bounds=[(-_BOUND, _BOUND)] * int(free.sum()),
        options={"maxiter": _ITERATIONS, "ftol": _TOLERANCE},
    )
    vector[free] = mean[free] + std[free] * found.x
    return Kernel.from_vector(vector)


def _prior(features: int) -> tuple[Floats, Floats]:
    """Means and standard deviations of a kernel's vector, each of shape (2 * features + 4,)."""
    times = [features if name in ("slope_std", "length_scale") else 1 for name in _PRIORS]
    mean, std = np.repeat(list(_PRIORS.values()), times, axis=0).T
    return mean, std


def log_likelihood(
    kernel: Kernel, features: Floats, target: Floats, order: Floats, segment: Ints, scale: Floats
) -> tuple[float, Floats]:
    """Log marginal likelihood up to a constant, and its gradient by `Kernel.to_vector`."""
    smooth, drift = kernel.smooth(features, features), kernel.drift(order)
    noise = np.square(kernel.noise_std * scale)
    covariance = _MEAN**2 + (features * kernel.slope_std**2) @ features.T + smooth + drift
    if segment.any():
        covariance += _SEGMENT**2 * (segment[:, None] == segment)
    covariance[np.diag_indices_from(covariance)] += noise
    inverse, log_determinant = _inverse(covariance)
    weights = inverse @ target
    # Half the derivative of the likelihood by each covariance, times 2 (Rasmussen and Williams, equation 5.9).
    pull = np.outer(weights, weights) - inverse
    by_slope = np.square(kernel.slope_std) * np.einsum("nf,nf->f", features, pull @ features)
    pulled = pull * smooth
    moved = np.square(features).T @ pulled.sum(axis=1) - np.einsum("nf,nf->f", features, pulled @ features)
    by_length = moved / np.square(kernel.length_scale)
    drifted = pull * drift
    by_drift_length = 0.5 * np.sum(drifted * np.abs(order[:, None] - order)) / kernel.drift_length
    rest = [pulled.sum(), drifted.sum(), by_drift_length, np.diag(pull) @ noise]
    value = -0.5 * (float(target @ weights) + log_determinant)
    return value, np.concatenate([by_slope, by_length, rest])


def _inverse(covariance: Floats) -> tuple[Floats, float]:
    """Inverse and logarithm of the determinant of a covariance matrix."""
    from scipy.linalg import cho_factor
    from scipy.linalg import cho_solve

    factor = cho_factor(covariance, lower=True)
    inverse = cho_solve(factor, np.eye(len(covariance)), overwrite_b=True, check_finite=False)
    return inverse, 2 * float(np.log(np.diag(factor[0])).sum())


@dataclass(frozen=True)
class Posterior:
    """The function of the features, given rows.

    Attributes:
        kernel: its parameters.
        features: of the rows, shape (n, features).
        weights: of the rows, shape (n,).
        freedom: effective number of parameters of the function, by which it reduces the rows' scatter.
        left_out: residual of each row against the prediction from all others, in standard deviations, shape (n,).
    """

    kernel: Kernel
    features: Floats
    weights: Floats
    freedom: float
    left_out: Floats

    def predict(self, features: Floats) -> Floats:
        """The function without segments and drift, of rows of shape (m, features), shape (m,)."""
        predicted = np.empty(len(features))
        # In pieces that stay in a processor's cache.
        for begin in range(0, len(features), _CHUNK):
            chunk = slice(begin, begin + _CHUNK)
            predicted[chunk] = self.kernel.of_features(features[chunk], self.features) @ self.weights
        return predicted


def condition(
    kernel: Kernel, features: Floats, target: Floats, order: Floats, segment: Ints, noise: Floats
) -> Posterior:
    """Posterior mean given rows whose noise has the standard deviations `noise`, shape (n,)."""
    of_features = kernel.of_features(features, features)
    covariance = of_features + kernel.of_order(order, segment)
    covariance[np.diag_indices_from(covariance)] += np.square(noise)
    inverse, _ = _inverse(covariance)
    weights = inverse @ target
    left_out = weights / np.sqrt(np.diag(inverse))
    return Posterior(kernel, features, weights, float(np.sum(of_features * inverse)), left_out)
