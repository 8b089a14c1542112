"""Samples as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from subdit.core.files import replacing
from subdit.core.origin import KEY

SCALE = 6
GAP = 6


def save_contact_sheet(
    samples: npt.NDArray[np.float32], path: Path, *, columns: int = 10, supernet: str | None = None
) -> Path:
    """Write samples (count, channels, size, size) in [-1, 1] as one PNG, `columns` to a row.

    Three channels are red, green and blue; of any other number only the first is drawn, as dark ink on white paper.
    `supernet`, the digest of the weights if it is known, is stored in the PNG's metadata.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    count, channels, height, width = samples.shape
    rows = -(-count // columns)
    shown = (1 + samples) / 2 if channels == 3 else (1 - samples[:, :1]) / 2
    cell_height, cell_width = height * SCALE + GAP, width * SCALE + GAP
    sheet = np.ones((rows * cell_height + GAP, columns * cell_width + GAP, shown.shape[1]))
    for index, image in enumerate(np.clip(shown, 0, 1).transpose(0, 2, 3, 1)):
        top, left = index // columns * cell_height + GAP, index % columns * cell_width + GAP
        sheet[top : top + height * SCALE, left : left + width * SCALE] = image.repeat(SCALE, 0).repeat(SCALE, 1)
    notes = PngInfo()
    if supernet is not None:
        notes.add_text(KEY, supernet)
    pixels = (sheet * 255).astype(np.uint8)
    with replacing(path) as temporary:
        Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(temporary, format="PNG", pnginfo=notes)
    return path
