"""What sub-DiTs cost, and which of them keep the constraints on that: known without evaluating their quality."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

import numpy as np
import numpy.typing as npt

from subdit.core.quantities import LATENCY
from subdit.core.quantities import PARAMS
from subdit.core.quantities import PIPELINE
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import closed_form_cost

if TYPE_CHECKING:
    from device_profiles import DeviceProfile

Floats = npt.NDArray[np.float64]

CHUNK = 16_384
"""Specs looked up at once: bounds the memory of a scan, about 10 MB of component counts."""


class Latencies(Protocol):
    """Latencies of n specs with their 95 % intervals, each of shape (n,)."""

    @property
    def latency_ms(self) -> npt.NDArray[Any]: ...

    @property
    def low_ms(self) -> npt.NDArray[Any]: ...

    @property
    def high_ms(self) -> npt.NDArray[Any]: ...


class LatencySource(Protocol):
    """Encoded specs of shape (n, dimensions) to latencies; a `device_profiles.LatencyEstimator` is one."""

    @property
    def fingerprint(self) -> str:
        """Hash of what the latencies are computed from, the same on every processor."""
        ...

    def estimate(self, encoded: EncodedSpecs, /) -> Latencies: ...


@dataclass(frozen=True)
class Cost:
    """A figure of n specs, and half the 95 % interval by which two of them are told apart; arrays of shape (n,)."""

    values: Floats
    half_width: Floats


CostFunction = Callable[[EncodedSpecs], Cost]
"""Encoded specs of shape (n, dimensions) to a figure that no evaluation is needed for."""


@dataclass(frozen=True)
class LatencyCost:
    """Latency of one step in milliseconds."""

    latencies: LatencySource

    @property
    def fingerprint(self) -> str:
        """Hash of what it is computed from."""
        return self.latencies.fingerprint

    def __call__(self, encoded: EncodedSpecs) -> Cost:
        from device_profiles import half_apart_ms

        estimate = self.latencies.estimate(encoded)
        return Cost(np.asarray(estimate.latency_ms, dtype=np.float64), half_apart_ms(estimate))


@dataclass(frozen=True)
class PipelineCost:
    """Latency in milliseconds of a whole picture: `steps` steps and the other parts that the space says it takes.

    Raises `ProfileError` where the profile lacks one of the other parts.

    Attributes:
        latencies: of one step.
    """

    profile: DeviceProfile
    space: SearchSpace
    steps: int
    latencies: LatencySource

    def __post_init__(self) -> None:
        self(self.space.enumerate(0, 1))

    @property
    def fingerprint(self) -> str:
        """Hash of what it is computed from, but for the number of steps."""
        from device_profiles import pipeline_fingerprint

        return pipeline_fingerprint(self.latencies.fingerprint, self.profile, self.space)

    def __call__(self, encoded: EncodedSpecs) -> Cost:
        from device_profiles import LatencyEstimate
        from device_profiles import half_apart_ms
        from device_profiles import pipeline_latency

        found = self.latencies.estimate(encoded)
        ends = (np.asarray(found.latency_ms), np.asarray(found.low_ms), np.asarray(found.high_ms))
        step = LatencyEstimate(*ends, apart_ms=half_apart_ms(found))
        picture = pipeline_latency(self.profile, self.space, step, steps=self.steps)
        return Cost(picture.latency_ms, picture.apart_ms)


def cost_function(name: str, space: SearchSpace, profiles: Sequence[DeviceProfile], *, steps: int) -> CostFunction:
    """The cost of that name: on the device after its `@`, else on the first one.

    Raises `SpaceError` where the first profile's precision has no stored size, `ProfileError` as `PipelineCost` does.
    """
    from device_profiles import LatencyEstimator

    figure, _, device = name.partition("@")
    profile = next((profile for profile in profiles if profile.id == device), profiles[0])
    if figure == LATENCY:
        return LatencyCost(LatencyEstimator(profile, space))
    if figure == PIPELINE:
        return PipelineCost(profile, space, steps, LatencyEstimator(profile, space))
    return exact_cost(figure, space, profile.precision)


def exact_cost(name: str, space: SearchSpace, precision: str) -> CostFunction:
    """One of `subdit.space.CLOSED_FORMS`; raises `SpaceError` where there is none at this precision."""
    cost = partial(closed_form_cost, name, space, precision=precision)
    cost(space.enumerate(0, 1))
    return lambda encoded: Cost(cost(encoded), np.zeros(len(encoded)))


@dataclass(frozen=True)
class Costs:
    """What n specs cost; arrays of shape (n,).

    Attributes:
        feasible: whether the specs keep the constraints on costs.
        figures: every figure by its name, latency of the first device and parameters among them.
        half_width: half the 95 % interval by which sub-DiTs are told apart in each figure, zero where it is exact; of a
            latency without the error that all share (`device_profiles.half_apart_ms`), which `low_ms` to `high_ms`
            holds too.
    """

    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats
    params: npt.NDArray[np.int64]
    feasible: npt.NDArray[np.bool_]
    figures: Mapping[str, Floats]
    half_width: Mapping[str, Floats]

    def row(self, index: int) -> dict[str, float]:
        """The figures of one spec."""
        return {name: float(values[index]) for name, values in self.figures.items()}


@dataclass(frozen=True)
class CostTable:
    """Costs of every spec of a space.

    Attributes:
        latencies: on the first device.
        constraints: upper limits by figure.
        functions: of further figures by name.
    """

    space: SearchSpace
    latencies: LatencySource
    count_params: Callable[[SearchSpace, EncodedSpecs], npt.NDArray[Any]]
    constraints: Mapping[str, float] = field(default_factory=dict)
    functions: Mapping[str, CostFunction] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the figures."""
        return (LATENCY, PARAMS, *self.functions)

    def look_up(self, encoded: EncodedSpecs) -> Costs:
        """Figures and feasibility of encoded specs of shape (n, dimensions)."""
        from device_profiles import half_apart_ms

        estimate = self.latencies.estimate(encoded)
        latency_ms = np.asarray(estimate.latency_ms, dtype=np.float64)
        low_ms = np.asarray(estimate.low_ms, dtype=np.float64)
        high_ms = np.asarray(estimate.high_ms, dtype=np.float64)
        params = np.asarray(self.count_params(self.space, encoded), dtype=np.int64)
        figures = {LATENCY: latency_ms, PARAMS: params.astype(np.float64)}
        half_width = {LATENCY: half_apart_ms(estimate), PARAMS: np.zeros(len(encoded))}
        for name, function in self.functions.items():
            found = function(encoded)
            figures[name], half_width[name] = found.values, found.half_width
        # The latency is infinite where the profile does not cover a spec: there no constraint is kept, not even none.
        feasible = np.isfinite(latency_ms)
        for name, limit in self.constraints.items():
            feasible &= figures[name] <= limit
        return Costs(latency_ms, low_ms, high_ms, params, feasible, figures, half_width)

    def chunks(self) -> Iterator[EncodedSpecs]:
        """The whole space in order, at most `CHUNK` specs at a time."""
        for start in range(0, self.space.size, CHUNK):
            yield self.space.enumerate(start, start + CHUNK)
