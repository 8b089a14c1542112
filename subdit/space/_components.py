"""Components: the pieces of a sub-DiT whose latencies add up.

A sub-DiT is a sequence of modules, each of which reads and writes tokens of one width on one grid. `components` counts
them. A kit exports each distinct one of a space, and a device profile holds one latency for each.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SpecError
from subdit.space._dimensions import GRID_LETTER
from subdit.space._dimensions import KINDS
from subdit.space._dimensions import STAGES
from subdit.space._dimensions import known_dimensions
from subdit.space._search_space import EncodedSpecs
from subdit.space._search_space import SearchSpace
from subdit.space._space_definition import Column
from subdit.space._spec import SubDiTSpec


@dataclass(frozen=True, order=True)
class Component:
    """One piece at given dimensions; a dimension is zero where it does not apply to the kind.

    Attributes:
        kind: one of `KINDS`.
        width: hidden width; 0 for the text projection, which no elastic dimension changes.
        grid: tokens per side that it reads; 0 where it reads no image tokens.
        ffn_ratio: FFN ratio, for `ffn`.
        bna_blocks: strips B, for `assa`.
        bna_radius: radius r, for `assa`.
        kv_compression: stride per side of the global branch, for `assa`.
        extra: name and value of each registered dimension that applies to it, by name.
    """

    kind: str
    width: int
    grid: int = 0
    ffn_ratio: int = 0
    bna_blocks: int = 0
    bna_radius: int = 0
    kv_compression: int = 0
    extra: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of_values(cls, kind: str, grid: int, values: Mapping[str, int]) -> Component:
        """The component with these values by the names of their dimensions."""
        own = {field.name for field in fields(cls)}
        extra = tuple(sorted((name, value) for name, value in values.items() if name not in own))
        named: dict[str, Any] = {"width": 0, **{name: value for name, value in values.items() if name in own}}
        return cls(kind, grid=grid, extra=extra, **named)

    @property
    def values(self) -> dict[str, int]:
        """Its values by the names of the dimensions that apply to its kind, in their order."""
        extra = dict(self.extra)
        return {
            name: extra[name] if name in extra else getattr(self, name)
            for name, dimension in known_dimensions().items()
            if self.kind in dimension.kinds and (name in extra or hasattr(self, name))
        }

    @property
    def name(self) -> str:
        """Its name in files and tables, such as `assa-w96-g8-b4-r1-c2`."""
        known = known_dimensions()
        parts = [f"{known[name].letter.lower()}{value}" for name, value in self.values.items()]
        if self.grid:
            parts.insert(1, f"{GRID_LETTER}{self.grid}")
        return "-".join([self.kind, *parts])

    @classmethod
    def from_name(cls, name: str) -> Component:
        """The component of that name; raises `SpecError` where there is none."""
        letters = {dimension.letter.lower(): label for label, dimension in known_dimensions().items()}
        kind, *parts = name.split("-")
        values = {{**letters, GRID_LETTER: "grid"}.get(part[:1], ""): part[1:] for part in parts}
        if kind not in KINDS or "" in values or not all(value.isdecimal() for value in values.values()):
            raise SpecError(f"{name!r} names no component; a name looks like 'assa-w96-g8-b4-r1-c2'.")
        whole = {label: int(value) for label, value in values.items()}
        made = cls.of_values(kind, whole.pop("grid", 0), whole)
        if made.name != name:
            raise SpecError(f"{name!r} is no canonical name of a component; write {made.name!r}.")
        return made


# Places of components -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A place in a sub-DiT where one component stands.

    Attributes:
        part: of the sub-DiT, one of `PARTS`.
        kind: of the component.
        grid: tokens per side that it reads.
    """

    part: str
    kind: str
    grid: int = 0

    @property
    def stage(self) -> str:
        """The stage whose blocks it is in; empty where it is in no block."""
        return self.part if self.part in STAGES else ""

    @property
    def name(self) -> str:
        """The kind and, where there is one, the stage, such as `ffn_down`."""
        return f"{self.kind}_{self.stage}" if self.stage else self.kind

    def columns(self, space: SearchSpace) -> tuple[Column, ...]:
        """The columns of encoded specs that determine the component here."""
        return tuple(
            column
            for column in space.columns
            if self.kind in column.dimension.kinds and column.stage in ("", self.stage)
        )

    def component(self, space: SearchSpace, values: Iterable[int]) -> Component:
        """The component here at these values of `columns`."""
        names = (column.dimension.name for column in self.columns(space))
        return Component.of_values(self.kind, self.grid, dict(zip(names, values, strict=True)))

    def count(self, depth: Any) -> Any:
        """How often it runs in a stage of `depth` blocks; both may be arrays."""
        # U-ViT skips lead from the first half of Middle into the second.
        return depth // 2 if self.kind == "skip_fusion" else depth


PARTS = ("text", "time", "patch", "down", "downsample", "middle", "upsample", "up", "final")
"""Parts of a sub-DiT, in the order in which they run."""


@cache
def places(space: SearchSpace) -> tuple[Place, ...]:
    """The places of a sub-DiT, in the order in which costs are summed."""
    grid, middle = space.grid, space.middle_grid
    found = [
        Place("text", "text_projection"),
        Place("patch", "patch_embed", grid),
        Place("time", "time_embed"),
        Place("downsample", "downsample", grid),
        Place("upsample", "upsample", middle),
        Place("final", "final_layer", grid),
    ]
    for stage, stage_grid in zip(STAGES, (grid, middle, grid), strict=True):
        attention = ("self_attention", "skip_fusion") if stage == "middle" else ("assa",)
        found += [Place(stage, kind, stage_grid) for kind in (*attention, "cross_attention", "ffn")]
    return tuple(found)


