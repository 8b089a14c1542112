"""Which pictures an autoencoder was trained on, known by the bytes of their files wherever these lie.

What judges must not have trained it. A copy of a folder, a part of it, or its files in a .tar are the same pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from subdit.core.errors import DataError
from subdit.core.files import replacing

SEEN_PICTURES = "subdit_vae_pictures.npy"
"""Beside an autoencoder that `data train-vae` made: keys of what it was trained on, uint64 (count,), ascending."""


def picture_key(file_sha256: str) -> int:
    """64 bits of the digest of a picture file."""
    return int(file_sha256[:16], 16)


class SeenPictures:
    """Pictures that a model was trained on."""

    def __init__(self, keys: npt.NDArray[np.uint64]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, file_sha256: str) -> bool:
        key = np.uint64(picture_key(file_sha256))
        place = int(np.searchsorted(self._keys, key))
        return place < len(self._keys) and bool(self._keys[place] == key)


def write_seen_pictures(path: Path, digests: Iterable[str]) -> Path:
    """Write the keys of pictures by the digests of their files."""
    keys = np.unique(np.fromiter(map(picture_key, digests), dtype=np.uint64))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, keys, allow_pickle=False)
    return path


def read_seen_pictures(path: Path) -> SeenPictures:
    """The pictures whose keys lie in a file; raises `DataError` where it is damaged."""
    try:
        keys = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"The list of pictures {path} is damaged ({error}); train the VAE again.") from error
    if not isinstance(keys, np.ndarray) or keys.dtype != np.uint64 or keys.ndim != 1 or (keys[1:] <= keys[:-1]).any():
        raise DataError(f"The list of pictures {path} is damaged (it is no ascending list); train the VAE again.")
    return SeenPictures(keys)
