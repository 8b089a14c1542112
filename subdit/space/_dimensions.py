"""Elastic dimensions: each is declared once, and everything else about it is derived.

Derived are the fields, JSON, text and table columns of specs, their encoding, and the names, look-up tables and sizes
of components. Sampling, crossover, mutation and regression features use the encoding alone, so they need no change. For
a new dimension only the model's use of it has to be written (`supernet.model`).
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass

from subdit.core.errors import SpaceError

STAGES = ("down", "middle", "up")
ASSA_STAGES = ("down", "up")

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
"""Kinds of component."""

Value = int | tuple[int, ...]


@dataclass(frozen=True)
class Matrix:
    """A weight matrix of a linear layer, or of a convolution without overlap, and the positions it is applied at."""

    inputs: int
    outputs: int
    positions: int
    bias: bool = True


@dataclass(frozen=True)
class Operations:
    """What a component computes.

    Attributes:
        matrices: weight matrices.
        vectors: number of all other parameters but biases.
        attended: number of pairs of query and key, over all query heads.
    """

    matrices: tuple[Matrix, ...]
    vectors: int = 0
    attended: int = 0


@dataclass(frozen=True)
class Dimension:
    """An elastic dimension. A larger value never has fewer parameters.

    Attributes:
        name: of the spec's field, of its key in JSON, and of its column in tables.
        letter: stands before the value in the text of a spec, and in lower case in the name of a component.
        stages: the stages that have a value of their own; empty where a sub-DiT has one value.
        kinds: of the components that depend on it; in a stage's blocks they have that stage's value.
        listed_in: the field of `SearchSpace` that lists its values; empty where that is `extra`.
        grows: its name in sentences, where a larger value never takes less to compute; else empty.
        is_listed_by_stage: whether that field has one list per stage.
        is_nested: whether a smaller value uses a part of a larger value's weights. The supernet needs the largest then.
        least: smallest value that a space may list.
        effect: from what a component computes without the dimension to what it computes at a value; None where
            `_sizes.py` has it. Activation memory is known for the dimensions of `DIMENSIONS` alone.
    """

    name: str
    letter: str
    stages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    listed_in: str = ""
    grows: str = ""
    is_listed_by_stage: bool = False
    is_nested: bool = False
    least: int = 1
    effect: Callable[[Operations, int], Operations] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its columns in encoded specs: one per stage, or one in all."""
        return tuple(f"{self.name}_{stage}" for stage in self.stages) or (self.name,)

    def join(self, entries: tuple[int, ...]) -> Value:
        """The value of a spec from the entries of its columns."""
        return entries if self.stages else entries[0]

    def split(self, value: Value) -> tuple[int, ...]:
        """The reverse of `join`."""
        return value if isinstance(value, tuple) else (value,)

    def write(self, value: Value) -> str:
        """The text of a value in specs and tables, such as `2/4/3`."""
        return "/".join(map(str, self.split(value)))


_SIZED = tuple(kind for kind in KINDS if kind != "text_projection")
DIMENSIONS = (
    Dimension("width", "w", (), _SIZED, "widths", "width", is_nested=True),
    Dimension("depth", "d", STAGES, (), "depths", "depth", is_listed_by_stage=True, is_nested=True),
    Dimension("ffn_ratio", "f", STAGES, ("ffn",), "ffn_ratios", "FFN ratio", is_listed_by_stage=True, is_nested=True),
    Dimension("bna_blocks", "B", ASSA_STAGES, ("assa",), "bna_blocks"),
    Dimension("bna_radius", "r", ASSA_STAGES, ("assa",), "bna_radii", "radius r", least=0),
    Dimension("kv_compression", "c", (), ("assa",), "kv_compressions"),
)
"""The dimensions that every space has, in the order of columns."""

GRID_LETTER = "g"
# Fields and properties of specs and components.
_RESERVED = ("space", "extra", "kind", "grid", "name", "values", "hash")
_registered: dict[str, Dimension] = {}


def known_dimensions() -> dict[str, Dimension]:
    """Dimensions by name: those of `DIMENSIONS`, then the registered ones."""
    return {dimension.name: dimension for dimension in DIMENSIONS} | _registered


def register_dimension(dimension: Dimension) -> Dimension:
    """Register a dimension of one's own in this process, so that spaces can list it in `extra`; returns it.

    Raises `SpaceError` where its name or letter is taken or not allowed, or a kind or stage does not exist.
    """
    name, letter = dimension.name, dimension.letter
    known = known_dimensions()
    if known.get(name) == dimension:
        return dimension
    if name in (*known, *_RESERVED) or not name.isidentifier():
        raise SpaceError(f"A dimension cannot be named {name!r}; choose a free name of letters and underscores.")
    letters = {other.letter.lower() for other in known.values()} | {GRID_LETTER}
    if len(letter) != 1 or letter not in string.ascii_letters or letter.lower() in letters:
        raise SpaceError(
            f"The dimension {name!r} cannot have the letter {letter!r}; choose one letter, and none of "
            f"{', '.join(sorted(letters))}."
        )
    if strange := [entry for entry in (*dimension.kinds, *dimension.stages) if entry not in (*KINDS, *STAGES)]:
        raise SpaceError(
            f"The dimension {name!r} has an unknown kind or stage {strange[0]!r}; the kinds of component are "
            f"{', '.join(KINDS)}, the stages {', '.join(STAGES)}."
        )
    _registered[name] = dimension
    return dimension
