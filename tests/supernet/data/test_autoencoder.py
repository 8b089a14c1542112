"""`data train-vae`: small autoencoders that learn, are normalised, go on exactly, and have not seen what judges."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.files import write_json
from subdit.core.progress import no_progress
from subdit.space import TextInput
from supernet.data.encoding import encode
from supernet.data.encoding_config import EncodingConfig
from supernet.data.picture import PictureRule
from supernet.data.preparation import write_split_pixels
from supernet.data.sources import open_source
from supernet.data.splits import SplitRule
from supernet.data.vae import VAE_TRAINING
from supernet.data.vae import LatentConstants
from supernet.data.vae import load_vae
from supernet.training import autoencoder
from supernet.training.autoencoder import AutoencoderConfig
from supernet.training.autoencoder import make_autoencoder
from supernet.training.autoencoder import train_autoencoder
from tests.supernet.data.encoding_cases import KillAtRemoval
from tests.supernet.data.encoding_cases import Stop
from tests.supernet.data.encoding_cases import stopping_after
from tests.supernet.data.pictures import small_space
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.tiny_models import save_clip

SPACE = small_space(TextInput("clip", 16, 12), channels=4, latent_size=8)
CONFIG = AutoencoderConfig(
    factor=2, width=8, steps=40, batch_size=8, learning_rate=3e-3, split=SplitRule(0.1, 0.2), device="cpu"
)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", 40)


@pytest.mark.parametrize("kind", ["tiny", "kl"])
def test_latents_that_it_makes_can_be_trained_on(kind: str, pictures: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, kind=kind)
    first = train_autoencoder(pictures, tmp_path / "one", space=SPACE, config=replace(config, steps=1))
    record = train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config)
    assert record["validation_psnr_db"] > first["validation_psnr_db"] + 1
    assert sorted(file.name for file in (tmp_path / "vae").iterdir()) == [
        ".lock",
        "config.json",
        WEIGHTS,
        "subdit_vae.json",
        "subdit_vae_pictures.npy",
    ]
    codec = load_vae(tmp_path / "vae", device=torch.device("cpu"))
    assert (codec.factor, codec.latent_channels) == (2, 4)
    std, mean = record["latents"]["std"], record["latents"]["mean"]
    assert codec.constants.std == pytest.approx((std,) * 4) and codec.constants.mean == pytest.approx((mean,) * 4)
    manifest = encode(
        pictures,
        tmp_path / "data",
        space=SPACE,
        text={"clip": str(save_clip(tmp_path / "clip"))},
        vae=tmp_path / "vae",
        config=EncodingConfig(split=config.split, device="cpu", dtype="float32"),
    )
    assert manifest.statistics.mean == pytest.approx(0, abs=1e-3)
    assert manifest.statistics.std == pytest.approx(1, abs=1e-3)


def test_stopped_anywhere_it_ends_the_same(pictures: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=6, save_every_s=0.0)
    train_autoencoder(pictures, tmp_path / "whole", space=SPACE, config=config)
    # Within the decoding of 40 pictures, after two steps, and after one or two more.
    for calls in (20, 42, 1):
        with pytest.raises(Stop):
            train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config, progress=stopping_after(calls))
    train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config)
    whole, stopped = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "vae"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_killed_before_its_record_is_written_it_is_not_lost(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = replace(CONFIG, steps=3), tmp_path / "vae"

    def killed(path: Path, value: object) -> Path:
        if path == out / VAE_TRAINING:
            raise Stop
        return write_json(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(autoencoder, "write_json", killed)
        with pytest.raises(Stop):
            train_autoencoder(pictures, out, space=SPACE, config=config)
    assert not (out / "config.json").exists()
    train_autoencoder(pictures, out, space=SPACE, config=config)
    assert load_vae(out, device=torch.device("cpu")).factor == 2


def test_a_replacement_that_was_stopped_is_gone_on_with(kill: KillAtRemoval, pictures: Path, tmp_path: Path) -> None:
    """Whichever file of the replaced one is the last to be removed, and without asking for a replacement again."""
    config, other = replace(CONFIG, steps=2), replace(CONFIG, steps=3, width=16, upscale=True)
    train_autoencoder(pictures, tmp_path / "whole", space=SPACE, config=config)
    train_autoencoder(pictures, tmp_path / "finished", space=SPACE, config=other)
    with pytest.raises(Stop):
        other = replace(other, save_every_s=0.0)
        train_autoencoder(pictures, tmp_path / "begun", space=SPACE, config=other, progress=stopping_after(42))
    whole = (tmp_path / "whole" / WEIGHTS).read_bytes()
    for name, removed in (("finished", 3), ("begun", 3)):
        stops = 0
        while True:
            out = tmp_path / f"{name}-{stops}"
            shutil.copytree(tmp_path / name, out)
            with contextlib.suppress(Stop), kill.at(stops, out):
                options = {"space": SPACE, "config": config, "force": True, "progress": stopping_after(0)}
                train_autoencoder(pictures, out, **options)  # type: ignore[arg-type]
            train_autoencoder(pictures, out, space=SPACE, config=config)
            assert (out / WEIGHTS).read_bytes() == whole
            if kill.left >= 0:
                break
            stops += 1
        assert stops > removed


def test_the_same_command_goes_on_also_where_it_replaces(pictures: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=6, save_every_s=0.0)
    train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config)
    whole = (tmp_path / "vae" / WEIGHTS).read_bytes()
    with pytest.raises(Stop):
        options = {"space": SPACE, "config": config, "force": True, "progress": stopping_after(43)}
        train_autoencoder(pictures, tmp_path / "vae", **options)  # type: ignore[arg-type]
    seen: list[str] = []
    train_autoencoder(
        pictures, tmp_path / "vae", space=SPACE, config=config, force=True, progress=lambda *told: seen.append(told[2])
    )
    assert "decoding pictures" not in seen
    assert (tmp_path / "vae" / WEIGHTS).read_bytes() == whole


@pytest.mark.parametrize("damage", ["", "[]", "[" * 100_000], ids=len)
def test_a_damaged_record_of_what_was_begun_is_replaced_by_force_alone(
    damage: str, pictures: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, steps=1)
    with pytest.raises(Stop):
        train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config, progress=stopping_after(20))
    (tmp_path / "vae" / "work" / VAE_TRAINING).write_text(damage)
    with pytest.raises(RunError, match="begun autoencoder at .* is damaged"):
        train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config)
    train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config, force=True)


def test_what_a_killed_one_was_writing_is_removed(pictures: Path, tmp_path: Path) -> None:
    left = tmp_path / "work" / ".train.u8.x.tmp"
    left.parent.mkdir()
    left.write_bytes(b"x")
    rule = PictureRule(size=16, channels=3)
    write_split_pixels(open_source(pictures), rule, SplitRule(), left.parent, progress=no_progress)
    assert sorted(file.name for file in left.parent.iterdir()) == ["saved", "train.u8", "validation.u8"]
    assert [file.name for file in (left.parent / "saved").iterdir()] == ["subdit_vae_pictures.npy"]


def test_another_training_and_a_finished_one_are_refused(pictures: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=3)
    with pytest.raises(Stop):
        train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config, progress=stopping_after(41))
    with pytest.raises(DataError, match="training seed 0, not 1"):
        train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=replace(config, seed=1))
    train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=replace(config, seed=1), force=True)
    with pytest.raises(DataError, match="holds an autoencoder"):
        train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=config)


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
@pytest.mark.parametrize("kind", ["tiny", "kl"])
def test_every_factor_is_what_it_says(kind: str, factor: int) -> None:
    from supernet.data.vae import VaeCodec

    model = make_autoencoder(replace(CONFIG, kind=kind, factor=factor), latent_channels=6)
    codec = VaeCodec(model, path=Path(), device=torch.device("cpu"), constants=LatentConstants((0.0,) * 6, (1.0,) * 6))
    assert (codec.factor, codec.latent_channels) == (factor, 6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "vq"}, "no autoencoder kind"),
        ({"factor": 6}, "no power of two"),
        ({"width": 12}, "multiple of 8"),
        ({"width": 0}, "multiple of 8"),
        ({"max_megapixels": float("inf")}, "max_megapixels is inf"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_autoencoders_that_cannot_be_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        AutoencoderConfig(**options)  # type: ignore[arg-type]


def test_without_pictures_nothing_is_trained(tmp_path: Path) -> None:
    pictures = write_folder(tmp_path / "pictures", 3, (8, 8))
    with pytest.raises(DataError, match="lies in the source"):
        train_autoencoder(pictures, pictures / "vae", space=SPACE, config=CONFIG)
    with pytest.raises(DataError, match="None of the 3 pictures .*3 too small.* lower --factor"):
        train_autoencoder(pictures, tmp_path / "vae", space=SPACE, config=CONFIG)
