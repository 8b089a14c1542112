"""Hard limits, and what the tables say of a spec without evaluating its quality."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

import numpy as np
import numpy.typing as npt

from subdit.space import EncodedSpecs
from subdit.space import SearchSpace

Floats = npt.NDArray[np.float64]

LATENCY = "latency_ms"
PARAMS = "params"
PIPELINE = "pipeline_ms"

CHUNK = 16_384
"""Specs looked at in one go: bounds the memory of a scan, about 10 MB of component counts."""


class Latencies(Protocol):
    """What an estimate holds: latencies of n specs with their 95 % intervals, each of shape (n,)."""

    @property
    def latency_ms(self) -> npt.NDArray[Any]: ...

    @property
    def low_ms(self) -> npt.NDArray[Any]: ...

    @property
    def high_ms(self) -> npt.NDArray[Any]: ...


class LatencySource(Protocol):
    """Encoded specs of shape (n, dimensions) to latencies; a `device_profiles.LatencyEstimator` is one."""

    def estimate(self, encoded: EncodedSpecs, /) -> Latencies: ...


@dataclass(frozen=True)
class Cost:
    """A figure of n specs, and half the 95 % interval by which two of them are told apart; arrays of shape (n,)."""

    values: Floats
    half_width: Floats


CostFunction = Callable[[EncodedSpecs], Cost]
"""Encoded specs of shape (n, dimensions) to a figure that no evaluation is needed for."""


@dataclass(frozen=True)
class Constraints:
    """Hard limits; None where there is none.

    Attributes:
        max_latency_ms: on the first device.
        max_params: on the number of parameters.
        others: upper limits on further figures, by the name of their column.
        qualities: upper limits on what quality proxies say, by the name of their objective. No table knows them, so
            trials are spent on finding out; a sub-DiT beyond one is never on the front.
    """

    max_latency_ms: float | None = None
    max_params: int | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    qualities: Mapping[str, float] = field(default_factory=dict)

    def by_figure(self) -> dict[str, float]:
        """The limits that tables can judge, by the name of what they limit."""
        first = {LATENCY: self.max_latency_ms, PARAMS: self.max_params}
        return {name: limit for name, limit in first.items() if limit is not None} | dict(self.others)

    def violations(self, figures: Mapping[str, float]) -> dict[str, float]:
        """By limit how far it is exceeded, in its own unit; at most zero where it is kept, as in Optuna.

        `figures` are those of a sub-DiT and its qualities, by name.
        """
        limits = self.by_figure() | dict(self.qualities)
        return {f"max_{name}": figures[name] - limit for name, limit in limits.items()}

    def to_dict(self) -> dict[str, Any]:
        first = {"max_latency_ms": self.max_latency_ms, "max_params": self.max_params}
        return first | {f"max_{name}": limit for name, limit in (*self.others.items(), *self.qualities.items())}


@dataclass(frozen=True)
class Costs:
    """What the tables say of n specs; arrays of shape (n,).

    Attributes:
        figures: every figure by its name, latency of the first device and parameters among them.
        half_width: half the 95 % interval by which sub-DiTs are told apart in each figure, zero where it is exact; of a
            latency without what all are off by alike (`device_profiles.half_apart_ms`), which `low_ms` to `high_ms`
            holds too.
    """

    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats
    params: npt.NDArray[np.int64]
    feasible: npt.NDArray[np.bool_]
    figures: Mapping[str, Floats]
    half_width: Mapping[str, Floats]

    def row(self, at: int) -> dict[str, float]:
        """The figures of one spec."""
        return {name: float(values[at]) for name, values in self.figures.items()}


@dataclass(frozen=True)
class CostTable:
    """Everything that is known of a spec without evaluating its quality.

    Attributes:
        latencies: on the first device.
        columns: further figures by name, see `nas._cost_functions`.
    """

    space: SearchSpace
    latencies: LatencySource
    count_params: Callable[[SearchSpace, EncodedSpecs], npt.NDArray[Any]]
    limits: Constraints = field(default_factory=Constraints)
    columns: Mapping[str, CostFunction] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the figures."""
        return (LATENCY, PARAMS, *self.columns)

    def look_up(self, encoded: EncodedSpecs) -> Costs:
        """Figures and feasibility of encoded specs of shape (n, dimensions)."""
        from device_profiles import half_apart_ms

        estimate = self.latencies.estimate(encoded)
        latency_ms = np.asarray(estimate.latency_ms, dtype=np.float64)
        low_ms = np.asarray(estimate.low_ms, dtype=np.float64)
        high_ms = np.asarray(estimate.high_ms, dtype=np.float64)
        params = np.asarray(self.count_params(self.space, encoded), dtype=np.int64)
        figures = {LATENCY: latency_ms, PARAMS: params.astype(np.float64)}
        # Infinite where the profile does not cover a spec: no limit, not even none, is kept there.
        covered = np.isfinite(latency_ms)
        half_width = {LATENCY: half_apart_ms(estimate), PARAMS: np.zeros(len(encoded))}
        for name, column in self.columns.items():
            found = column(encoded)
            figures[name], half_width[name] = found.values, found.half_width
        feasible = covered.copy()
        for name, limit in self.limits.by_figure().items():
            feasible &= figures[name] <= limit
        return Costs(latency_ms, low_ms, high_ms, params, feasible, figures, half_width)

    def chunks(self) -> Iterator[EncodedSpecs]:
        """The whole space in order, at most `CHUNK` specs at a time."""
        for start in range(0, self.space.size, CHUNK):
            yield self.space.enumerate(start, start + CHUNK)
