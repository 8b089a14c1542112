"""`SearchSpace`: a finite set of sub-DiTs, as specs and as arrays."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SpaceError
from subdit.core.errors import SpecError
from subdit.space._space_definition import SpaceDefinition
from subdit.space._spec import SubDiTSpec

EncodedSpecs = npt.NDArray[np.int64]
"""Specs as an array of shape (n, dimensions) of indices into the values of `SearchSpace.dimensions`."""


@dataclass(frozen=True)
class SearchSpace(SpaceDefinition):
    """A finite set of sub-DiTs that share one supernet; its fields are those of `SpaceDefinition`.

    Raises `SpaceError` where values contradict each other, or where a named point is not in the space.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, spec in self.named.items():
            try:
                self.check(spec)
            except SpecError as error:
                raise SpaceError(f"Space {self.name!r} has a point {name!r} that is not in it: {error}") from error

    def named_spec(self, name: str) -> SubDiTSpec:
        """A named point; raises `SpecError` that lists the names."""
        if name not in self.named:
            raise SpecError(f"Space {self.name!r} has no point named {name!r}; it has {', '.join(self.named)}.")
        return self.named[name]

    def values(self, spec: SubDiTSpec) -> dict[str, int]:
        """The values of a spec by column; raises `SpecError` where it has other dimensions than the space."""
        values, own = spec.values, dict.fromkeys(column.dimension for column in self.columns)
        if strange := set(values) ^ {dimension.name for dimension in own}:
            name = sorted(strange)[0]
            raise SpecError(
                f"Space {self.name!r} has no dimension {name!r}; leave it out of the spec."
                if name in values
                else f"The spec has no {name!r}, which space {self.name!r} has; add it."
            )
        return {
            label: value
            for dimension in own
            for label, value in zip(dimension.labels, dimension.split(values[dimension.name]), strict=True)
        }

    def spec(self, values: Mapping[str, int]) -> SubDiTSpec:
        """The reverse of `values`; raises `SpecError` where a value is not in the space."""
        if strange := set(self.dimensions) ^ set(values):
            label = sorted(strange)[0]
            what = "lack" if label in self.dimensions else "have an unknown"
            raise SpecError(
                f"The values {what} {label!r}; space {self.name!r} has the dimensions {', '.join(self.dimensions)}."
            )
        own = dict.fromkeys(column.dimension for column in self.columns)
        joined = {one.name: one.join(tuple(values[label] for label in one.labels)) for one in own}
        return self.check(SubDiTSpec.of_values(self.name, joined))

    def check(self, spec: SubDiTSpec) -> SubDiTSpec:
        """Return the spec; raises `SpecError` that names the wrong value where the spec is not in this space."""
        if spec.space != self.name:
            raise SpecError(
                f"The spec {spec.hash} is of space {spec.space!r}, not of {self.name!r}; use one of this space."
            )
        for value, column in zip(self.values(spec).values(), self.columns, strict=True):
            if value not in column.values:
                allowed = ", ".join(map(str, column.values))
                raise SpecError(f"Space {self.name!r} has no {column.label} {value}; it has {allowed}.")
        return spec

    def encode(self, specs: Iterable[SubDiTSpec]) -> EncodedSpecs:
        """Specs to an array of shape (n, dimensions); raises `SpecError` on a spec of another space."""
        values = (self.values(self.check(spec)).values() for spec in specs)
        rows = [[column.values.index(value) for column, value in zip(self.columns, row, strict=True)] for row in values]
        return np.asarray(rows, dtype=np.int64).reshape(-1, len(self.columns))

    def decode(self, encoded: EncodedSpecs) -> list[SubDiTSpec]:
        """The reverse of `encode`."""
        return [
            self.spec({column.label: column.values[index] for column, index in zip(self.columns, row, strict=True)})
            for row in encoded.tolist()
        ]

    def sample(self, rng: np.random.Generator, count: int) -> EncodedSpecs:
        """Draw `count` encoded specs uniformly with replacement."""
        sizes = [len(column.values) for column in self.columns]
        return rng.integers(0, sizes, size=(count, len(sizes)), dtype=np.int64)

    def enumerate(self, start: int = 0, stop: int | None = None) -> EncodedSpecs:
        """The encoded specs number `start` to `stop` of the space, in lexicographic order."""
        sizes = [len(column.values) for column in self.columns]
        numbers = np.arange(start, self.size if stop is None else min(stop, self.size))
        return np.stack(np.unravel_index(numbers, sizes), axis=1).astype(np.int64)