@cache
def _components_at(space: SearchSpace) -> Mapping[Place, tuple[Component, ...]]:
    """The possible components of each place, in lexicographic order of the values of its columns."""
    return {
        place: tuple(
            place.component(space, values)
            for values in itertools.product(*(column.values for column in place.columns(space)))
        )
        for place in places(space)
    }


def components(space: SearchSpace, spec: SubDiTSpec) -> Counter[Component]:
    """How often each component occurs in the sub-DiT; raises `SpecError` on a spec of another space."""
    return sum(components_by_stage(space, spec).values(), Counter())


def components_by_stage(space: SearchSpace, spec: SubDiTSpec) -> dict[str, Counter[Component]]:
    """`components` of each of `PARTS`; raises `SpecError` on a spec of another space."""
    values = space.values(space.check(spec))
    found: dict[str, Counter[Component]] = {part: Counter() for part in PARTS}
    # The skip is fused before the block begins.
    for place in sorted(places(space), key=lambda place: place.kind != "skip_fusion"):
        component = place.component(space, [values[column.label] for column in place.columns(space)])
        found[place.part][component] += place.count(values[f"depth_{place.stage}"]) if place.stage else 1
    return found


@cache
def all_components(space: SearchSpace) -> tuple[Component, ...]:
    """Every distinct component of the space, in the order of kits, profiles and `component_counts`."""
    return tuple(sorted(set(itertools.chain.from_iterable(_components_at(space).values()))))


def smallest_host(space: SearchSpace, component: Component) -> tuple[SubDiTSpec, str]:
    """The first sub-DiT of the space with the component, and its part, of `PARTS`; raises `SpecError` for none."""
    for place, possible in _components_at(space).items():
        if component in possible:
            values = space.values(space.decode(space.enumerate(0, 1))[0])
            values |= {column.label: component.values[column.dimension.name] for column in place.columns(space)}
            return space.spec(values), place.part
    raise SpecError(f"Space {space.name!r} has no component {component.name!r}; 'subdit spaces show' lists them.")


# Many specs at once -------------------------------------------------------------------------------------------------


def component_counts(space: SearchSpace, encoded: EncodedSpecs) -> npt.NDArray[np.float32]:
    """`components` of many specs: shape (n, dimensions) to counts of shape (n, len(all_components(space)))."""
    counts = np.zeros((len(encoded), len(all_components(space))), dtype=np.float32)
    rows = np.arange(len(encoded))
    for term in component_terms(space, encoded):
        counts[rows, term.columns] += term.counts
    return counts


Indices = npt.NDArray[np.int64]


def component_columns(space: SearchSpace, encoded: EncodedSpecs) -> dict[str, Indices]:
    """The component in each place of n specs, as its number in the order of `all_components`, shape (n,)."""
    return {
        place.name: table[tuple(encoded[:, index] for index in indices)] if indices else np.full(len(encoded), table)
        for place, (table, indices) in _tables(space).items()
    }


@cache
def _tables(space: SearchSpace) -> Mapping[Place, tuple[Indices, tuple[int, ...]]]:
    """For each place a table from value indices to the number of a component, and the columns of these indices."""
    number = {component: number for number, component in enumerate(all_components(space))}
    tables = {}
    for place, possible in _components_at(space).items():
        columns = place.columns(space)
        table = np.asarray([number[component] for component in possible])
        shape = [len(column.values) for column in columns]
        tables[place] = table.reshape(shape), tuple(space.columns.index(column) for column in columns)
    return tables


@dataclass(frozen=True)
class ComponentTerm:
    """One place of n specs: the number of its component, and how often that runs, both of shape (n,)."""

    columns: Indices
    counts: npt.NDArray[np.int64]


def component_terms(space: SearchSpace, encoded: EncodedSpecs) -> tuple[ComponentTerm, ...]:
    """`component_counts` without its zeros: a few places instead of hundreds of columns.

    A component is never counted in two places of a spec. Where Down and Up have the same one, its runs in both are
    counted in Down, so that sums of squares over components are sums over places.
    """
    numbers = component_columns(space, encoded)
    labels = list(space.dimensions)
    once = np.ones(len(encoded), dtype=np.int64)
    counts: dict[str, npt.NDArray[np.int64]] = {}
    for place in places(space):
        depth = f"depth_{place.stage}"
        runs = np.asarray(space.dimensions[depth])[encoded[:, labels.index(depth)]] if place.stage else once
        counts[place.name] = place.count(runs)
    for kind in ("assa", "cross_attention", "ffn"):
        down, up = f"{kind}_down", f"{kind}_up"
        same = numbers[down] == numbers[up]
        counts[down] = counts[down] + np.where(same, counts[up], 0)
        counts[up] = np.where(same, 0, counts[up])
    return tuple(ComponentTerm(columns, counts[name]) for name, columns in numbers.items())


def sum_components(
    terms: tuple[ComponentTerm, ...], each: npt.NDArray[np.float64], *, squared: bool = False
) -> npt.NDArray[np.float64]:
    """Sum over components of count times `each` (components,) or (components, k): shape (n,) or (n, k).

    With `squared`, both factors are squared. The result is that of `component_counts @ each`, and takes less time.
    """
    power = 2 if squared else 1
    values = each**power
    total = np.zeros((len(terms[0].columns), *each.shape[1:]))
    for term in terms:
        counts = (term.counts**power).astype(np.float64)
        total += counts.reshape(-1, *[1] * (each.ndim - 1)) * values[term.columns]
    return total
