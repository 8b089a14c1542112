"""What turns pixels into the latents that a DiT denoises, and back: the protocol, and pixels as their own latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

import numpy as np
import numpy.typing as npt

from subdit.core.errors import DataError
from supernet.data.picture import Pixels
from supernet.data.picture import to_pixels
from supernet.data.picture import to_unit_range

Latents = npt.NDArray[np.float32]


class LatentCodec(Protocol):
    """Pixels to normalised latents and back."""

    @property
    def factor(self) -> int:
        """Pixels per latent element and side."""
        ...

    @property
    def picture_channels(self) -> int:
        """3 for RGB, 1 for grey."""
        ...

    @property
    def latent_channels(self) -> int: ...

    @property
    def key(self) -> dict[str, Any]:
        """What latents depend on, as JSON; two caches with different keys do not mix."""
        ...

    def encode(self, pixels: Pixels) -> Latents:
        """Pixels (count, picture channels, size, size) to latents (count, channels, size / factor, size / factor)."""
        ...

    def decode(self, latents: Latents) -> Pixels:
        """The reverse, as far as it has one."""
        ...


@dataclass(frozen=True)
class PixelCodec:
    """Pixels, -1 to 1, as they are: for spaces whose latents are pictures of 1 or 3 channels."""

    latent_channels: int
    factor: int = 1

    def __post_init__(self) -> None:
        if self.latent_channels not in (1, 3):
            raise DataError(
                f"Latents of {self.latent_channels} channels are no pixels; name the VAE that makes them with --vae."
            )

    @property
    def picture_channels(self) -> int:
        return self.latent_channels

    @property
    def key(self) -> dict[str, Any]:
        return {"class": "pixels", "channels": self.latent_channels}

    def encode(self, pixels: Pixels) -> Latents:
        return to_unit_range(pixels)

    def decode(self, latents: Latents) -> Pixels:
        return to_pixels(latents)


@dataclass(frozen=True)
class LatentStatistics:
    """Sums over latents, from which mean and standard deviation follow; sums of parts add up.

    Attributes:
        count: numbers per channel.
        sums: per channel.
        squares: sums of squares, per channel.
    """

    count: int = 0
    sums: tuple[float, ...] = field(default_factory=tuple)
    squares: tuple[float, ...] = field(default_factory=tuple)

    @classmethod
    def of(cls, latents: Latents) -> LatentStatistics:
        """Of latents (count, channels, height, width)."""
        exact = latents.astype(np.float64)
        sums, squares = exact.sum((0, 2, 3)), np.square(exact).sum((0, 2, 3))
        per_channel = latents.size // latents.shape[1]
        return cls(per_channel, tuple(sums.tolist()), tuple(squares.tolist()))

    def __add__(self, other: LatentStatistics) -> LatentStatistics:
        if not self.count or not other.count:
            return self if self.count else other
        return LatentStatistics(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
        )

    @property
    def channel_mean(self) -> tuple[float, ...]:
        return tuple(total / self.count for total in self.sums)

    @property
    def channel_std(self) -> tuple[float, ...]:
        return tuple(
            max(square / self.count - mean**2, 0.0) ** 0.5
            for square, mean in zip(self.squares, self.channel_mean, strict=True)
        )

    @property
    def mean(self) -> float:
        """Over all channels."""
        return sum(self.sums) / (self.count * len(self.sums))

    @property
    def std(self) -> float:
        """Over all channels, about their common mean."""
        return max(sum(self.squares) / (self.count * len(self.sums)) - self.mean**2, 0.0) ** 0.5


def listed(values: Sequence[float]) -> str:
    """Numbers of channels as a sentence has them; of several that are alike, one."""
    return ", ".join(f"{value:.5g}" for value in dict.fromkeys(values))
