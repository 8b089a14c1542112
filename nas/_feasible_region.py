"""What a space can reach under constraints on costs: exact before any evaluation, from the costs of all specs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

from nas._costs import CostTable
from subdit.core.errors import InfeasibleError
from subdit.core.errors import SearchError
from subdit.core.quantities import limit_text
from subdit.core.quantities import noun
from subdit.core.quantities import unit
from subdit.space import SubDiTSpec


@dataclass(frozen=True)
class Extremum:
    """A spec at the end of a range, with its costs."""

    spec: SubDiTSpec
    latency_ms: float
    params: int
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FeasibleRegion:
    """The specs of a space that keep the constraints on costs.

    Attributes:
        size: specs in the space.
        feasible: how many of them keep every constraint.
        fastest, slowest, smallest, largest: of the feasible specs, by latency and by parameters.
        least: by figure the feasible spec with the lowest value.
        tightest: by constrained figure the spec of the whole space with the lowest value: the tightest limit in reach.
    """

    size: int
    feasible: int
    fastest: Extremum
    slowest: Extremum
    smallest: Extremum
    largest: Extremum
    least: Mapping[str, Extremum]
    tightest: Mapping[str, Extremum]

    def to_dict(self) -> dict[str, Any]:
        """As search.json holds it."""

        return {
            "size": self.size,
            "feasible": self.feasible,
            "tightest": {
                name: {"value": extreme.figures[name], "spec": str(extreme.spec), "spec_hash": extreme.spec.hash}
                for name, extreme in self.tightest.items()
            },
        }


class _Extrema:
    """The lowest scores so far by key; the first of equals is kept."""

    def __init__(self) -> None:
        self._best: dict[Any, tuple[float, npt.NDArray[np.int64], dict[str, float]]] = {}

    def offer(self, key: Any, score: Any, encoded: Any, known: Any, allowed: Any = None) -> None:
        places = np.arange(len(score)) if allowed is None else np.flatnonzero(allowed)
        if not places.size:
            return
        index = int(places[np.argmin(score[places])])
        if key not in self._best or score[index] < self._best[key][0]:
            self._best[key] = (float(score[index]), encoded[index], known.row(index))

    def specs(self, tables: CostTable) -> dict[Any, Extremum]:
        made = {}
        for key, (_, row, figures) in self._best.items():
            spec = tables.space.decode(np.asarray([row]))[0]
            made[key] = Extremum(spec, figures["latency_ms"], int(figures["params"]), figures)
        return made


def find_feasible_region(tables: CostTable) -> FeasibleRegion:
    """Compute the costs of every spec of the space; raises `InfeasibleError` that names the tightest reachable limits.

    150,000 specs take about a second, so nothing needs to be bounded or guessed.
    """
    limits = tables.constraints
    extrema = _Extrema()
    kept_sets: set[int] = set()
    feasible = 0
    for encoded in tables.chunks():
        known = tables.look_up(encoded)
        feasible += int(known.feasible.sum())
        extrema.offer("slowest", -known.latency_ms, encoded, known, known.feasible)
        extrema.offer("largest", -known.figures["params"], encoded, known, known.feasible)
        for name, values in known.figures.items():
            extrema.offer(("least", name), values, encoded, known, known.feasible)
        # Each spec by the set of limits it keeps, as bits: this tells afterwards which limits exclude each other.
        kept = np.zeros(len(encoded), dtype=np.int64)
        for bit, (name, limit) in enumerate(limits.items()):
            kept |= (known.figures[name] <= limit).astype(np.int64) << bit
            extrema.offer(("tightest", name), known.figures[name], encoded, known)
        for found in np.unique(kept).tolist():
            kept_sets.add(found)
            for name in limits:
                extrema.offer(("with", found, name), known.figures[name], encoded, known, kept == found)
    extremes = extrema.specs(tables)
    if not feasible:
        raise InfeasibleError(_refusal(tables, extremes, kept_sets))
    least = {name: extremes["least", name] for name in tables.names}
    return FeasibleRegion(
        size=tables.space.size,
        feasible=feasible,
        fastest=least["latency_ms"],
        slowest=extremes["slowest"],
        smallest=least["params"],
        largest=extremes["largest"],
        least=least,
        tightest={name: extremes["tightest", name] for name in limits},
    )


def check_picks(region: FeasibleRegion, pick_at: Mapping[str, float], qualities: Collection[str] = ()) -> None:
    """Raises `SearchError` where there is no such figure, or no sub-DiT within the limits has so little of it.

    Args:
        pick_at: largest value by figure.
        qualities: quality proxies to pick at; how low they get is not known beforehand.
    """
    known = (*region.least, *qualities)
    for figure, value in pick_at.items():
        if figure not in known:
            raise SearchError(f"There is no figure {figure!r} to pick at; there is {', '.join(sorted(known))}.")
        if not math.isfinite(value):
            raise SearchError(f"One cannot pick at {figure}={value}; give a finite number.")
    for refusal in out_of_reach(region, pick_at).values():
        raise SearchError(refusal)


def out_of_reach(region: FeasibleRegion, pick_at: Mapping[str, float]) -> dict[str, str]:
    """By figure why there can be no pick at that value."""
    return {
        figure: f"No sub-DiT within the limits has {figure} of at most {value:g}; the least is "
        f"{round_up(least.figures[figure])}, of {least.spec} ({least.spec.hash})."
        for figure, value in pick_at.items()
        if (least := region.least.get(figure)) is not None and least.figures[figure] > value
    }


def _refusal(tables: CostTable, extremes: Mapping[Any, Extremum], kept_sets: set[int]) -> str:
    limits, space = tables.constraints, tables.space.name
    alone = [name for name, limit in limits.items() if extremes["tightest", name].figures[name] > limit]
    if alone:
        said = [_alone(name, limits[name], extremes["tightest", name]) for name in alone]
        return f"No sub-DiT of space {space!r} " + "; and none ".join(said) + "."
    excluding = _smallest_excluding(list(limits), kept_sets)
    said = []
    for name in excluding:
        others = [other for other in excluding if other != name]
        wanted = _bits(list(limits), others)
        candidates = [
            extremes["with", kept, name] for kept in sorted(kept_sets) if kept & wanted == wanted
        ]  # fmt: skip
        best = min(candidates, key=lambda extreme: extreme.figures[name])
        given = " and ".join(limit_text(other, limits[other]) for other in others)
        said.append(
            f"with {given} the tightest reachable {noun(name)} is {_amount(name, best.figures[name])}, of "
            f"{best.spec} ({best.spec.hash}), above the limit of {_amount(name, limits[name], exact=True)}"
        )
    both = "both limits" if len(limits) == 2 else f"all {len(limits)} limits together"
    return f"No sub-DiT of space {space!r} keeps {both}; " + "; ".join(said) + "."


def _bits(names: Sequence[str], chosen: Sequence[str]) -> int:
    return sum(1 << names.index(name) for name in chosen)


def _smallest_excluding(names: Sequence[str], kept_sets: set[int]) -> tuple[str, ...]:
    """The fewest limits that no spec keeps together."""
    for count in range(2, len(names) + 1):
        for chosen in itertools.combinations(names, count):
            wanted = _bits(names, chosen)
            if not any(kept & wanted == wanted for kept in kept_sets):
                return chosen
    raise AssertionError("some spec keeps every limit")


def _alone(name: str, limit: float, extreme: Extremum) -> str:
    value, spec = _amount(name, extreme.figures[name]), f"{extreme.spec} ({extreme.spec.hash})"
    if name == "params":
        return f"has at most {int(limit):,} parameters; the fewest are {value.split()[0]}, of {spec}"
    if name.startswith("latency_ms"):
        where = f"on {name.partition('@')[2]}" if "@" in name else "on this device"
        return f"runs within {limit:g} ms {where}; the tightest reachable latency is {value}, of {spec}"
    return f"keeps {limit_text(name, limit)}; the tightest reachable {noun(name)} is {value}, of {spec}"


def _amount(name: str, value: float, *, exact: bool = False) -> str:
    if name == "params":
        return f"{int(value):,} parameters"
    return f"{value:g} {unit(name)}".rstrip() if exact else f"{round_up(value)} {unit(name)}".rstrip()


def round_up(value: float) -> str:
    """Four significant digits, never below the value, so that the printed figure works when it is given as a limit."""
    shown = float(f"{value:.4g}")
    if shown < value:
        step = 10.0 ** (np.floor(np.log10(value)) - 3)
        shown = float(f"{shown + step:.4g}")
    return f"{shown:.4g}"
