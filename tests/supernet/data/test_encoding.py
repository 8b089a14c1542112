"""`data encode`: what is written, and what does not fit."""

from __future__ import annotations

import json
import math
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from subdit.core.errors import DataError
from subdit.space import rename_space
from subdit.space import space_to_yaml
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.data.encoding import encode
from supernet.data.encoding_config import EncodingConfig
from supernet.data.manifest import REJECTED
from supernet.data.manifest import read_manifest
from supernet.data.splits import SPLITS
from supernet.data.splits import SplitRule
from supernet.data.summary import counts
from tests.supernet.data.encoding_cases import CONFIG
from tests.supernet.data.encoding_cases import COUNT
from tests.supernet.data.encoding_cases import LATENTS
from tests.supernet.data.encoding_cases import PIXELS
from tests.supernet.data.encoding_cases import made
from tests.supernet.data.pictures import draw
from tests.supernet.data.pictures import encode_file
from tests.supernet.data.pictures import png_bomb
from tests.supernet.data.pictures import write_folder


def test_each_picture_is_there_with_its_caption(models: Path, pictures: Path, tmp_path: Path) -> None:
    manifest = made(models, pictures, tmp_path / "data")
    data_set = EncodedDataSet(tmp_path / "data")
    data_set.verify()
    found = {}
    for split in SPLITS:
        rows = range(data_set.count(split))
        for record, latents in zip(data_set.records(split, rows), data_set.read(split, rows).latents, strict=True):
            found[record.id] = (record.caption, np.rint((latents.numpy() + 1) * 127.5).astype(np.uint8))
    assert len(found) == COUNT
    for number in range(COUNT):
        picture, caption = draw(number)
        assert found[f"{number:05d}.png"][0] == caption
        assert np.abs(found[f"{number:05d}.png"][1].transpose(1, 2, 0).astype(int) - picture).max() <= 1
    assert [shard.examples for shard in manifest.shards] == [13, 13, 13, 13, 8]
    assert read_manifest(tmp_path / "data") == manifest
    plain = tmp_path / "plain"
    plain.touch()
    for file in (tmp_path / "data").rglob("*.*"):
        assert file.stat().st_mode == plain.stat().st_mode or file.name == ".lock", "read by whom any file is read"
    assert sum(manifest.count(split) for split in SPLITS) == COUNT


def test_statistics_are_those_of_the_split_train(models: Path, pictures: Path, tmp_path: Path) -> None:
    manifest = made(models, pictures, tmp_path / "data", replace(CONFIG, dtype="float32"))
    data_set = EncodedDataSet(tmp_path / "data")
    latents = data_set.read("train", range(data_set.count("train"))).latents
    assert manifest.statistics.mean == pytest.approx(latents.mean().item(), rel=1e-5)
    np.testing.assert_allclose(manifest.statistics.channel_std, latents.std((0, 2, 3), correction=0), rtol=1e-4)


def test_the_manifest_has_every_key_that_a_cache_is_refused_by(models: Path, pictures: Path, tmp_path: Path) -> None:
    text = {"clip": str(models / "clip")}
    config = replace(CONFIG, statistics_bound=5.0, licence="CC0", templates={"clip": "a picture of {}"})
    key = encode(pictures, tmp_path / "data", space=LATENTS, text=text, vae=models / "vae", config=config).key
    assert (key["picture"]["size"], key["picture"]["crop"], key["picture"]["background"]) == (16, "centre", [255] * 3)
    assert key["latents"]["class"] == "AutoencoderKL"
    assert key["latents"]["mean"] == [0.1] * 4 and key["latents"]["std"] == pytest.approx([1 / 1.5] * 4)
    assert (key["text"]["clip"]["template"], key["text"]["clip"]["tokens"]) == ("a picture of {}", 12)
    assert len(key["latents"]["weights"]) == len(key["text"]["clip"]["weights"]) == 16
    assert key["source"]["licence"] == "CC0"
    assert len(key["source"]["fingerprint"]) == 16


