"""Components: the pieces of a sub-DiT whose latencies add up.

A sub-DiT is a sequence of modules, each of which reads and writes tokens of one width on one grid. `components(spec)`
counts them; a kit exports each distinct one of a space, and a device profile holds one latency for each.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from functools import cache

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SpecError
from subdit.space._search_space import EncodedSpecs
from subdit.space._search_space import SearchSpace
from subdit.space._spec import ASSA_STAGES
from subdit.space._spec import STAGES
from subdit.space._spec import SubDiTSpec

KINDS = (
    "patch_embed",
    "time_embed",
    "text_projection",
    "assa",
    "self_attention",
    "cross_attention",
    "ffn",
    "downsample",
    "upsample",
    "skip_fusion",
    "final_layer",
)


@dataclass(frozen=True, order=True)
class Component:
    """One piece at given dimensions; zero where a dimension does not apply to its kind.

    Attributes:
        kind: one of `KINDS`.
        width: hidden width (0 for the text projection, which no elastic dimension changes).
        grid: tokens per side that it reads (0 for those that read no image tokens).
        ffn_ratio: FFN ratio, for `ffn`.
        bna_blocks: strips B, for `assa`.
        bna_radius: radius r, for `assa`.
        kv_compression: stride per side of the global branch, for `assa`.
    """

    kind: str
    width: int
    grid: int = 0
    ffn_ratio: int = 0
    bna_blocks: int = 0
    bna_radius: int = 0
    kv_compression: int = 0

    @property
    def name(self) -> str:
        """What files and tables call it, such as `assa-w96-g8-b4-r1-c2`."""
        letters = {
            "width": "w",
            "grid": "g",
            "ffn_ratio": "f",
            "bna_blocks": "b",
            "bna_radius": "r",
            "kv_compression": "c",
        }
        shown = [key for key in letters if getattr(self, key) or (key == "bna_radius" and self.kind == "assa")]
        parts = [f"{letters[key]}{getattr(self, key)}" for key in shown]
        return "-".join([self.kind, *parts])

    @classmethod
    def from_name(cls, name: str) -> Component:
        """The component of that name; raises `SpecError` where it names none."""
        letters = {
            "w": "width",
            "g": "grid",
            "f": "ffn_ratio",
            "b": "bna_blocks",
            "r": "bna_radius",
            "c": "kv_compression",
        }
        kind, *parts = name.split("-")
        values = {letters.get(part[:1], ""): part[1:] for part in parts}
        if (
            kind not in KINDS
            or not set(values) <= {entry.name for entry in fields(cls)[1:]}
            or not all(value.isdecimal() for value in values.values())
        ):
            raise SpecError(f"{name!r} names no component; a name looks like 'assa-w96-g8-b4-r1-c2'.")
        made = cls(kind=kind, **{"width": 0, **{key: int(value) for key, value in values.items()}})
        if made.name != name:
            raise SpecError(f"{name!r} is not how a component is written; {made.name!r} is.")
        return made


def components(space: SearchSpace, spec: SubDiTSpec) -> Counter[Component]:
    """How often each component occurs in the sub-DiT; raises `SpecError` on a foreign spec."""
    return sum(components_by_stage(space, spec).values(), Counter())


def components_by_stage(space: SearchSpace, spec: SubDiTSpec) -> dict[str, Counter[Component]]:
    """`components` of each part of the sub-DiT, in the order they run; raises `SpecError` on a foreign spec."""
    space.check(spec)
    width, grid, middle = spec.width, space.grid, space.middle_grid

    def stage(at: int) -> Counter[Component]:
        depth = spec.depth[at]
        stage_grid = (grid, middle, grid)[at]
        count: Counter[Component] = Counter()
        if STAGES[at] in ASSA_STAGES:
            which = ASSA_STAGES.index(STAGES[at])
            attention = Component(
                "assa",
                width,
                stage_grid,
                bna_blocks=spec.bna_blocks[which],
                bna_radius=spec.bna_radius[which],
                kv_compression=spec.kv_compression,
            )
        else:
            attention = Component("self_attention", width, stage_grid)
            count[Component("skip_fusion", width, stage_grid)] += depth // 2
        count[attention] += depth
        count[Component("cross_attention", width, stage_grid)] += depth
        count[Component("ffn", width, stage_grid, ffn_ratio=spec.ffn_ratio[at])] += depth
        return count

    return {
        "text": Counter([Component("text_projection", 0)]),
        "time": Counter([Component("time_embed", width)]),
        "patch": Counter([Component("patch_embed", width, grid)]),
        "down": stage(0),
        "downsample": Counter([Component("downsample", width, grid)]),
        "middle": stage(1),
        "upsample": Counter([Component("upsample", width, middle)]),
        "up": stage(2),
        "final": Counter([Component("final_layer", width, grid)]),
    }


@cache
def all_components(space: SearchSpace) -> tuple[Component, ...]:
    """Every distinct component of the space, sorted; the order of a kit, of a profile and of `component_counts`."""
    found = {Component("text_projection", 0)}
    grid, middle = space.grid, space.middle_grid
    for width in space.widths:
        found |= {
            Component("patch_embed", width, grid),
            Component("time_embed", width),
            Component("self_attention", width, middle),
            Component("cross_attention", width, grid),
            Component("cross_attention", width, middle),
            Component("skip_fusion", width, middle),
            Component("downsample", width, grid),
            Component("upsample", width, middle),
            Component("final_layer", width, grid),
        }
        for stage_grid, stage_ratios in zip((grid, middle, grid), space.ffn_ratios, strict=True):
            found |= {Component("ffn", width, stage_grid, ffn_ratio=ratio) for ratio in stage_ratios}
        found |= {
            Component("assa", width, grid, bna_blocks=blocks, bna_radius=radius, kv_compression=stride)
            for blocks in space.bna_blocks
            for radius in space.bna_radii
            for stride in space.kv_compressions
        }
    return tuple(sorted(found))


def component_counts(space: SearchSpace, encoded: EncodedSpecs) -> npt.NDArray[np.float32]:
    """Vectorised `components`: specs of shape (n, dimensions) to counts of shape (n, len(all_components(space)))."""
    counts = np.zeros((len(encoded), len(all_components(space))), dtype=np.float32)
    rows = np.arange(len(encoded))
    for term in component_terms(space, encoded):
        counts[rows, term.columns] += term.counts
    return counts


Columns = npt.NDArray[np.int64]


def component_columns(space: SearchSpace, encoded: EncodedSpecs) -> dict[str, Columns]:
    """Which component stands in each place of n specs: its number in the order of `all_components`, shape (n,).

    A place is a kind, followed by the stage where there are several, such as `ffn_down`.
    """
    return {
        place: table[tuple(encoded[:, at] for at in dimensions)] if dimensions else np.full(len(encoded), table)
        for place, (table, dimensions) in _places(space).items()
    }


@cache
def _places(space: SearchSpace) -> Mapping[str, tuple[Columns, tuple[int, ...]]]:
    """Each place's look-up table from value indices to a component's number, and which dimensions these are of."""
    columns = {component: column for column, component in enumerate(all_components(space))}
    at = {label: column for column, label in enumerate(space.dimensions)}
    grid, middle = space.grid, space.middle_grid

    def column_of(kind: str, at_grid: int, **dimensions: str) -> tuple[Columns, tuple[int, ...]]:
        labels = {"width": "width", **dimensions}
        allowed = [space.dimensions[label] for label in labels.values()]
        table = np.asarray(
            [
                columns[Component(kind, grid=at_grid, **dict(zip(labels, point, strict=True)))]
                for point in itertools.product(*allowed)
            ]
        ).reshape([len(entry) for entry in allowed])
        return table, tuple(at[label] for label in labels.values())

    places: dict[str, tuple[Columns, tuple[int, ...]]]
    places = {"text_projection": (np.asarray(columns[Component("text_projection", 0)]), ())}
    for kind, at_grid in (("patch_embed", grid), ("time_embed", 0), ("downsample", grid), ("upsample", middle)):
        places[kind] = column_of(kind, at_grid)
    places["final_layer"] = column_of("final_layer", grid)
    for stage, stage_grid in zip(STAGES, (grid, middle, grid), strict=True):
        if stage in ASSA_STAGES:
            places[f"assa_{stage}"] = column_of(
                "assa",
                stage_grid,
                bna_blocks=f"bna_blocks_{stage}",
                bna_radius=f"bna_radius_{stage}",
                kv_compression="kv_compression",
            )
        else:
            places[f"self_attention_{stage}"] = column_of("self_attention", stage_grid)
            places[f"skip_fusion_{stage}"] = column_of("skip_fusion", stage_grid)
        places[f"cross_attention_{stage}"] = column_of("cross_attention", stage_grid)
        places[f"ffn_{stage}"] = column_of("ffn", stage_grid, ffn_ratio=f"ffn_ratio_{stage}")
    return places


@dataclass(frozen=True)
class ComponentTerm:
    """One place of n specs: the number of the component there, and how often it runs, both of shape (n,)."""

    columns: Columns
    counts: npt.NDArray[np.int64]


def component_terms(space: SearchSpace, encoded: EncodedSpecs) -> tuple[ComponentTerm, ...]:
    """`component_counts` without its zeros: a handful of places instead of hundreds of columns.

    No component is counted in two places of a spec: where Down and Up have the same one, all of it is counted in Down,
    so that sums of squares over components are sums over places.
    """
    places = component_columns(space, encoded)
    names = list(space.dimensions)
    counts: dict[str, npt.NDArray[np.int64]] = {}
    for stage, values in zip(STAGES, space.depths, strict=True):
        depth = np.asarray(values)[encoded[:, names.index(f"depth_{stage}")]]
        counts |= {place: depth for place in places if place.endswith(f"_{stage}")}
    counts["skip_fusion_middle"] = counts["skip_fusion_middle"] // 2
    first, last = ASSA_STAGES
    for kind in ("assa", "cross_attention", "ffn"):
        down, up = f"{kind}_{first}", f"{kind}_{last}"
        same = places[down] == places[up]
        counts[down] = counts[down] + np.where(same, counts[up], 0)
        counts[up] = np.where(same, 0, counts[up])
    once = np.ones(len(encoded), dtype=np.int64)
    return tuple(ComponentTerm(columns, counts.get(place, once)) for place, columns in places.items())


def sum_components(
    terms: tuple[ComponentTerm, ...], each: npt.NDArray[np.float64], *, squared: bool = False
) -> npt.NDArray[np.float64]:
    """Sum over components of count times `each` (components,) or (components, k): shape (n,) or (n, k).

    With `squared`, of both squared. What `component_counts` @ each gives, in a fraction of the time.
    """
    power = 2 if squared else 1
    values = each**power
    total = np.zeros((len(terms[0].columns), *each.shape[1:]))
    for term in terms:
        counts = (term.counts**power).astype(np.float64)
        total += counts.reshape(-1, *[1] * (each.ndim - 1)) * values[term.columns]
    return total
