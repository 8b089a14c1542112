"""`SubDiTSpec`: one point of a search space, the one thing that travels from search to distillation, export, report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from typing import Any

from subdit.core.errors import SpecError

STAGES = ("down", "middle", "up")
ASSA_STAGES = ("down", "up")


@dataclass(frozen=True, order=True)
class SubDiTSpec:
    """Architecture of one sub-DiT.

    Attributes:
        space: name of the search space the spec is a point of.
        width: hidden width; the number of query heads follows from it.
        depth: blocks in the (down, middle, up) stages.
        ffn_ratio: FFN hidden width over `width` in the (down, middle, up) stages.
        bna_blocks: strips B of blockwise neighbourhood attention in the (down, up) stages.
        bna_radius: radius r, in strips, of blockwise neighbourhood attention in the (down, up) stages.
        kv_compression: stride per side of the global branch's convolution on keys and values.
    """

    space: str
    width: int
    depth: tuple[int, int, int]
    ffn_ratio: tuple[int, int, int]
    bna_blocks: tuple[int, int]
    bna_radius: tuple[int, int]
    kv_compression: int = 2

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so that equal specs have equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits that name this spec in files and tables."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    def __str__(self) -> str:
        def joined(values: tuple[int, ...]) -> str:
            return "/".join(str(value) for value in values)

        return (
            f"w{self.width} d{joined(self.depth)} f{joined(self.ffn_ratio)} "
            f"B{joined(self.bna_blocks)} r{joined(self.bna_radius)} c{self.kv_compression}"
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SubDiTSpec:
        """Read a spec; raises `SpecError` on a missing, unknown or ill-typed key."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise SpecError(f"The spec has an unknown key {unknown[0]!r}; the keys are {', '.join(sorted(known))}.")
        if missing := sorted(known - {"kv_compression"} - set(values)):
            raise SpecError(f"The spec has no {missing[0]!r}; add it.")
        lengths = {"depth": 3, "ffn_ratio": 3, "bna_blocks": 2, "bna_radius": 2}
        read: dict[str, Any] = {}
        for key, value in values.items():
            if key == "space":
                if not isinstance(value, str):
                    raise SpecError(f"The spec's 'space' is {value!r}; it must be the name of a search space.")
                read[key] = value
            elif key in lengths:
                whole = isinstance(value, (list, tuple)) and all(type(entry) is int for entry in value)
                if not whole or len(value) != lengths[key]:
                    raise SpecError(f"The spec's {key!r} is {value!r}; it must be {lengths[key]} whole numbers.")
                read[key] = tuple(value)
            else:
                if type(value) is not int:
                    raise SpecError(f"The spec's {key!r} is {value!r}; it must be a whole number.")
                read[key] = value
        return cls(**read)

    @classmethod
    def from_json(cls, text: str) -> SubDiTSpec:
        """Read canonical or ordinary JSON; raises `SpecError` on anything that is not a spec."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise SpecError(f"The spec is not JSON ({error}); pass an object such as the one in spec.json.") from error
        if not isinstance(values, dict):
            raise SpecError("The spec is not a JSON object; pass an object such as the one in spec.json.")
        return cls.from_dict(values)
