"""What judges must not have trained the autoencoder, wherever the same pictures lie."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from subdit.core.errors import DataError
from subdit.core.files import write_json
from supernet.data.encoding import encode
from supernet.data.encoding_config import EncodingConfig
from supernet.data.seen_pictures import SEEN_PICTURES
from supernet.data.seen_pictures import read_seen_pictures
from supernet.data.splits import SplitRule
from supernet.data.vae import VAE_TRAINING
from supernet.training.autoencoder import AutoencoderConfig
from supernet.training.autoencoder import train_autoencoder
from tests.supernet.data.encoding_cases import LATENTS
from tests.supernet.data.pictures import draw
from tests.supernet.data.pictures import encode_file
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.tiny_models import save_clip

CONFIG = AutoencoderConfig(factor=2, width=8, steps=2, batch_size=8, split=SplitRule(0.1, 0.2), device="cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", 40)


def test_pictures_that_judge_must_not_have_trained_it(pictures: Path, tmp_path: Path) -> None:
    train_autoencoder(pictures, tmp_path / "vae", space=LATENTS, config=CONFIG)
    text = {"clip": str(save_clip(tmp_path / "clip"))}
    for split in (SplitRule(0.1, 0.3), SplitRule(0.1, 0.2, seed=1)):
        config = EncodingConfig(split=split, device="cpu")
        with pytest.raises(DataError, match="trained with another split"):
            encode(pictures, tmp_path / "data", space=LATENTS, text=text, vae=tmp_path / "vae", config=config)


def in_tar(pictures: Path, path: Path) -> Path:
    """The same files as a WebDataset shard."""
    path.mkdir()
    with tarfile.open(path / "0.tar", "w") as tar:
        for file in sorted(pictures.iterdir()):
            tar.add(file, file.name)
    return path


def some_of(pictures: Path, path: Path) -> Path:
    """Half of the files, by other names and with other captions."""
    path.mkdir()
    for file in sorted(pictures.glob("*[02468].png")):
        shutil.copy(file, path / f"other-{file.name}")
        (path / f"other-{file.name}").with_suffix(".txt").write_text("a picture")
    return path


@pytest.mark.parametrize("copy", [shutil.copytree, in_tar, some_of], ids=lambda copy: copy.__name__)
def test_copies_of_pictures_that_judge_must_not_have_trained_it(
    copy: Callable[[Path, Path], Path], pictures: Path, tmp_path: Path
) -> None:
    """The same files elsewhere have another path and other times, but are the same pictures."""
    train_autoencoder(pictures, tmp_path / "vae", space=LATENTS, config=CONFIG)
    text = {"clip": str(save_clip(tmp_path / "clip"))}
    copy(pictures, tmp_path / "copies")
    for file in (tmp_path / "copies").iterdir():
        os.utime(file, (1, 1))

    def run(source: Path, split: SplitRule, *, vae: str = "vae", **options: bool) -> None:
        config = EncodingConfig(split=split, device="cpu", statistics_bound=9.0)
        encode(source, tmp_path / "data", space=LATENTS, text=text, vae=tmp_path / vae, config=config, **options)

    with pytest.raises(DataError, match="split (judge|validation) here, but the VAE was trained on it"):
        run(tmp_path / "copies", SplitRule(0.1, 0.3))
    with pytest.raises(DataError, match="VAE was trained on it"):
        run(tmp_path / "copies", SplitRule(0.1, 0.2, seed=1), force=True)
    # Nor where it stands as the autoencoder of a pipeline.
    shutil.copytree(tmp_path / "vae", tmp_path / "pipeline" / "vae")
    with pytest.raises(DataError, match="VAE was trained on it"):
        run(tmp_path / "copies", SplitRule(0.1, 0.3), vae="pipeline", force=True)
    run(tmp_path / "copies", CONFIG.split, force=True)


def test_other_pictures_may_judge_whatever_trained_it(pictures: Path, tmp_path: Path) -> None:
    train_autoencoder(pictures, tmp_path / "vae", space=LATENTS, config=CONFIG)
    others = tmp_path / "others"
    others.mkdir()
    for number in range(100, 130):
        picture, caption = draw(number)
        (others / f"{number}.png").write_bytes(encode_file(picture))
        (others / f"{number}.txt").write_text(caption)
    config = EncodingConfig(split=SplitRule(0.2, 0.4, seed=1), device="cpu", statistics_bound=9.0)
    text = {"clip": str(save_clip(tmp_path / "clip"))}
    manifest = encode(others, tmp_path / "data", space=LATENTS, text=text, vae=tmp_path / "vae", config=config)
    assert manifest.count("judge") > 5


@pytest.mark.parametrize("damage", [b"", b"x" * 200, "pickle", "order"], ids=str)
def test_a_damaged_list_of_pictures_is_refused(damage: bytes | str, pictures: Path, tmp_path: Path) -> None:
    train_autoencoder(pictures, tmp_path / "vae", space=LATENTS, config=CONFIG)
    file = tmp_path / "vae" / SEEN_PICTURES
    if isinstance(damage, bytes):
        file.write_bytes(damage)
    elif damage == "pickle":
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    else:
        np.save(file, np.load(file)[::-1])
    with pytest.raises(DataError, match="list of pictures .* is damaged"):
        read_seen_pictures(file)


def test_a_damaged_record_of_its_training_is_refused(pictures: Path, tmp_path: Path) -> None:
    train_autoencoder(pictures, tmp_path / "vae", space=LATENTS, config=CONFIG)
    write_json(tmp_path / "vae" / VAE_TRAINING, {"source": []})
    text = {"clip": str(save_clip(tmp_path / "clip"))}
    with pytest.raises(DataError, match="record .* of the VAE's training is damaged"):
        encode(pictures, tmp_path / "data", space=LATENTS, text=text, vae=tmp_path / "vae")
