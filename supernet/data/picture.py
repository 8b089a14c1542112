"""One picture file to the pixels that are encoded: upright, 8 bits, over a background, resized and cropped.

Files come from strangers: formats are few, sizes are looked at before anything is decoded, and what fails is a
`PictureRejected` with its kind.
"""

from __future__ import annotations

import contextlib
import io
import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from supernet.data.source import Rejection

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What Pillow may decode. Others, such as EPS, run programs or are of no use."""

MAX_FILE_BYTES = 1 << 28
MOST_MEGAPIXELS = 178
"""Pillow takes what is larger than that for a bomb, whatever a rule says."""

LARGE_PIXELS = 8_000_000
_LARGE = threading.Lock()
"""Held while a picture of more than `LARGE_PIXELS` is decoded: of several at a time each takes up to a gigabyte."""
_BLOCK_BYTES = 1 << 26
"""In which Pillow asks for memory; smaller blocks, its 16 MiB among them, stay with each thread that had one."""


class PictureRejected(Exception):
    """A picture that cannot be used; `rejection` says why."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.rejection = Rejection(kind, detail)


@dataclass(frozen=True)
class PictureRule:
    """How a picture file becomes pixels.

    Attributes:
        size: side of the square in pixels; the shorter side of the picture is resized to it, the longer one cropped.
        channels: 3 for RGB, 1 for grey.
        background: red, green and blue, 0 to 255, where a picture is transparent.
        upscale: whether pictures with a shorter side below `size` are enlarged; where not, they are rejected.
        max_pixels: width times height of the largest picture that is decoded.
    """

    size: int
    channels: int
    background: tuple[int, int, int] = (255, 255, 255)
    upscale: bool = False
    max_pixels: int = 64_000_000


@dataclass(frozen=True)
class Picture:
    """Pixels (channels, size, size), and what was done to the file's picture of `width` times `height`.

    Attributes:
        resized: whether its shorter side was not `size` already.
        cropped: fraction of its area that was cut off, 0 to 1.
        note: what of the file was not used, empty where everything was.
    """

    pixels: Pixels
    width: int
    height: int
    resized: bool
    cropped: float
    note: str = ""


def load_picture(data: bytes, rule: PictureRule) -> Picture:
    """The picture in a file's bytes; raises `PictureRejected`. Pillow may warn, of large pictures or damaged EXIF."""
    if len(data) > MAX_FILE_BYTES:
        raise PictureRejected("file too large", f"{len(data):,} bytes")
    # A decoder that meets bytes of a stranger may raise anything.
    try:
        return _load(data, rule)
    except PictureRejected:
        raise
    except MemoryError as error:
        raise PictureRejected("too many pixels", "it does not fit into memory") from error
    except Exception as error:
        raise PictureRejected("damaged", f"{type(error).__name__}: {error}") from error


def _load(data: bytes, rule: PictureRule) -> Picture:
    from PIL import Image
    from PIL import UnidentifiedImageError

    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        raise PictureRejected("not a picture", "its bytes are of no known format") from error
    except Image.DecompressionBombError as error:
        raise PictureRejected("too many pixels", str(error)) from error
    if image.width * image.height > rule.max_pixels:
        raise PictureRejected("too many pixels", f"{image.width}x{image.height}")
    if min(image.size) < rule.size and not rule.upscale:
        raise PictureRejected("too small", f"{image.width}x{image.height}")
    size = image.size
    # A JPEG is decoded at half, a quarter or an eighth of its size where that is still more than enough.
    image.draft(None, (2 * rule.size, 2 * rule.size))
    with _LARGE if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
        return _decoded(image, size, rule)


def _decoded(image: Image.Image, size: tuple[int, int], rule: PictureRule) -> Picture:
    """The pixels of an opened picture, whose width and height in the file are `size`."""
    from PIL import Image
    from PIL import ImageOps

    note = "first frame of several" if getattr(image, "n_frames", 1) > 1 else ""
    file_format, profile = image.format, image.info.get("icc_profile")
    # In place, as a copy is made otherwise, of upright pictures, too.
    ImageOps.exif_transpose(image, in_place=True)
    width, height = size if (image.width < image.height) == (size[0] < size[1]) else size[::-1]
    shorter = min(size)
    image = _over_background(_eight_bits(image, file_format), rule.background)
    left, top, right, bottom = crop_box(image.width, image.height)
    if (rule.size, rule.size) != image.size:
        image = image.resize((rule.size, rule.size), Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    image, ignored = _standard_rgb(image, profile)
    image = image.convert("RGB" if rule.channels == 3 else "L")
    pixels = np.asarray(image, dtype=np.uint8).reshape(rule.size, rule.size, rule.channels).transpose(2, 0, 1)
    cropped = 1 - shorter**2 / (width * height)
    notes = "; ".join(filter(None, (note, ignored)))
    return Picture(np.ascontiguousarray(pixels), width, height, shorter != rule.size, cropped, notes)


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with; asked for before the first picture, it sets Pillow up."""
    from PIL import Image

    Image.core.set_block_size(_BLOCK_BYTES)  # type: ignore[attr-defined]
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def crop_box(width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the centred square whose side is the shorter one of the picture."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _eight_bits(image: Image.Image, file_format: str | None) -> Image.Image:
    """Modes of 16 bits and of indices as 8 bits; raises `PictureRejected` where the range of values is unknown."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        # Pillow would cut off at 255. In place, since each copy of a large picture takes a quarter of a gigabyte.
        values = np.asarray(image).astype(np.uint32)
        values += 128
        values //= 257
        return Image.fromarray(np.minimum(values, 255, out=values).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise PictureRejected("unknown range of values", f"mode {image.mode}")
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("L", "RGB") and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("PA", "LA", "La", "RGBa"):
        return image.convert("RGBA")
    if image.mode not in ("L", "RGB", "RGBA", "CMYK"):
        return image.convert("RGB")
    return image


def _over_background(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    from PIL import Image

    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")


def _standard_rgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """The picture in sRGB where it carries another colour profile, and a note where that one is of no use."""
    from PIL import ImageCms

    if not profile:
        return image, ""
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if converted is not None:
            return converted, ""
    return image, "colour profile ignored"


def to_unit_range(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Pixels 0 to 255 as numbers -1 to 1."""
    return pixels.astype(np.float32) / np.float32(127.5) - 1


def to_pixels(values: npt.NDArray[np.float32]) -> Pixels:
    """Numbers -1 to 1 as pixels, the reverse of `to_unit_range`; what lies beyond is cut off."""
    return np.rint((values.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
