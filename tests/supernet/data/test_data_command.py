"""`subdit data` as a user meets it: what it prints, and one sentence and exit code 2 for what is bad."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result
from PIL import Image

from subdit.cli import group
from subdit.cli._data import command
from subdit.cli._numbers import FiniteRange
from subdit.space import TextInput
from subdit.space import space_to_yaml
from supernet.data.contact_sheet import write_contact_sheet
from supernet.data.data_set import evenly
from supernet.data.picture import MOST_MEGAPIXELS
from tests.supernet.data.pictures import png_bomb
from tests.supernet.data.pictures import small_space
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.source_cases import add
from tests.supernet.data.tiny_models import save_clip

COMMON = ["--space", "mid-256", "--device", "cpu", "--validation", "0.1", "--judge", "0.2"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["data", *map(str, arguments)])


def refused(result: Result) -> str:
    """What was said, in one sentence and without a traceback."""
    assert result.exit_code == 2, result.output
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in result.output
    return said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, an autoencoder and a CLIP for `mid-256`, and the data set of them."""
    folder = tmp_path_factory.mktemp("made")
    pictures = write_folder(folder / "pictures", 40, (72, 64))
    (pictures / "bomb.png").write_bytes(png_bomb(50_000, 50_000))
    (pictures / "bomb.txt").write_text("a bomb")
    (pictures / "large.png").write_bytes(png_bomb(10_000, 10_000))
    (pictures / "large.txt").write_text("a picture of 100 megapixels")
    (pictures / "00001.txt").write_bytes(b"caf\xe9")
    save_clip(folder / "clip", width=512, positions=77)
    options = ["--factor", 2, "--width", 8, "--steps", 2, "--batch-size", 4]
    trained = run("train-vae", pictures, *COMMON, *options, "--out", folder / "vae")
    assert trained.exit_code == 0, trained.output
    counts = json.loads((folder / "vae" / "subdit_vae.json").read_text(encoding="utf-8"))["pictures"]
    assert sum(counts.values()) < 40 and counts["train"] > counts["validation"] > 0
    assert f"Trained on {counts['train']} pictures; {counts['validation']} others come back at" in trained.stderr
    assert trained.stdout == f"{folder / 'vae'}\n"
    encoded = run("encode", pictures, *COMMON, *models(folder), "--out", folder / "data")
    assert encoded.exit_code == 0, encoded.output
    assert encoded.stdout == f"{folder / 'data'}\n"
    assert "Of 42 examples" in encoded.stderr
    assert "(split seed 0)" in encoded.stderr
    assert "Rejected: 1 caption not UTF-8, 2 too many pixels; they are listed in" in encoded.stderr
    assert "Cropped: 39 pictures, by 11% of their area on average." in encoded.stderr
    return folder


def models(folder: Path) -> list[object]:
    return ["--vae", folder / "vae", "--text", f"clip={folder / 'clip'}"]


def test_a_data_set_is_shown_with_its_pictures(made: Path, tmp_path: Path) -> None:
    shown = run("show", made / "data", "--sheet", tmp_path / "sheet.png", "--pictures", 9, "--verify")
    assert shown.exit_code == 0, shown.output
    assert "pictures of 64x64 as float16 latents of 4x32x32 by AutoencoderTiny" in shown.stdout
    for told in ("train", "rejected: too many pixels", "channel", "licence: not stated", " circle word"):
        assert told in shown.stdout
    assert Image.open(tmp_path / "sheet.png").size == (3 * 68 + 4, 3 * 68 + 4)


def test_it_is_shown_as_json(made: Path) -> None:
    shown = run("show", made / "data", "--pictures", 0, "--json")
    told = json.loads(shown.stdout)
    assert sum(told["counts"]["splits"].values()) == 39
    assert told["counts"]["examples"] == 42
    assert told["latents"]["std"] == pytest.approx(1, abs=0.05)
    assert len(told["latents"]["channel_mean"]) == 4
    assert told["key"]["text"]["clip"]["class"] == "CLIPTextModel"
    assert "contact_sheet" not in told


