"""The fields of a search space: the values of each elastic dimension, and what is fixed for all of its sub-DiTs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any
from typing import NoReturn

from subdit.core.errors import SpaceError
from subdit.space._dimensions import DIMENSIONS
from subdit.space._dimensions import Dimension
from subdit.space._dimensions import known_dimensions
from subdit.space._spec import SubDiTSpec

PIPELINE_PARTS = ("text_encoder", "decoder")
"""Models that a picture may need beside the DiT, each run once."""

MOST, MOST_LATENT, MOST_VALUES = 65_536, 1024, 16
"""Largest number, largest latent, most values of a dimension. Beyond them closed forms overflow 64 bits, or listing a
space takes more than seconds."""

SPACE_SUFFIXES = (".yaml", ".yml")
"""Suffixes of space files."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class TextInput:
    """One text encoder's output as the DiT sees it: `tokens` embeddings of `width` numbers."""

    name: str
    width: int
    tokens: int


@dataclass(frozen=True)
class Column:
    """A column of encoded specs: a dimension, its stage (empty where a sub-DiT has one value), and its values."""

    label: str
    dimension: Dimension
    stage: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class SpaceDefinition:
    """The values of each elastic dimension, and what is fixed for all sub-DiTs of a space.

    The paper (SnapGen++, arXiv 2601.08303) is elastic in width alone; depth, FFN ratio, B, r and KV compression are
    this project's extension. Raises `SpaceError` where values contradict each other.

    Attributes:
        name: its name on the command line and in every file.
        latent_size: height and width of the latent that the model denoises.
        latent_channels: channels of that latent.
        patch_size: side of a patch. Down and Up have latent_size / patch_size tokens per side, Middle has half of that.
        widths: hidden widths, ascending; the last one is the full width.
        depths: per stage (down, middle, up) the block counts, ascending.
        ffn_ratios: per stage the FFN ratios, ascending.
        bna_blocks: strips B, ascending.
        bna_radii: radii r in strips, ascending.
        kv_compressions: strides per side of the global branch, ascending.
        head_dim: size of one attention head, the same at every width.
        full_heads: query heads at the full width; a narrower sub-DiT has proportionally fewer.
        kv_heads: key and value heads, the same at every width (grouped-query attention).
        text_inputs: the text encoders whose projected tokens are concatenated.
        text_width: width of a projected text token.
        time_width: width of the time embedding before the per-width modulation layer.
        rope_theta: base of the rotary position embedding.
        down_up_skip: whether tokens that leave Down are mixed in where Up begins (Hourglass DiT; the paper has none).
        named: the named points, each a spec of this space.
        pipeline: models that a picture needs beside the DiT, of `PIPELINE_PARTS`; empty where latents are pixels and
            the text encoder is a look-up in a table.
        example_prompt: a prompt that its text encoders can read, for printed commands.
        extra: name and values of each further elastic dimension, see `register_dimension`.
    """

    name: str
    latent_size: int
    latent_channels: int
    patch_size: int
    widths: tuple[int, ...]
    depths: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    ffn_ratios: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    bna_blocks: tuple[int, ...]
    bna_radii: tuple[int, ...]
    kv_compressions: tuple[int, ...]
    head_dim: int
    full_heads: int
    kv_heads: int
    text_inputs: tuple[TextInput, ...]
    text_width: int
    time_width: int
    rope_theta: float
    down_up_skip: bool = False
    named: Mapping[str, SubDiTSpec] = field(default_factory=dict, hash=False)
    pipeline: tuple[str, ...] = PIPELINE_PARTS
    example_prompt: str = "a handwritten seven"
    extra: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def __post_init__(self) -> None:
        self._check_names()
        self._check_sizes()
        self._check_values()
        self._check_heads()
        self._check_grids()

    def _refuse(self, said: str) -> NoReturn:
        raise SpaceError(f"Space {self.name!r} {said}.")

    def _check_names(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name.endswith(SPACE_SUFFIXES):
            raise SpaceError(
                f"A space cannot be named {self.name!r}; take at most 64 letters, digits, '-', '_' and '.', no '.yaml' "
                "at the end and a letter or digit first."
            )
        if not isinstance(self.example_prompt, str) or not self.example_prompt.isprintable():
            self._refuse(f"has example_prompt {self.example_prompt!r}; it must be one line of text")
        if strange := [part for part in self.pipeline if part not in PIPELINE_PARTS]:
            self._refuse(f"has {strange[0]!r} in its pipeline; there is {', '.join(PIPELINE_PARTS)}")
        if len(set(self.pipeline)) < len(self.pipeline):
            self._refuse("has a part of its pipeline twice; name each once")
        if type(self.down_up_skip) is not bool:
            self._refuse(f"has down_up_skip {self.down_up_skip!r}; it must be true or false")

    def _check_sizes(self) -> None:
        """The fields that are one number each."""
        sizes = ("latent_channels", "patch_size", "head_dim", "full_heads", "kv_heads", "text_width", "time_width")
        for label, most in (("latent_size", MOST_LATENT), *((size, MOST) for size in sizes)):
            value = getattr(self, label)
            if type(value) is not int or not 1 <= value <= most:
                self._refuse(f"has {label} {value!r}; it must be a whole number from 1 to {most}")
        if type(self.rope_theta) not in (int, float) or not 0 < self.rope_theta < math.inf:
            self._refuse(f"has rope_theta {self.rope_theta!r}; it must be a positive number")
        if self.time_width % 2:
            self._refuse(f"has time_width {self.time_width}; it must be even, half sines and half cosines")
        if self.head_dim % 4:
            self._refuse(f"has head_dim {self.head_dim}; 2-D rotary embedding needs a multiple of 4")
        encoders = [text.name for text in self.text_inputs]
        if strange := [name for name in encoders if not isinstance(name, str) or not name.isidentifier()]:
            self._refuse(f"has a text input named {strange[0]!r}; take letters, digits and underscores")
        if not encoders or len(set(encoders)) < len(encoders):
            self._refuse(f"has the text inputs {encoders}; name at least one, each once")
        for text in self.text_inputs:
            if any(type(size) is not int or not 1 <= size <= MOST for size in (text.width, text.tokens)):
                given = f"{text.name!r} of {text.tokens!r} tokens of width {text.width!r}"
                self._refuse(f"has the text input {given}; both must be whole numbers from 1 to {MOST}")

    def _check_values(self) -> None:
        """The fields that are a list of values each."""
        names = [name for name, _ in self.extra]
        registered = set(known_dimensions()) - {dimension.name for dimension in DIMENSIONS}
        if strange := [name for name in names if name not in registered or names.count(name) > 1]:
            self._refuse(f"has {strange[0]!r} in extra; register it with register_dimension, and list it once")
        for column in self.columns:
            label, values = column.label, column.values
            whole = all(type(value) is int for value in values)
            if not values or not whole or list(values) != sorted(set(values)) or values[0] < column.dimension.least:
                self._refuse(f"lists {label} as {values}; list positive values, ascending, once each")
            if len(values) > MOST_VALUES:
                self._refuse(f"lists {len(values)} values of {label}; list at most {MOST_VALUES}")
            if values[-1] > MOST:
                self._refuse(f"lists {label} {values[-1]}; list values up to {MOST}")
        if odd := [depth for depth in self.depths[1] if depth % 2]:
            self._refuse(f"has a middle depth of {odd[0]}; U-ViT skips pair blocks, so it must be even")

    def _check_heads(self) -> None:
        for width in self.widths:
            heads = width * self.full_heads
            if heads % self.full_width or (heads // self.full_width) % self.kv_heads:
                given = f"width {width} with {heads / self.full_width:g} query heads"
                self._refuse(
                    f"has {given}, which {self.kv_heads} key-value heads do not divide; full_heads times width over "
                    "the full width must be a multiple of kv_heads"
                )

    def _check_grids(self) -> None:
        if self.latent_size % self.patch_size:
            self._refuse(f"has a latent of {self.latent_size} that patches of {self.patch_size} do not tile")
        if self.grid % 2:
            self._refuse(f"has an odd grid of {self.grid} tokens per side; Middle needs half of it")
        grid = f"its grid of {self.grid}x{self.grid} tokens"
        for blocks in self.bna_blocks:
            if self.tokens % blocks:
                self._refuse(f"cuts {grid} into {blocks} strips, which do not come out even")
        for stride in self.kv_compressions:
            if self.grid % stride:
                self._refuse(f"compresses {grid} by {stride} per side, which does not come out even")

    # Derived from the fields ----------------------------------------------------------------------------------------

    @property
    def grid(self) -> int:
        """Tokens per side in Down and Up."""
        return self.latent_size // self.patch_size

    @property
    def middle_grid(self) -> int:
        """Tokens per side in Middle."""
        return self.grid // 2

    @property
    def tokens(self) -> int:
        """Tokens in Down and Up."""
        return self.grid**2

    @property
    def patch_width(self) -> int:
        """Numbers in one patch of the latent."""
        return self.patch_size**2 * self.latent_channels

    @property
    def text_tokens(self) -> int:
        """Text tokens of all encoders together."""
        return sum(text.tokens for text in self.text_inputs)

    @property
    def full_width(self) -> int:
        return self.widths[-1]

    def heads(self, width: int) -> int:
        """Query heads of a sub-DiT of that width."""
        return width * self.full_heads // self.full_width

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns of encoded specs, in order."""
        listed = {dimension: getattr(self, dimension.listed_in) for dimension in DIMENSIONS}
        listed |= {known_dimensions()[name]: values for name, values in self.extra}
        return tuple(
            Column(label, dimension, stage, values[index] if dimension.is_listed_by_stage else values)
            for dimension, values in listed.items()
            for index, (label, stage) in enumerate(zip(dimension.labels, dimension.stages or ("",), strict=True))
        )

    @property
    def dimensions(self) -> dict[str, tuple[int, ...]]:
        """Values of each elastic dimension by name, one entry per stage that has its own, in the order of `columns`."""
        return {column.label: column.values for column in self.columns}

    @property
    def size(self) -> int:
        """Number of sub-DiTs."""
        return math.prod(len(column.values) for column in self.columns)
