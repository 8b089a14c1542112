"""Captioned pictures for tests: coloured squares and circles, each named by what it shows."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np

from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import TextInput

COLOURS = {"red": (200, 30, 40), "green": (30, 180, 60), "blue": (40, 60, 210)}
SHAPES = ("square", "circle")


def small_space(
    *texts: TextInput, channels: int = 4, latent_size: int = 8, name: str = "small", rope_theta: float = 100.0
) -> SearchSpace:
    """A space of a few sub-DiTs that is in no registry."""
    point = SubDiTSpec(name, 16, (1, 2, 1), (2, 2, 2), (4, 4), (1, 1), 2)
    return SearchSpace(
        name=name,
        latent_size=latent_size,
        latent_channels=channels,
        patch_size=2,
        widths=(16,),
        depths=((1,), (2,), (1,)),
        ffn_ratios=((2,), (2,), (2,)),
        bna_blocks=(4,),
        bna_radii=(1,),
        kv_compressions=(2,),
        head_dim=8,
        full_heads=2,
        kv_heads=1,
        text_inputs=texts or (TextInput("clip", 16, 12),),
        text_width=16,
        time_width=16,
        rope_theta=rope_theta,
        named={"full": point},
    )


def draw(number: int, size: tuple[int, int] = (16, 16)) -> tuple[np.ndarray, str]:
    """Picture (height, width, 3) number so and so, and its caption; no two are alike."""
    width, height = size
    rng = np.random.default_rng(number)
    colour = list(COLOURS)[number % 3]
    shape = SHAPES[number // 3 % 2]
    grid_y, grid_x = np.mgrid[:height, :width]
    centre = (height * rng.uniform(0.35, 0.65), width * rng.uniform(0.35, 0.65))
    radius = min(size) * rng.uniform(0.15, 0.35)
    distances = (np.abs(grid_y - centre[0]), np.abs(grid_x - centre[1]))
    inside = np.maximum(*distances) < radius if shape == "square" else np.hypot(*distances) < radius
    picture = np.full((height, width, 3), 250, dtype=np.uint8)
    picture[inside] = COLOURS[colour]
    picture[0, 0] = (number % 256, number // 256, 0)
    return picture, f"a {colour} {shape} word{number % 30}"


def encode_file(picture: np.ndarray, format: str = "PNG") -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, format=format)
    return file.getvalue()


def write_folder(folder: Path, count: int, size: tuple[int, int] = (16, 16)) -> Path:
    """`count` pictures with a .txt file beside each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, caption = draw(number, size)
        (folder / f"{number:05d}.png").write_bytes(encode_file(picture))
        (folder / f"{number:05d}.txt").write_text(caption, encoding="utf-8")
    return folder


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG file that states a size, and holds some zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