def test_a_vae_that_lies_elsewhere_or_is_another_one(made: Path, tmp_path: Path) -> None:
    moved = (made / "vae").rename(tmp_path / "moved")
    try:
        shown = run("show", made / "data")
        assert shown.exit_code == 0 and "rejected: too many pixels" in shown.stdout
        assert "no contact sheet. The VAE of the latents is not at" in shown.stderr and "--vae" in shown.stderr
        assert "VAE of the latents is not at" in refused(run("show", made / "data", "--sheet", tmp_path / "a.png"))
        assert run("show", made / "data", "--vae", moved, "--sheet", tmp_path / "a.png").exit_code == 0
        other = tmp_path / "other"
        pictures, options = made / "pictures", ["--factor", 2, "--width", 8, "--steps", 1, "--seed", 1]
        assert run("train-vae", pictures, *COMMON, *options, "--out", other).exit_code == 0
        assert "latents weights" in refused(run("show", made / "data", "--vae", other))
    finally:
        moved.rename(made / "vae")


def test_text_of_a_stranger_moves_no_cursor(tmp_path: Path) -> None:
    space = small_space(TextInput("clip", 16, 12), channels=3, latent_size=16)
    (tmp_path / "space.yaml").write_text(space_to_yaml(space))
    pictures = write_folder(tmp_path / "pictures", 12)
    for file in pictures.glob("*.txt"):
        file.write_text("\x1b[2J\u202ered " + "word " * 100_000)
    options = ["--space", tmp_path / "space.yaml", "--text", f"clip={save_clip(tmp_path / 'clip')}", "--device", "cpu"]
    options += ["--validation", 0, "--judge", 0, "--licence", "\x1b[31mMIT"]
    assert run("encode", pictures, *options, "--out", tmp_path / "data").exit_code == 0
    shown = run("show", tmp_path / "data")
    assert shown.exit_code == 0
    assert "\x1b" not in shown.output and "\u202e" not in shown.output
    assert "    \\x1b[2J\\u202ered word" in shown.stdout and "licence: \\x1b[31mMIT" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) < 250
    # What was not asked for is no error.
    (tmp_path / "data" / "train.png").unlink()
    (tmp_path / "data" / "train.png").mkdir()
    shown = run("show", tmp_path / "data")
    assert shown.exit_code == 0 and "there is no contact sheet" in shown.stderr and "--sheet" in shown.stderr
    assert "train.png" in refused(run("show", tmp_path / "data", "--sheet", tmp_path / "data" / "train.png"))
    assert "are pixels" in refused(run("show", tmp_path / "data", "--vae", tmp_path))


def test_what_is_finished_is_refused_and_kept(made: Path) -> None:
    before = (made / "data" / "manifest.json").read_bytes()
    said = refused(run("encode", made / "pictures", *COMMON, *models(made), "--out", made / "data"))
    assert "--force" in said
    assert (made / "data" / "manifest.json").read_bytes() == before


def test_bad_sources_get_one_sentence(made: Path, tmp_path: Path) -> None:
    def encode(source: Path) -> str:
        return refused(run("encode", source, *COMMON, *models(made), "--out", tmp_path / "out"))

    (tmp_path / "empty").mkdir()
    assert "no pictures in" in encode(tmp_path / "empty")
    assert "no pictures at" in encode(tmp_path / "nowhere")
    link, absolute = tmp_path / "link.tar", tmp_path / "absolute.tar"
    with tarfile.open(link, "w") as tar:
        add(tar, "a.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    with tarfile.open(absolute, "w") as tar:
        add(tar, "/etc/a.png", b"x")
    assert "holds the link" in encode(link)
    assert "outside it" in encode(absolute)
    captions = write_folder(tmp_path / "captions", 2)
    (captions / "metadata.csv").write_bytes(b"file_name,text\n00000.png,caf\xe9\n")
    assert "not UTF-8" in encode(captions)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--text", "clip"], "is not NAME=VALUE"),
        (["--background", "white"], "is not a colour"),
        (["--judge", "0.95"], "leave nothing to train on"),
        (["--device", "nonsense"], "Error: There is no device 'nonsense'"),
        (["--space", "nonsense"], "no search space 'nonsense'"),
    ],
)
def test_bad_options_get_one_sentence(options: list[str], said: str, made: Path, tmp_path: Path) -> None:
    arguments = ["encode", made / "pictures", *COMMON, *models(made), "--out", tmp_path / "out", *options]
    assert said in refused(run(*arguments))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e400"])
