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
    """Write samples (count, 1, size, size) in [-1, 1] as one PNG, `columns` to a row, dark ink on white paper.

    The picture carries the digest `supernet` of the weights that drew it, where it is known.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    count, _, height, width = samples.shape
    rows = -(-count // columns)
    ink = np.clip((1 - samples[:, 0]) / 2, 0, 1)
    cell_height, cell_width = height * SCALE + GAP, width * SCALE + GAP
    sheet = np.ones((rows * cell_height + GAP, columns * cell_width + GAP))
    for at, image in enumerate(ink):
        top, left = at // columns * cell_height + GAP, at % columns * cell_width + GAP
        sheet[top : top + height * SCALE, left : left + width * SCALE] = np.kron(image, np.ones((SCALE, SCALE)))
    notes = PngInfo()
    if supernet is not None:
        notes.add_text(KEY, supernet)
    with replacing(path) as temporary:
        Image.fromarray((sheet * 255).astype(np.uint8), mode="L").save(temporary, format="PNG", pnginfo=notes)
    return path
