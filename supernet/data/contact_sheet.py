"""Pictures of a data set side by side, decoded back from its latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from subdit.core.errors import DataError
from subdit.core.files import replacing
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.data.latent_codec import are_pixels
from supernet.data.latent_codec import open_latent_codec
from supernet.data.latents import LatentCodec
from supernet.data.manifest import Manifest
from supernet.data.picture import Pixels

GAP = 4
PAPER = 255
DECODED_AT_ONCE = 4


def manifest_codec(manifest: Manifest, *, vae: Path | None = None) -> LatentCodec:
    """What turns a data set's latents back into pixels; raises `DataError` where it is not there or another one.

    `vae` is where its autoencoder lies now, None for where it was when the data set was made.
    """
    if vae is not None and are_pixels(manifest.key):
        raise DataError(f"The data set's latents are pixels, so that the VAE at {vae} made none of them; leave it out.")
    return open_latent_codec(manifest.key, manifest.places, vae=vae)


def decoded_pictures(data_set: EncodedDataSet, codec: LatentCodec, split: str, rows: Sequence[int]) -> Pixels:
    """Pixels (count, channels, size, size) of rows."""
    # Decoded all at once, large pictures do not fit into memory.
    starts = range(0, max(len(rows), 1), DECODED_AT_ONCE)
    parts = [data_set.read(split, rows[start : start + DECODED_AT_ONCE]).latents.numpy() for start in starts]
    return np.concatenate([codec.decode(part) for part in parts])


def write_contact_sheet(pixels: Pixels, path: Path) -> Path:
    """Write pictures (count, 1 or 3 channels, size, size) as one PNG, about as wide as it is high."""
    from PIL import Image

    count, _, height, width = pixels.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), PAPER, dtype=np.uint8)
    for index, picture in enumerate(pixels):
        top, left = index // columns * (height + GAP) + GAP, index % columns * (width + GAP) + GAP
        sheet[top : top + height, left : left + width] = picture.transpose(1, 2, 0)
    with replacing(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")
    return path