@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("encode", "--max-megapixels"),
        ("encode", "--scaling-factor"),
        ("encode", "--statistics-bound"),
        ("encode", "--validation"),
        ("encode", "--judge"),
        ("train-vae", "--max-megapixels"),
        ("train-vae", "--learning-rate"),
        ("train-vae", "--validation"),
    ],
)
def test_numbers_that_make_no_sense_get_one_sentence(
    verb: str, option: str, value: str, made: Path, tmp_path: Path
) -> None:
    given = models(made) if verb == "encode" else []
    said = refused(run(verb, made / "pictures", *COMMON, *given, "--out", tmp_path / "out", f"{option}={value}"))
    assert option in said or "leave nothing to train on" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--batch-size", "--seed", "--width", "--factor"])
def test_numbers_that_are_too_large_get_one_sentence(option: str, made: Path, tmp_path: Path) -> None:
    arguments = ["train-vae", made / "pictures", *COMMON, "--steps", 1, "--out", tmp_path / "out"]
    assert refused(run(*arguments, f"{option}={10**20}"))


@pytest.mark.parametrize("value", ["nan", "inf", "1e39"])
def test_a_shift_that_makes_no_sense_gets_one_sentence(value: str, made: Path, tmp_path: Path) -> None:
    arguments = ["encode", made / "pictures", *COMMON, *models(made), "--out", tmp_path / "out"]
    assert refused(run(*arguments, f"--shift-factor={value}"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["encode", "train-vae"])
def test_help_says_ranges_that_there_are(verb: str) -> None:
    shown = run(verb, "--help").stdout
    assert "None" not in shown
    assert shown.count("0<=x<1") == 2


@pytest.mark.parametrize("value", ["-0.1", "1"])
def test_a_fraction_lies_between_0_and_1(value: str, made: Path, tmp_path: Path) -> None:
    arguments = ["encode", made / "pictures", *COMMON, *models(made), "--out", tmp_path / "out"]
    assert "0<=x<1" in refused(run(*arguments, f"--judge={value}"))


def test_pictures_too_small_to_train_on_are_counted(made: Path, tmp_path: Path) -> None:
    arguments = ["train-vae", made / "pictures", *COMMON, "--factor", 4, "--out", tmp_path / "vae"]
    for _ in range(2):
        said = refused(run(*arguments))
        assert "None of the 42 pictures" in said and "128x128" in said and "39 too small" in said
        assert "--factor" in said and "--upscale" in said


def test_the_most_megapixels_are_those_that_pillow_decodes() -> None:
    assert MOST_MEGAPIXELS * 1e6 < 2 * (Image.MAX_IMAGE_PIXELS or 0) < (MOST_MEGAPIXELS + 1) * 1e6
    for verb in ("encode", "train-vae"):
        (option,) = [option for option in command.commands[verb].params if option.name == "max_megapixels"]
        assert isinstance(option.type, FiniteRange) and option.type.max == MOST_MEGAPIXELS


def test_a_contact_sheet_has_every_picture_in_its_place(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 6), dtype=np.uint8)
    sheet = np.asarray(Image.open(write_contact_sheet(pixels, tmp_path / "sheet.png")))
    assert sheet.shape == (24, 34, 3)
    for index, picture in enumerate(pixels):
        top, left = 4 + 10 * (index // 3), 4 + 10 * (index % 3)
        assert np.array_equal(sheet[top : top + 6, left : left + 6], picture.transpose(1, 2, 0))
    grey = write_contact_sheet(pixels[:1, :1], tmp_path / "grey.png")
    assert np.array_equal(np.asarray(Image.open(grey))[4:10, 4:10, 2], pixels[0, 0])


def test_rows_are_spread_evenly() -> None:
    assert evenly(10, 5) == [0, 2, 4, 6, 8]
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(0, 5) == []
