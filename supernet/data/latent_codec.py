"""The codec that made a data set's latents, opened again to turn latents back into pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from subdit.core.errors import DataError
from supernet.data.latents import LatentCodec
from supernet.data.latents import PixelCodec
from supernet.data.manifest import key_difference

PIXELS = "pixels"


def are_pixels(key: Mapping[str, Any]) -> bool:
    """Whether the latents of a data set with this key are pictures themselves."""
    return bool(key["latents"]["class"] == PIXELS)


def open_latent_codec(key: Mapping[str, Any], places: Mapping[str, str], *, vae: Path | None = None) -> LatentCodec:
    """What turns a data set's latents back into pixels.

    Args:
        key: of the data set.
        places: where its models were when it was made.
        vae: where its autoencoder lies now; None for the place where it was.

    Raises:
        DataError: the autoencoder is not there, or is another one.
    """
    latents = key["latents"]
    if are_pixels(key):
        return PixelCodec(latents["channels"])
    from supernet.data.vae import LatentConstants
    from supernet.data.vae import load_vae
    from supernet.model.placement import torch_device

    place = vae or Path(places["vae"])
    if not place.exists():
        raise DataError(f"The VAE of the latents is not at {place}; name where it lies now with --vae.")
    codec = load_vae(place, device=torch_device("auto"))
    # The data set's own, which may have been given in place of the configuration's.
    codec.constants = LatentConstants(tuple(latents["mean"]), tuple(latents["std"]))
    if difference := key_difference({"latents": codec.key}, {"latents": latents}):
        raise DataError(f"The VAE at {codec.path} is not the one of the data set: {difference}; name that with --vae.")
    return codec
