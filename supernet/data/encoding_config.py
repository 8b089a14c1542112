"""How pictures and captions are encoded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

from subdit.core.errors import DataError
from supernet.data.picture import MOST_MEGAPIXELS
from supernet.data.shards import DTYPES
from supernet.data.source import DEFAULT_CAPTION_COLUMN
from supernet.data.splits import SplitRule
from supernet.data.text_encoder import PRECISION

STATED = "not stated"
"""The licence where nobody says one."""


@dataclass(frozen=True)
class EncodingConfig:
    """How pictures and captions are encoded.

    Attributes:
        caption_column: of metadata, WebDataset's JSON, or Parquet.
        split: how pictures are divided.
        background: red, green and blue, 0 to 255, where a picture is transparent.
        upscale: whether pictures smaller than the space's are enlarged; where not, they are rejected.
        max_megapixels: of a picture that is decoded.
        templates: by text input what a caption is put into, at its `{}`.
        text_precision: of the text encoders' own numbers, "float32" or "bfloat16".
        dtype: of latents and text in the shards, of `DTYPES`.
        licence: of all pictures, None where nobody says, or
        licence_column: the column that says it of each.
        scaling_factor: replaces the constants in the VAE's configuration, together with
        shift_factor: each is 1 and 0 where the other one alone is given.
        statistics_bound: how far the mean of a VAE's latents may be from 0, and their deviation from 1.
        shard_examples: examples of the source per shard; None for as many as are 128 MiB, 1,024 at most.
        batch_size: pictures that are encoded at once.
        device: as torch names it, or "auto".

    Raises:
        DataError: there is no such dtype, or a number is out of its range.
    """

    caption_column: str = DEFAULT_CAPTION_COLUMN
    split: SplitRule = field(default_factory=SplitRule)
    background: tuple[int, int, int] = (255, 255, 255)
    upscale: bool = False
    max_megapixels: float = 64.0
    templates: Mapping[str, str] = field(default_factory=dict)
    text_precision: str = PRECISION
    dtype: str = "float16"
    licence: str | None = None
    licence_column: str | None = None
    scaling_factor: float | None = None
    shift_factor: float | None = None
    statistics_bound: float = 0.5
    shard_examples: int | None = None
    batch_size: int = 32
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise DataError(f"Latents cannot be stored as {self.dtype!r}; choose one of {', '.join(DTYPES)}.")
        for name in ("max_megapixels", "scaling_factor", "statistics_bound", "batch_size", "shard_examples"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise DataError(f"{name} is {value}; give a positive number.")
        if self.shift_factor is not None and not math.isfinite(self.shift_factor):
            raise DataError(f"shift_factor is {self.shift_factor}; give a finite number.")
        if self.max_megapixels > MOST_MEGAPIXELS:
            raise DataError(f"max_megapixels is {self.max_megapixels:g}; Pillow decodes {MOST_MEGAPIXELS} at most.")
