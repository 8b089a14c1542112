"""`SubDiTSpec`: one point of a search space, which search hands to distillation, export and report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING
from dataclasses import dataclass
from dataclasses import fields
from typing import Any

from subdit.core.errors import SpecError
from subdit.space._dimensions import DIMENSIONS
from subdit.space._dimensions import Dimension
from subdit.space._dimensions import Value
from subdit.space._dimensions import known_dimensions


@dataclass(frozen=True, order=True)
class SubDiTSpec:
    """Architecture of one sub-DiT; all fields but `space` are values of elastic dimensions.

    Attributes:
        space: name of the search space the spec is a point of.
        width: hidden width; the number of query heads follows from it.
        depth: blocks in the (down, middle, up) stages.
        ffn_ratio: FFN hidden width over `width` in the (down, middle, up) stages.
        bna_blocks: strips B of blockwise neighbourhood attention in the (down, up) stages.
        bna_radius: radius r, in strips, of blockwise neighbourhood attention in the (down, up) stages.
        kv_compression: stride per side of the global branch's convolution on keys and values.
        extra: name and value of each registered dimension that the space has, sorted by name.
    """

    space: str
    width: int
    depth: tuple[int, int, int]
    ffn_ratio: tuple[int, int, int]
    bna_blocks: tuple[int, int]
    bna_radius: tuple[int, int]
    kv_compression: int = 2
    extra: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def of_values(cls, space: str, values: Mapping[str, Value]) -> SubDiTSpec:
        """The spec with these values by the names of their dimensions."""
        own = {dimension.name for dimension in DIMENSIONS}
        extra = tuple(sorted((name, value) for name, value in values.items() if name not in own))
        named: dict[str, Any] = {name: value for name, value in values.items() if name in own}
        return cls(space=space, **named, extra=extra)

    @property
    def values(self) -> dict[str, Value]:
        """Values by the names of their dimensions."""
        return {dimension.name: getattr(self, dimension.name) for dimension in DIMENSIONS} | dict(self.extra)

    def to_dict(self) -> dict[str, Any]:
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in self.values.items()}
        return {"space": self.space, **values}

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so that equal specs have equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    def to_cells(self) -> dict[str, str]:
        """Values as cells of a table, by the names of their columns."""
        known = known_dimensions()
        return {name: known[name].write(value) for name, value in self.values.items()}

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits, the name of this spec in files and tables."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    def __str__(self) -> str:
        known = known_dimensions()
        return " ".join(f"{known[name].letter}{cell}" for name, cell in self.to_cells().items())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SubDiTSpec:
        """Read a spec; raises `SpecError` on a missing, unknown or ill-typed key."""
        known = known_dimensions()
        if unknown := sorted(set(values) - {"space", *known}):
            raise SpecError(
                f"The spec has an unknown key {unknown[0]!r}; the keys are {', '.join(sorted({'space', *known}))}."
            )
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if missing := sorted(needed - set(values)):
            raise SpecError(f"The spec has no {missing[0]!r}; add it.")
        if not isinstance(values["space"], str):
            raise SpecError(f"The spec's 'space' is {values['space']!r}; it must be the name of a search space.")
        read = {name: _read_value(known[name], value) for name, value in values.items() if name != "space"}
        return cls.of_values(values["space"], read)

    @classmethod
    def from_json(cls, text: str) -> SubDiTSpec:
        """Read canonical or other JSON; raises `SpecError` where it is no spec."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise SpecError(f"The spec is not JSON ({error}); pass an object such as the one in spec.json.") from error
        if not isinstance(values, dict):
            raise SpecError("The spec is not a JSON object; pass an object such as the one in spec.json.")
        return cls.from_dict(values)

    @classmethod
    def from_cells(cls, space: str, cells: Mapping[str, str]) -> SubDiTSpec:
        """Read a row of a table, whose other columns are ignored; raises `SpecError` on a missing or ill-typed cell."""
        values: dict[str, Any] = {}
        for name, dimension in known_dimensions().items():
            if name in cells:
                try:
                    parts = tuple(int(part) for part in cells[name].split("/"))
                except (ValueError, AttributeError) as error:
                    raise SpecError(f"The column {name!r} has {cells[name]!r}; it must be whole numbers.") from error
                values[name] = parts[0] if len(parts) == 1 and not dimension.stages else parts
            elif dimension in DIMENSIONS:
                raise SpecError(f"The table has no column {name!r}.")
        return cls.from_dict({"space": space, **values})


def spec_columns() -> tuple[str, ...]:
    """Names of all columns that tables may have for specs; `SubDiTSpec.to_cells` gives those of one spec."""
    return tuple(known_dimensions())


def _read_value(dimension: Dimension, value: Any) -> Value:
    if not dimension.stages:
        if type(value) is not int:
            raise SpecError(f"The spec's {dimension.name!r} is {value!r}; it must be a whole number.")
        return value
    whole = isinstance(value, (list, tuple)) and all(type(entry) is int for entry in value)
    if not whole or len(value) != len(dimension.stages):
        raise SpecError(
            f"The spec's {dimension.name!r} is {value!r}; it must be {len(dimension.stages)} whole numbers."
        )
    return tuple(value)
