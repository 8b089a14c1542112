"""Picture files to pixels: against plain numpy and closed forms, and what each bad file is rejected as."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL import ImageCms

from supernet.data.picture import FORMATS
from supernet.data.picture import PictureRejected
from supernet.data.picture import PictureRule
from supernet.data.picture import _formats
from supernet.data.picture import crop_box
from supernet.data.picture import load_picture
from supernet.data.picture import to_pixels
from supernet.data.picture import to_unit_range
from tests.supernet.data.pictures import png_bomb

RULE = PictureRule(size=8, channels=3)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def loaded(image: Image.Image, rule: PictureRule = RULE, format: str = "PNG", **options: object) -> np.ndarray:
    """Pixels (size, size, channels)."""
    return load_picture(saved(image, format, **options), rule).pixels.transpose(1, 2, 0)


def rejected(data: bytes, rule: PictureRule = RULE) -> str:
    with pytest.raises(PictureRejected) as caught:
        load_picture(data, rule)
    return caught.value.rejection.kind


# How a stored picture must be moved to be upright, by EXIF's orientation.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_stand_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(loaded(Image.fromarray(NOISE), exif=exif.tobytes()), UPRIGHT[orientation](NOISE))


def test_a_turned_picture_has_its_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = load_picture(saved(Image.new("RGB", (30, 10)), "JPEG", exif=exif.tobytes()), RULE)
    assert (picture.width, picture.height) == (10, 30)


def test_grey_pictures_are_grey_in_every_channel() -> None:
    grey = NOISE[..., 0]
    assert np.array_equal(loaded(Image.fromarray(grey)), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(loaded(Image.fromarray(grey), PictureRule(8, 1))[..., 0], grey)
    assert np.array_equal(loaded(Image.fromarray(grey > 127))[..., 0], np.where(grey > 127, 255, 0))


def test_colour_to_grey_is_its_luma() -> None:
    expected = NOISE @ np.array([0.299, 0.587, 0.114])
    assert np.abs(loaded(Image.fromarray(NOISE), PictureRule(8, 1))[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_keep_their_range(format: str) -> None:
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    expected = np.rint(values / 257)
    assert np.abs(loaded(Image.fromarray(values), format=format)[..., 0] - expected).max() <= 1


def test_numbers_of_unknown_range_are_rejected() -> None:
    assert rejected(saved(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")) == "unknown range of values"
    assert rejected(saved(Image.fromarray(np.ones((8, 8), np.int32)), "TIFF")) == "unknown range of values"


def test_inks_become_colours() -> None:
    """Cyan ink takes red away, and so on: (1 - ink)(1 - black)."""
    inks = RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    expected = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:]) / 255
    assert np.abs(loaded(Image.fromarray(inks, mode="CMYK"), format="TIFF") - expected).max() <= 1
    flat = np.broadcast_to(np.uint8([200, 30, 60, 40]), (16, 16, 4))
    expected = (255 - flat[0, 0, :3].astype(float)) * (255 - 40) / 255
    jpeg = loaded(Image.fromarray(flat, mode="CMYK"), format="JPEG", quality=100)
    assert np.abs(jpeg - expected).max() <= 3


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
def test_transparency_lies_over_the_background(background: tuple[int, int, int]) -> None:
    alpha = RNG.integers(0, 256, (8, 8, 1), dtype=np.uint8)
    share = alpha / 255
    rule = PictureRule(8, 3, background)
    colour = loaded(Image.fromarray(np.concatenate([NOISE, alpha], axis=2)), rule)
    assert np.abs(colour - (share * NOISE + (1 - share) * np.array(background))).max() <= 1
    grey = np.concatenate([NOISE[..., :1], alpha], axis=2)
    found = loaded(Image.fromarray(grey, mode="LA"), rule)
    assert np.abs(found - (share * NOISE[..., :1] + (1 - share) * np.array(background))).max() <= 1


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((3, 2), 1)
    found = loaded(image, PictureRule(8, 3, (1, 2, 3)), transparency=1)
    assert found[2, 3].tolist() == [1, 2, 3]
    assert found[0, 0].tolist() == [255, 0, 0]


def test_a_profile_changes_colours_where_it_is_another_one() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = loaded(Image.fromarray(NOISE), icc_profile=srgb)
    assert np.abs(same.astype(int) - NOISE).max() <= 2
    damaged = load_picture(saved(Image.fromarray(NOISE), icc_profile=b"no profile"), RULE)
    assert damaged.note == "colour profile ignored"
    assert np.array_equal(damaged.pixels.transpose(1, 2, 0), NOISE)


def test_of_several_frames_the_first_is_used_and_said() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    picture = load_picture(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), RULE)
    assert picture.note == "first frame of several"
    assert picture.pixels[:, 0, 0].tolist() == [255, 0, 0]


# Size and crop --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 24))
def test_whatever_the_size_the_middle_square_is_kept(width: int, height: int, size: int) -> None:
    ramp = np.linspace(0, 255, width)[None, :, None].repeat(height, 0).repeat(3, 2).astype(np.uint8)
    rule = PictureRule(size, 3)
    data = saved(Image.fromarray(ramp))
    if min(width, height) < size:
        assert rejected(data, rule) == "too small"
        rule = PictureRule(size, 3, upscale=True)
    picture = load_picture(data, rule)
    assert picture.pixels.shape == (3, size, size)
    assert (picture.width, picture.height) == (width, height)
    assert picture.resized == (min(width, height) != size)
    assert picture.cropped == pytest.approx(1 - min(width, height) ** 2 / (width * height))
    left, top, right, bottom = crop_box(width, height)
    assert left == width - right and top == height - bottom and right - left == bottom - top == min(width, height)
    # A ramp is as bright in the middle as on the whole.
    assert abs(picture.pixels.mean() - ramp.mean()) < 4 + 128 / width


def test_without_resizing_pixels_stay_as_they_are() -> None:
    wide = RNG.integers(0, 256, (8, 14, 3), dtype=np.uint8)
    assert np.array_equal(loaded(Image.fromarray(wide)), wide[:, 3:11])


def test_a_large_photograph_is_decoded_small_and_looks_the_same() -> None:
    ramp = np.linspace(0, 255, 1024)[None, :, None].repeat(1024, 0).repeat(3, 2).astype(np.uint8)
    found = loaded(Image.fromarray(ramp), PictureRule(16, 3), format="JPEG", quality=95)
    expected = ramp.reshape(16, 64, 16, 64, 3).mean((1, 3))
    assert np.abs(found - expected).max() <= 4


def test_numbers_and_pixels() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    numbers = to_unit_range(pixels)
    assert (numbers.min(), numbers.max()) == (-1, 1)
    assert np.array_equal(to_pixels(numbers), pixels)
    assert to_pixels(np.float32([-3, 3])).tolist() == [0, 255]


# Bad files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(10_000, 10_000), (50_000, 50_000), (2_000_000_000, 4)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_too_large_are_rejected_before_they_are_decoded(size: tuple[int, int]) -> None:
    assert rejected(png_bomb(*size)) == "too many pixels"


def test_a_file_that_holds_less_than_it_states_is_damaged() -> None:
    assert rejected(png_bomb(4000, 4000)) == "damaged"
    jpeg = saved(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
    assert rejected(jpeg[: len(jpeg) // 2]) == "damaged"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1f\x8b" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"<svg/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
    ids=["empty", "gzip", "zip", "svg", "eps"],
)
def test_other_files_are_no_pictures(data: bytes) -> None:
    assert rejected(data) == "not a picture"
    assert "EPS" not in FORMATS


def test_a_format_that_pillow_lacks_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    _formats.cache_clear()
    assert np.array_equal(loaded(Image.fromarray(NOISE)), NOISE)
    _formats.cache_clear()


@given(st.binary(max_size=60), st.integers(0, 400))
def test_noise_in_a_file_never_escapes(noise: bytes, place: int) -> None:
    good = saved(Image.fromarray(NOISE))
    place = min(place, len(good))
    try:
        picture = load_picture(good[:place] + noise + good[place + len(noise) :], RULE)
    except PictureRejected as error:
        assert error.rejection.kind
    else:
        assert picture.pixels.shape == (3, 8, 8)
