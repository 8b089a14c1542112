"""`SearchSpace`: the finite values of each elastic dimension, and what is fixed for all of its sub-DiTs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SpaceError
from subdit.core.errors import SpecError
from subdit.space._spec import ASSA_STAGES
from subdit.space._spec import STAGES
from subdit.space._spec import SubDiTSpec

EncodedSpecs = npt.NDArray[np.int64]
"""Specs as an array of shape (n, dimensions): per dimension the index of the value, see `SearchSpace.dimensions`."""


PIPELINE_PARTS = ("text_encoder", "decoder")
"""Models that a picture may take beside the DiT, each once."""


@dataclass(frozen=True)
class TextInput:
    """One text encoder's output as the DiT sees it: `tokens` embeddings of `width` numbers."""

    name: str
    width: int
    tokens: int


@dataclass(frozen=True)
class SearchSpace:
    """A finite set of sub-DiTs that share one supernet.

    The paper (SnapGen++, arXiv 2601.08303) is elastic in width alone; depth, FFN ratio, B, r and KV compression are
    this project's extension. Raises `SpaceError` where the values cannot exist together.

    Attributes:
        name: what the command line and every file call it.
        latent_size: height and width of the latent the model denoises.
        latent_channels: channels of that latent.
        patch_size: side of a patch; tokens per side in Down and Up are latent_size / patch_size, in Middle half of it.
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
        named: the named points, name to keyword arguments of `SubDiTSpec`.
        pipeline: what a picture takes beside the DiT, of `PIPELINE_PARTS`; empty where latents are pixels and the text
            encoder is a look-up in a table.
        example_prompt: a prompt that its text encoders read, for commands that are printed.
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

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_values()
        self._check_heads()
        self._check_grids()
        for name, spec in self.named.items():
            try:
                self.check(spec)
            except SpecError as error:
                raise SpaceError(f"Space {self.name!r} has a point {name!r} that is not in it: {error}") from error

    def _check_sizes(self) -> None:
        """What is one number each."""
        sizes = ("latent_size", "latent_channels", "patch_size", "head_dim", "full_heads", "kv_heads")
        for label in (*sizes, "text_width", "time_width"):
            value = getattr(self, label)
            if type(value) is not int or value < 1:
                raise SpaceError(f"Space {self.name!r} has {label} {value!r}; it must be a positive whole number.")
        if not self.rope_theta > 0:
            raise SpaceError(f"Space {self.name!r} has rope_theta {self.rope_theta!r}; it must be positive.")
        if self.time_width % 2:
            raise SpaceError(
                f"Space {self.name!r} has time_width {self.time_width}; it must be even, half sines and half cosines."
            )
        if self.head_dim % 4:
            raise SpaceError(
                f"Space {self.name!r} has head_dim {self.head_dim}; 2-D rotary embedding needs a multiple of 4."
            )
        encoders = [text.name for text in self.text_inputs]
        if not encoders or len(set(encoders)) < len(encoders):
            raise SpaceError(f"Space {self.name!r} has the text inputs {encoders}; name at least one, each once.")
        for text in self.text_inputs:
            if text.width < 1 or text.tokens < 1:
                raise SpaceError(
                    f"Space {self.name!r} has the text input {text.name!r} of {text.tokens} tokens of width "
                    f"{text.width}; both must be positive."
                )

        if strange := set(self.pipeline) - set(PIPELINE_PARTS):
            raise SpaceError(
                f"Space {self.name!r} has {sorted(strange)[0]!r} in its pipeline; there is {', '.join(PIPELINE_PARTS)}."
            )

    def _check_values(self) -> None:
        """What is a list of values each."""
        for label, values in self.dimensions.items():
            least = 0 if "radius" in label else 1
            whole = all(type(value) is int for value in values)
            if not values or not whole or list(values) != sorted(set(values)) or values[0] < least:
                raise SpaceError(
                    f"Space {self.name!r} lists {label} as {values}; list positive values, ascending, once each."
                )
        if odd := [depth for depth in self.depths[1] if depth % 2]:
            raise SpaceError(
                f"Space {self.name!r} has a middle depth of {odd[0]}; U-ViT skips pair blocks, so it must be even."
            )

    def _check_heads(self) -> None:
        for width in self.widths:
            heads = width * self.full_heads
            if heads % self.full_width or (heads // self.full_width) % self.kv_heads:
                raise SpaceError(
                    f"Space {self.name!r} has width {width} with {heads / self.full_width:g} query heads, which "
                    f"{self.kv_heads} key-value heads do not divide."
                )

    def _check_grids(self) -> None:
        if self.latent_size % self.patch_size:
            raise SpaceError(
                f"Space {self.name!r} has a latent of {self.latent_size} that patches of {self.patch_size} do not tile."
            )
        if self.grid % 2:
            raise SpaceError(
                f"Space {self.name!r} has an odd grid of {self.grid} tokens per side; Middle needs half of it."
            )
        for blocks in self.bna_blocks:
            if self.tokens % blocks:
                raise SpaceError(
                    f"Space {self.name!r} cuts its grid of {self.grid}x{self.grid} tokens into {blocks} strips, which "
                    "do not come out even."
                )
        for stride in self.kv_compressions:
            if self.grid % stride:
                raise SpaceError(
                    f"Space {self.name!r} compresses its grid of {self.grid}x{self.grid} tokens by {stride} per side, "
                    "which does not come out even."
                )

    # What follows from the fields -----------------------------------------------------------------------------------

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

    @property
    def full_depth(self) -> tuple[int, int, int]:
        return self.depths[0][-1], self.depths[1][-1], self.depths[2][-1]

    def heads(self, width: int) -> int:
        """Query heads of a sub-DiT of that width."""
        return width * self.full_heads // self.full_width

    def named_spec(self, name: str) -> SubDiTSpec:
        """A named point; raises `SpecError` with the names there are."""
        if name not in self.named:
            raise SpecError(f"Space {self.name!r} has no point named {name!r}; it has {', '.join(self.named)}.")
        return self.named[name]

    # Specs as points ------------------------------------------------------------------------------------------------

    @property
    def dimensions(self) -> dict[str, tuple[int, ...]]:
        """Name and values of each elastic dimension, in the order of the encoded array's columns."""
        named: dict[str, tuple[int, ...]] = {"width": self.widths}
        named |= {f"depth_{stage}": values for stage, values in zip(STAGES, self.depths, strict=True)}
        named |= {f"ffn_ratio_{stage}": values for stage, values in zip(STAGES, self.ffn_ratios, strict=True)}
        named |= {f"bna_blocks_{stage}": self.bna_blocks for stage in ASSA_STAGES}
        named |= {f"bna_radius_{stage}": self.bna_radii for stage in ASSA_STAGES}
        named["kv_compression"] = self.kv_compressions
        return named

    @property
    def size(self) -> int:
        """Number of sub-DiTs."""
        return math.prod(len(values) for values in self.dimensions.values())

    def values(self, spec: SubDiTSpec) -> dict[str, int]:
        """The spec as one value per dimension, in the order of `dimensions`."""
        values = {"width": spec.width}
        values |= {f"depth_{stage}": value for stage, value in zip(STAGES, spec.depth, strict=True)}
        values |= {f"ffn_ratio_{stage}": value for stage, value in zip(STAGES, spec.ffn_ratio, strict=True)}
        values |= {f"bna_blocks_{stage}": value for stage, value in zip(ASSA_STAGES, spec.bna_blocks, strict=True)}
        values |= {f"bna_radius_{stage}": value for stage, value in zip(ASSA_STAGES, spec.bna_radius, strict=True)}
        values["kv_compression"] = spec.kv_compression
        return values

    def spec(self, values: Mapping[str, int]) -> SubDiTSpec:
        """The spec with these values, the reverse of `values`; raises `SpecError` where one is not in the space."""
        if strange := set(self.dimensions) ^ set(values):
            label = sorted(strange)[0]
            what = "lack" if label in self.dimensions else "have an unknown"
            raise SpecError(
                f"The values {what} {label!r}; space {self.name!r} has the dimensions {', '.join(self.dimensions)}."
            )
        made = SubDiTSpec(
            space=self.name,
            width=values["width"],
            depth=(values["depth_down"], values["depth_middle"], values["depth_up"]),
            ffn_ratio=(values["ffn_ratio_down"], values["ffn_ratio_middle"], values["ffn_ratio_up"]),
            bna_blocks=(values["bna_blocks_down"], values["bna_blocks_up"]),
            bna_radius=(values["bna_radius_down"], values["bna_radius_up"]),
            kv_compression=values["kv_compression"],
        )
        return self.check(made)

    def check(self, spec: SubDiTSpec) -> SubDiTSpec:
        """Return the spec if it is a point of this space; raises `SpecError` that names the value that is not."""
        if spec.space != self.name:
            raise SpecError(
                f"The spec {spec.hash} is of space {spec.space!r}, not of {self.name!r}; use one of this space."
            )
        for (label, value), allowed in zip(self.values(spec).items(), self.dimensions.values(), strict=True):
            if value not in allowed:
                raise SpecError(f"Space {self.name!r} has no {label} {value}; it has {', '.join(map(str, allowed))}.")
        return spec

    def encode(self, specs: Iterable[SubDiTSpec]) -> EncodedSpecs:
        """Specs to an array of shape (n, dimensions) of value indices; raises `SpecError` on a foreign spec."""
        allowed = list(self.dimensions.values())
        rows = [
            [values.index(value) for values, value in zip(allowed, self.values(self.check(spec)).values(), strict=True)]
            for spec in specs
        ]
        return np.asarray(rows, dtype=np.int64).reshape(-1, len(allowed))

    def decode(self, encoded: EncodedSpecs) -> list[SubDiTSpec]:
        """The reverse of `encode`."""
        dimensions = self.dimensions
        return [
            self.spec({label: values[index] for (label, values), index in zip(dimensions.items(), row, strict=True)})
            for row in encoded.tolist()
        ]

    def sample(self, rng: np.random.Generator, count: int) -> EncodedSpecs:
        """`count` specs drawn uniformly with replacement, encoded."""
        sizes = [len(values) for values in self.dimensions.values()]
        return rng.integers(0, sizes, size=(count, len(sizes)), dtype=np.int64)

    def enumerate(self, start: int = 0, stop: int | None = None) -> EncodedSpecs:
        """Specs number `start` to `stop` of the space in lexicographic order, encoded."""
        sizes = [len(values) for values in self.dimensions.values()]
        numbers = np.arange(start, self.size if stop is None else min(stop, self.size))
        return np.stack(np.unravel_index(numbers, sizes), axis=1).astype(np.int64)


def check_full(space: SearchSpace) -> SearchSpace:
    """Return the space if it has a point `full` that holds all of its sub-DiTs; raises `SpaceError` otherwise."""
    if "full" not in space.named:
        raise SpaceError(f"Space {space.name!r} has no point named 'full', which its supernet would be; name one.")
    full = space.values(space.named["full"])
    for label, values in space.dimensions.items():
        if label.startswith(("width", "depth", "ffn_ratio")) and full[label] < values[-1]:
            raise SpaceError(
                f"Space {space.name!r} has a point 'full' with {label} {full[label]}, which cannot hold {label} "
                f"{values[-1]}; full is the largest."
            )
    return space
