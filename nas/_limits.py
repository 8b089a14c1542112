"""Hard limits, and what a space can reach under them, known from tables alone before any evaluation."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

import numpy as np
import numpy.typing as npt

from subdit.errors import InfeasibleError
from supernet.space import EncodedSpecs
from supernet.space import SearchSpace
from supernet.space import SubDiTSpec

Floats = npt.NDArray[np.float64]

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
class Limits:
    """Hard limits; None where there is none."""

    max_latency_ms: float | None = None
    max_params: int | None = None

    def violations(self, latency_ms: float, params: int) -> dict[str, float]:
        """By limit how far it is exceeded, in its own unit; at most zero where it is kept, as in Optuna."""
        exceeded: dict[str, float] = {}
        if self.max_latency_ms is not None:
            exceeded["max_latency_ms"] = latency_ms - self.max_latency_ms
        if self.max_params is not None:
            exceeded["max_params"] = float(params - self.max_params)
        return exceeded


@dataclass(frozen=True)
class Known:
    """What the tables say of n specs; arrays of shape (n,)."""

    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats
    params: npt.NDArray[np.int64]
    feasible: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tables:
    """Everything that is known of a spec without evaluating its quality."""

    space: SearchSpace
    latencies: LatencySource
    count_params: Callable[[SearchSpace, EncodedSpecs], npt.NDArray[Any]]
    limits: Limits = field(default_factory=Limits)

    def look_up(self, encoded: EncodedSpecs) -> Known:
        """Latency, parameters and feasibility of encoded specs of shape (n, dimensions)."""
        estimate = self.latencies.estimate(encoded)
        latency_ms = np.asarray(estimate.latency_ms, dtype=np.float64)
        params = np.asarray(self.count_params(self.space, encoded), dtype=np.int64)
        feasible = np.ones(len(encoded), dtype=bool)
        if self.limits.max_latency_ms is not None:
            feasible &= latency_ms <= self.limits.max_latency_ms
        if self.limits.max_params is not None:
            feasible &= params <= self.limits.max_params
        return Known(
            latency_ms,
            np.asarray(estimate.low_ms, dtype=np.float64),
            np.asarray(estimate.high_ms, dtype=np.float64),
            params,
            feasible,
        )

    def chunks(self) -> Iterator[EncodedSpecs]:
        """The whole space in order, at most `CHUNK` specs at a time."""
        for start in range(0, self.space.size, CHUNK):
            yield self.space.enumerate(start, start + CHUNK)


@dataclass(frozen=True)
class Extreme:
    """A spec that is at an end of something, with what the tables say of it."""

    spec: SubDiTSpec
    latency_ms: float
    params: int


@dataclass(frozen=True)
class Reach:
    """What a space reaches on a device under the limits.

    Attributes:
        size: specs in the space.
        feasible: how many of them keep every limit.
        fastest, slowest, smallest, largest: of the feasible ones, by latency and by parameters.
        fastest_of_all: without the limits.
        smallest_of_all: without the limits.
    """

    size: int
    feasible: int
    fastest: Extreme
    slowest: Extreme
    smallest: Extreme
    largest: Extreme
    fastest_of_all: Extreme
    smallest_of_all: Extreme


def find_reach(tables: Tables) -> Reach:
    """Look at every spec of the space; raises `InfeasibleError` that names the tightest value in reach and its spec."""
    # By name: lowest score so far, encoded spec, latency, parameters. The first of equals is kept.
    best: dict[str, tuple[float, Any, float, int]] = {}

    def offer(name: str, score: Floats, allowed: npt.NDArray[np.bool_] | None = None) -> None:
        places = np.arange(len(score)) if allowed is None else np.flatnonzero(allowed)
        if not places.size:
            return
        at = places[np.argmin(score[places])]
        if name not in best or score[at] < best[name][0]:
            best[name] = (float(score[at]), encoded[at], float(known.latency_ms[at]), int(known.params[at]))

    feasible = 0
    for encoded in tables.chunks():
        known = tables.look_up(encoded)
        params = known.params.astype(np.float64)
        feasible += int(known.feasible.sum())
        offer("fastest_of_all", known.latency_ms)
        offer("smallest_of_all", params)
        if tables.limits.max_params is not None:
            offer("fastest_small_enough", known.latency_ms, known.params <= tables.limits.max_params)
        for name, score in {
            "fastest": known.latency_ms,
            "slowest": -known.latency_ms,
            "smallest": params,
            "largest": -params,
        }.items():
            offer(name, score, known.feasible)

    extremes = {
        name: Extreme(tables.space.decode(np.asarray([row]))[0], latency_ms, params)
        for name, (_, row, latency_ms, params) in best.items()
    }
    if not feasible:
        raise InfeasibleError(_refusal(tables, extremes))
    named = {name: extreme for name, extreme in extremes.items() if name != "fastest_small_enough"}
    return Reach(size=tables.space.size, feasible=feasible, **named)


def _refusal(tables: Tables, extremes: dict[str, Extreme]) -> str:
    limits, name = tables.limits, tables.space.name
    fastest, smallest = extremes["fastest_of_all"], extremes["smallest_of_all"]
    if limits.max_latency_ms is not None and fastest.latency_ms > limits.max_latency_ms:
        return (
            f"No sub-DiT of space {name!r} runs within {limits.max_latency_ms:g} ms on this device; the tightest "
            f"reachable latency is {round_up(fastest.latency_ms)} ms, of {fastest.spec} ({fastest.spec.hash})."
        )
    if limits.max_params is not None and smallest.params > limits.max_params:
        return (
            f"No sub-DiT of space {name!r} has at most {limits.max_params:,} parameters; the fewest are "
            f"{smallest.params:,}, of {smallest.spec} ({smallest.spec.hash})."
        )
    both = extremes["fastest_small_enough"]
    return (
        f"No sub-DiT of space {name!r} keeps both limits; with at most {limits.max_params:,} parameters the tightest "
        f"reachable latency is {round_up(both.latency_ms)} ms, of {both.spec} ({both.spec.hash}), above the limit of "
        f"{limits.max_latency_ms:g} ms."
    )


def round_up(latency_ms: float) -> str:
    """Four significant digits, never below the value, so that the printed figure works when it is given as a limit."""
    shown = float(f"{latency_ms:.4g}")
    if shown < latency_ms:
        step = 10.0 ** (np.floor(np.log10(latency_ms)) - 3)
        shown = float(f"{shown + step:.4g}")
    return f"{shown:.4g}"
