"""A Gaussian process in the logarithm of latency: a smooth function of the architecture times what drifts with order.

    log latency = mean + linear(x) + smooth(x) + segment + wander(order) + noise

`linear` and `smooth` (a squared exponential) weigh every feature by itself; `segment` is one level for each segment of
rows between two changes; `wander` is an Ornstein-Uhlenbeck process, for what neighbouring rows share beyond that.
The weights are those of largest marginal likelihood under weak priors, which keep them sane where rows are few.
Rasmussen and Williams, Gaussian Processes for Machine Learning, chapters 2 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Prior medians and spreads of the logarithms of the kernel's parameters. Features have unit variance and latencies are
# logarithms, so that these are shares of a latency: a feature moves it by some per cent, over some standard deviations.
_PRIORS = {
    "slope": (np.log(0.05), 1.5),
    "smooth": (np.log(0.1), 1.0),
    "length": (np.log(4.0), 1.0),
    "wander": (np.log(0.01), 1.0),
    "memory": (np.log(10.0), 1.0),
    "noise": (np.log(0.02), 1.0),
}
# Standard deviation of the mean, and of the level of a segment around it.
_MEAN = 1.0
_SEGMENT = 0.3
# Rows that are predicted at a time.
_PIECE = 2048
# Steps of Adam (Kingma and Ba, 2015) that the fit takes, and how far each goes at first; the last goes nowhere.
_STEPS = 40
_RATE = 0.15


@dataclass(frozen=True)
class Kernel:
    """Parameters; `slope` and `length` of shape (features,), standard deviations in logarithms of latency.

    Attributes:
        memory: over how many rows the wander is forgotten.
    """

    slope: Floats
    smooth: float
    length: Floats
    wander: float
    memory: float
    noise: float

    @classmethod
    def start(cls, features: int) -> Kernel:
        """The medians of the priors."""
        each = {key: float(np.exp(middle)) for key, (middle, _) in _PRIORS.items()}
        return cls(
            slope=np.full(features, each["slope"]),
            smooth=each["smooth"],
            length=np.full(features, each["length"]),
            wander=each["wander"],
            memory=each["memory"],
            noise=each["noise"],
        )

    def to_vector(self) -> Floats:
        """Logarithms of all parameters, shape (2 * features + 4,)."""
        rest = [self.smooth, self.wander, self.memory, self.noise]
        return np.log(np.concatenate([self.slope, self.length, rest]))

    @classmethod
    def from_vector(cls, vector: Floats) -> Kernel:
        """Inverse of `to_vector`."""
        values = np.exp(vector)
        features = (len(values) - 4) // 2
        smooth, wander, memory, noise = map(float, values[2 * features :])
        return cls(values[:features], smooth, values[features : 2 * features], wander, memory, noise)

    def of_features(self, first: Floats, second: Floats) -> Floats:
        """Covariance that two sets of rows have by their features, shape (n, m), and by the mean."""
        return _MEAN**2 + (first * self.slope**2) @ second.T + self._smooth(first, second)

    def of_order(self, order: Floats, segment: Ints) -> Floats:
        """Covariance that rows have by when they were measured, shape (n, n)."""
        same = _SEGMENT**2 * (segment[:, None] == segment[None]) if segment.any() else 0.0
        return self._wander(order) + same

    def _smooth(self, first: Floats, second: Floats) -> Floats:
        a, b = first / self.length, second / self.length
        apart = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
        return self.smooth**2 * np.exp(-np.maximum(apart, 0) / 2)

    def _wander(self, order: Floats) -> Floats:
        return self.wander**2 * np.exp(-np.abs(order[:, None] - order[None]) / self.memory)


def fit_kernel(
    features: Floats,
    target: Floats,
    order: Floats,
    segment: Ints,
    *,
    scale: Floats,
    start: Kernel,
    wander: bool = True,
) -> Kernel:
    """The kernel of largest posterior for rows of `features` (n, features) and centred `target` (n,).

    A row's noise is `scale` (n,) times the kernel's. Without `wander` neighbours share nothing but their segment.
    """
    start = start if wander else replace(start, wander=1e-9)
    vector = start.to_vector()
    kinds = ["slope"] * features.shape[1] + ["length"] * features.shape[1] + ["smooth", "wander", "memory", "noise"]
    middle = np.asarray([_PRIORS[kind][0] for kind in kinds])
    spread = np.asarray([_PRIORS[kind][1] for kind in kinds])
    free = np.asarray([wander or kind not in {"wander", "memory"} for kind in kinds])
    best, best_value = vector, -np.inf
    first, second = np.zeros_like(vector), np.zeros_like(vector)
    for step in range(1, _STEPS + 1):
        value, gradient = _log_likelihood(Kernel.from_vector(vector), features, target, order, segment, scale)
        off = (vector - middle) / spread
        value -= 0.5 * float(np.sum(np.square(off[free])))
        gradient = np.where(free, gradient - off / spread, 0.0)
        if value > best_value:
            best, best_value = vector, value
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * np.square(gradient)
        size = np.sqrt(second / (1 - 0.99**step)) + 1e-8
        rate = _RATE * (1 - (step - 1) / _STEPS)
        vector = vector + rate * first / (1 - 0.9**step) / size
    return Kernel.from_vector(best)


def _log_likelihood(
    kernel: Kernel, features: Floats, target: Floats, order: Floats, segment: Ints, scale: Floats
) -> tuple[float, Floats]:
    """Log marginal likelihood up to a constant, and its gradient by `Kernel.to_vector`."""
    smooth, wander = kernel._smooth(features, features), kernel._wander(order)
    covariance = kernel.of_features(features, features) + kernel.of_order(order, segment)
    covariance[np.diag_indices(len(target))] += np.square(kernel.noise * scale)
    inverse, log_determinant = _inverse(covariance)
    weights = inverse @ target
    pull = np.outer(weights, weights) - inverse
    by_slope = np.square(kernel.slope) * np.einsum("nf,nf->f", features, pull @ features)
    pulled = pull * smooth
    moved = np.square(features).T @ pulled.sum(axis=1) - np.einsum("nf,nf->f", features, pulled @ features)
    by_length = moved / np.square(kernel.length)
    pulled_wander = pull * wander
    by_memory = 0.5 * np.sum(pulled_wander * np.abs(order[:, None] - order[None])) / kernel.memory
    rest = [pulled.sum(), pulled_wander.sum(), by_memory, np.diag(pull) @ np.square(kernel.noise * scale)]
    value = -0.5 * float(target @ weights + log_determinant)
    return value, np.concatenate([by_slope, by_length, rest])


def _inverse(covariance: Floats) -> tuple[Floats, float]:
    lower = np.linalg.cholesky(covariance)
    return np.linalg.inv(covariance), 2 * float(np.log(np.diag(lower)).sum())


@dataclass(frozen=True)
class Posterior:
    """What rows say about the function of the features.

    Attributes:
        kernel: its parameters.
        features: of the rows, shape (n, features).
        weights: of the rows, shape (n,).
        drift: segment and wander of each row, shape (n,).
        freedom: effective number of parameters of the function; what it takes from the rows' scatter.
        left_out: of each row its target less what all others predict for it, in standard deviations, shape (n,).
    """

    kernel: Kernel
    features: Floats
    weights: Floats
    drift: Floats
    freedom: float
    left_out: Floats

    def predict(self, features: Floats) -> Floats:
        """The function without drift, of rows of shape (m, features)."""
        predicted = np.empty(len(features))
        # In pieces that stay in a processor's cache.
        for begin in range(0, len(features), _PIECE):
            piece = slice(begin, begin + _PIECE)
            predicted[piece] = self.kernel.of_features(features[piece], self.features) @ self.weights
        return predicted


def condition(
    kernel: Kernel, features: Floats, target: Floats, order: Floats, segment: Ints, noise: Floats
) -> Posterior:
    """Posterior mean given rows whose noise has the standard deviations `noise`, shape (n,)."""
    of_features, of_order = kernel.of_features(features, features), kernel.of_order(order, segment)
    covariance = of_features + of_order
    covariance[np.diag_indices(len(target))] += np.square(noise)
    inverse, _ = _inverse(covariance)
    weights = inverse @ target
    freedom = float(np.sum(of_features * inverse))
    return Posterior(kernel, features, weights, of_order @ weights, freedom, weights / np.sqrt(np.diag(inverse)))
