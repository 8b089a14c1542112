"""Elastic dimensions: the one declaration of each, from which all that concerns it follows.

From it follow the fields, JSON, text and table columns of specs, the encoding, and the names, look-up tables and sizes
of components; hence also sampling, crossover, mutation and regression features, which see the encoding alone. What
stays to be written for a new dimension is what a model does with it (`supernet.model`).
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
    """A weight matrix of a linear, or of a convolution that does not overlap, and how often it is applied."""

    inputs: int
    outputs: int
    positions: int
    bias: bool = True


@dataclass(frozen=True)
class Operations:
    """What a component computes.

    Attributes:
        matrices: weight matrices.
        vectors: all other parameters but biases.
        attended: pairs of query and key over all query heads.
    """

    matrices: tuple[Matrix, ...]
    vectors: int = 0
    attended: int = 0


@dataclass(frozen=True)
class Dimension:
    """An elastic dimension. More of it never takes fewer parameters.

    Attributes:
        name: of the spec's field, of its key in JSON, and of its column in tables.
        letter: what stands before its value in the text of a spec, and in lower case in the name of a component.
        stages: the stages that have a value of their own; empty where a sub-DiT has one value.
        kinds: of the components that depend on it; in a stage's blocks they have that stage's value.
        listed_in: the field of `SearchSpace` that lists its values; empty where that is `extra`.
        grows: what sentences call it, where more of it never takes less to compute; else empty.
        is_listed_by_stage: whether that field has a list for each of the stages.
        is_nested: whether a smaller value has a part of a larger one's weights, so that the supernet needs the largest.
        least: smallest value that a space may list.
        effect: what a component of these kinds computes at a value, from what it would compute without the dimension;
            None where `_sizes.py` has it. Activation memory knows the dimensions of `DIMENSIONS` alone.
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
        """Names of its columns in encoded specs: one for each stage, or one."""
        return tuple(f"{self.name}_{stage}" for stage in self.stages) or (self.name,)

    def join(self, entries: tuple[int, ...]) -> Value:
        """The value of a spec whose columns hold these."""
        return entries if self.stages else entries[0]

    def split(self, value: Value) -> tuple[int, ...]:
        """The reverse of `join`."""
        return value if isinstance(value, tuple) else (value,)

    def write(self, value: Value) -> str:
        """A value as texts and tables have it, such as `2/4/3`."""
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
    """By name those of `DIMENSIONS`, then those registered."""
    return {dimension.name: dimension for dimension in DIMENSIONS} | _registered


def register_dimension(dimension: Dimension) -> Dimension:
    """Make a dimension of one's own known in this process, for spaces to list in `extra`; returns it.

    Raises `SpaceError` where its name or letter cannot be used or is taken, or a kind or stage does not exist.
    """
    name, letter = dimension.name, dimension.letter
    known = known_dimensions()
    if known.get(name) == dimension:
        return dimension
    if name in (*known, *_RESERVED) or not name.isidentifier():
        raise SpaceError(f"A dimension cannot be named {name!r}; choose another name, of letters and underscores.")
    letters = {other.letter.lower() for other in known.values()} | {GRID_LETTER}
    if len(letter) != 1 or letter not in string.ascii_letters or letter.lower() in letters:
        raise SpaceError(
            f"The dimension {name!r} cannot have the letter {letter!r}; choose another letter than "
            f"{', '.join(sorted(letters))}."
        )
    if strange := [entry for entry in (*dimension.kinds, *dimension.stages) if entry not in (*KINDS, *STAGES)]:
        raise SpaceError(
            f"The dimension {name!r} is of {strange[0]!r}; the kinds of component are {', '.join(KINDS)}, the stages "
            f"{', '.join(STAGES)}."
        )
    _registered[name] = dimension
    return dimension