def test_copies_of_a_picture_are_in_one_split(models: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 40)
    for number in range(40):
        (folder / f"copy-{number:05d}.png").write_bytes(encode_file(draw(number)[0]))
        (folder / f"copy-{number:05d}.txt").write_text("a copy")
    made(models, folder, tmp_path / "data", replace(CONFIG, split=SplitRule(0.2, 0.3)))
    data_set = EncodedDataSet(tmp_path / "data")
    for split in SPLITS:
        ids = {record.id for record in data_set.records(split, range(data_set.count(split)))}
        assert {f"copy-{name}" for name in ids if "copy" not in name} == {name for name in ids if "copy" in name}


def test_groups_by_a_column_are_in_one_split(models: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", COUNT)
    lines = [
        {"file_name": f"{number:05d}.png", "text": draw(number)[1], "artist": f"artist {number % 17}", "rights": "MIT"}
        for number in range(COUNT)
    ]
    lines[5].pop("artist")
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = replace(CONFIG, split=SplitRule(0.2, 0.3, group_by="artist"), licence_column="rights")
    manifest = made(models, folder, tmp_path / "data", config)
    data_set = EncodedDataSet(tmp_path / "data")
    groups = {
        split: {record.columns["artist"] for record in data_set.records(split, range(data_set.count(split)))}
        for split in SPLITS
    }
    assert sum(map(len, groups.values())) == 17 == len(set().union(*groups.values()))
    assert manifest.total("rejected") == {"no group": 1}
    assert manifest.total("licences") == {"MIT": COUNT - 1}


def test_what_cannot_be_used_is_counted_by_kind_and_listed(models: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "00003.txt").unlink()
    (pictures / "00004.txt").write_text(" \n ")
    (pictures / "00005.txt").write_bytes(b"caf\xe9")
    (pictures / "00006.png").write_bytes(b"\x1f\x8b\x08 no picture")
    (pictures / "00007.png").write_bytes(png_bomb(10_000, 10_000))
    (pictures / "00008.png").write_bytes((pictures / "00008.png").read_bytes()[:60])
    (pictures / "00009.png").write_bytes(encode_file(draw(9, (16, 15))[0]))
    (pictures / "00010.png").write_bytes(encode_file(draw(10, (32, 24))[0]))
    (pictures / "00011.txt").write_text("a " * 30)
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(pictures / "00012.png")
    manifest = made(models, pictures, tmp_path / "data")
    assert manifest.total("rejected") == {
        "caption not UTF-8": 1,
        "damaged": 1,
        "no caption": 2,
        "not a picture": 1,
        "too many pixels": 1,
        "too small": 1,
    }
    listed = [json.loads(line) for line in (tmp_path / "data" / REJECTED).read_text().splitlines()]
    assert [line["id"] for line in listed] == [f"{number:05d}.png" for number in range(3, 10)]
    assert listed[4] == {"id": "00007.png", "kind": "too many pixels", "detail": "10000x10000"}
    told = counts(manifest)
    assert (told["resized"], told["cropped"]) == (1, 1)
    assert told["mean_cropped_area"] == pytest.approx(0.25)
    assert told["truncated_captions"] == {"clip": 1}
    assert sum(told["splits"].values()) + sum(told["rejected"].values()) == told["examples"] == COUNT


def test_file_names_that_are_not_utf_8_are_kept(models: Path, pictures: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (pictures / "00001.png").rename(pictures / f"{name}.png")
    (pictures / "00001.txt").rename(pictures / f"{name}.txt")
    (pictures / "00002.png").rename(pictures / f"{name}-2.png")
    made(models, pictures, tmp_path / "data")
    data_set = EncodedDataSet(tmp_path / "data")
    data_set.verify()
    ids = {record.id for split in SPLITS for record in data_set.records(split, range(data_set.count(split)))}
    assert f"{name}.png" in ids
    (rejected,) = (tmp_path / "data" / REJECTED).read_text().splitlines()
    assert json.loads(rejected)["id"] == f"{name}-2.png"


def test_a_stretch_of_the_source_may_have_nothing_to_use(models: Path, pictures: Path, tmp_path: Path) -> None:
    for number in range(13, 26):
        (pictures / f"{number:05d}.png").write_bytes(b"no picture")
    manifest = made(models, pictures, tmp_path / "data")
    assert sum(manifest.shards[1].rows.values()) == 0
    data_set = EncodedDataSet(tmp_path / "data")
    data_set.verify()
    assert sum(len(data_set.read(split, range(data_set.count(split)))) for split in SPLITS) == COUNT - 13


# What does not fit ----------------------------------------------------------------------------------------------------


def test_models_that_the_space_does_not_take_are_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    clip = str(models / "clip")
    cases: list[tuple[dict[str, object], str]] = [
        ({"space": LATENTS, "text": {"clip": clip}}, "name the VAE that makes them with --vae"),
        ({"space": PIXELS, "text": {"clip": clip}, "vae": models / "vae"}, "makes latents of 4 channels"),
        ({"space": PIXELS, "text": {}}, "--text clip=PATH"),
        ({"space": PIXELS, "text": {"clip": clip, "t5": clip}}, "no text input 't5'"),
    ]
    for options, said in cases:
        with pytest.raises(DataError, match=said):
            encode(pictures, tmp_path / "data", config=CONFIG, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "data").exists()


def test_sources_without_anything_to_use_are_refused(models: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 5, (12, 12))
    with pytest.raises(DataError, match="None of the 5 pictures .*5 too small.* 16 pixels per side"):
        made(models, folder, tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()
    assert len((tmp_path / "data" / REJECTED).read_text().splitlines()) == 5
    few = write_folder(tmp_path / "few", 2)
    with pytest.raises(DataError, match="The split .* has none of the"):
        made(models, few, tmp_path / "other")


def test_a_space_file_is_a_space(models: Path, pictures: Path, tmp_path: Path) -> None:
    space = rename_space(LATENTS, "of-a-file")
    file = tmp_path / "space.yaml"
    file.write_text(space_to_yaml(space))
    text = {"clip": str(models / "clip")}
    of_file = encode(pictures, tmp_path / "one", space=file, text=text, vae=models / "vae", config=CONFIG)
    of_space = encode(pictures, tmp_path / "two", space=space, text=text, vae=models / "vae", config=CONFIG)
    assert of_file.digest == of_space.digest


def test_sources_without_examples_are_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w"):
        pass
    with pytest.raises(DataError, match="no pictures in .*shards; put pictures there"):
        made(models, tmp_path / "shards", tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "int8"}, "cannot be stored as 'int8'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_megapixels": -1}, "max_m"),
        ({"max_megapixels": math.inf}, "max_megapixels is inf"),
        ({"max_megapixels": math.nan}, "max_megapixels is nan"),
        ({"max_megapixels": 200.0}, "Pillow decodes 178 at most"),
        ({"scaling_factor": 0.0}, "scaling_factor is 0.0"),
        ({"scaling_factor": math.nan}, "scaling_factor is nan"),
        ({"shift_factor": math.inf}, "shift_factor is inf"),
        ({"statistics_bound": math.nan}, "statistics_bound is nan"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        EncodingConfig(**options)  # type: ignore[arg-type]


def test_numbers_too_large_for_the_dtype_are_refused() -> None:
    from supernet.data.shards import to_dtype

    large = np.float32([1e5])
    with pytest.raises(DataError, match="--dtype bfloat16"):
        to_dtype(large, "float16")
    assert to_dtype(large, "bfloat16").item() == pytest.approx(1e5, rel=1e-2)
    for value in (np.nan, np.inf):
        with pytest.raises(DataError, match="weights are whole"):
            to_dtype(np.float32([1, value]), "bfloat16")
