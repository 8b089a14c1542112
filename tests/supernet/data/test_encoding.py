"""`data encode`: what is written, that it is the same however often it was killed, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.run import Run
from subdit.space import TextInput
from supernet.data.encoded import EncodedDataSet
from supernet.data.encoding import EncodingConfig
from supernet.data.encoding import encode
from supernet.data.manifest import REJECTED
from supernet.data.manifest import Manifest
from supernet.data.manifest import key_difference
from supernet.data.manifest import read_manifest
from supernet.data.splits import SPLITS
from supernet.data.splits import SplitRule
from supernet.data.summary import counts
from supernet.data.vae import LatentConstants
from tests.supernet.data.pictures import draw
from tests.supernet.data.pictures import encode_file
from tests.supernet.data.pictures import png_bomb
from tests.supernet.data.pictures import small_space
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.tiny_models import save_clip
from tests.supernet.data.tiny_models import save_vae

ROOT = Path(__file__).parents[3]
COUNT = 60
PIXELS = small_space(TextInput("clip", 16, 12), channels=3, latent_size=16)
LATENTS = small_space(TextInput("clip", 16, 12), channels=4, latent_size=8)
CONFIG = EncodingConfig(split=SplitRule(0.1, 0.2), shard_examples=13, device="cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_clip(folder / "clip")
    save_vae(folder / "vae", "kl")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", COUNT)


def made(models: Path, pictures: Path, out: Path, config: EncodingConfig = CONFIG, **options: object) -> Manifest:
    text = {"clip": str(models / "clip")}
    return encode(pictures, out, space=PIXELS, text=text, config=config, **options)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    """All that a data set is, but where it was made."""
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    stored = json.loads(files.pop("manifest.json"))
    files.pop(".lock")
    return files | {"manifest.json": json.dumps({**stored, "places": None}).encode()}


# What is written ------------------------------------------------------------------------------------------------------


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


def test_a_stretch_of_the_source_may_have_nothing_to_use(models: Path, pictures: Path, tmp_path: Path) -> None:
    for number in range(13, 26):
        (pictures / f"{number:05d}.png").write_bytes(b"no picture")
    manifest = made(models, pictures, tmp_path / "data")
    assert sum(manifest.shards[1].rows.values()) == 0
    data_set = EncodedDataSet(tmp_path / "data")
    data_set.verify()
    assert sum(len(data_set.read(split, range(data_set.count(split)))) for split in SPLITS) == COUNT - 13


# Killed and gone on with ----------------------------------------------------------------------------------------------


class Stop(BaseException):
    """As a kill: nothing of ours catches it."""


def stopping_after(calls: int) -> object:
    left = [calls]

    def progress(done: float, total: float, note: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stop

    return progress


def test_stopped_anywhere_it_ends_the_same(models: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "00006.png").write_bytes(b"no picture")
    made(models, pictures, tmp_path / "whole")
    stops = 0
    for calls in (0, 1, 2, 1, 3, 2, 9):
        try:
            made(models, pictures, tmp_path / "stopped", progress=stopping_after(calls))
        except Stop:
            stops += 1
        else:
            break
        assert not (tmp_path / "stopped" / "manifest.json").exists()
    assert stops >= 4
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.supernet.data.test_encoding import made
models, pictures, out, calls = sys.argv[1:]
left = [int(calls)]
def progress(done, total, note):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
made(Path(models), Path(pictures), Path(out), progress=progress)
"""


@pytest.mark.parametrize("kills", [(2,), pytest.param((1, 2, 2, 1, 2), marks=pytest.mark.slow)], ids=len)
def test_killed_processes_leave_the_same_data_set(
    kills: Sequence[int], models: Path, pictures: Path, tmp_path: Path
) -> None:
    made(models, pictures, tmp_path / "whole")

    def run(calls: int) -> int:
        command = [sys.executable, "-c", KILLED, *map(str, (models, pictures, tmp_path / "killed", calls))]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path).returncode

    for calls in kills:
        assert run(calls) == -signal.SIGKILL
    assert run(10_000) == 0
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_shard_that_was_damaged_meanwhile_is_encoded_again(models: Path, pictures: Path, tmp_path: Path) -> None:
    made(models, pictures, tmp_path / "whole")
    with pytest.raises(Stop):
        made(models, pictures, tmp_path / "data", progress=stopping_after(4))
    shard = tmp_path / "data" / "shards" / "000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    made(models, pictures, tmp_path / "data")
    assert content(tmp_path / "data") == content(tmp_path / "whole")


PEAK = """
import resource, sys
from pathlib import Path
from dataclasses import replace
from tests.supernet.data.test_encoding import CONFIG
from subdit.space import TextInput
from supernet.data.encoding import encode
from tests.supernet.data.pictures import small_space
clip, pictures, out = sys.argv[1:]
space = small_space(TextInput("clip", 16, 12), channels=3, latent_size=128)
config = replace(CONFIG, dtype="float32", shard_examples=40)
encode(Path(pictures), Path(out), space=space, text={"clip": clip}, config=config)
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_source(models: Path, tmp_path: Path) -> None:
    peaks_mb = []
    for count in (80, 720):
        pictures = write_folder(tmp_path / f"pictures-{count}", count, (128, 128))
        command = [sys.executable, "-c", PEAK, *map(str, (models / "clip", pictures, tmp_path / f"data-{count}"))]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        peaks_mb.append(float(ran.stdout.split("PEAK")[1]))
    # The larger one has 120 MB more latents.
    assert peaks_mb[1] - peaks_mb[0] < 30


# Stale and foreign caches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"templates": {"clip": "a {}"}}, "text encoder clip template '{}', not 'a {}'"),
        ({"text_precision": "bfloat16"}, "text encoder clip precision 'float32', not 'bfloat16'"),
        ({"background": (0, 0, 0)}, "picture rule background"),
        ({"upscale": True}, "picture rule upscale"),
        ({"split": SplitRule(0.1, 0.2, seed=1)}, "split seed 0, not 1"),
        ({"dtype": "bfloat16"}, "number format 'float16', not 'bfloat16'"),
        ({"licence": "MIT"}, "source licence"),
        ({"shard_examples": 14}, "shard size 13, not 14"),
    ],
)
def test_an_encoding_begun_otherwise_is_refused_by_name(
    changed: dict[str, object], named: str, models: Path, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        made(models, pictures, tmp_path / "data", progress=stopping_after(2))
    with pytest.raises(DataError, match="is another one") as caught:
        made(models, pictures, tmp_path / "data", replace(CONFIG, **changed))  # type: ignore[arg-type]
    assert named in str(caught.value)
    made(models, pictures, tmp_path / "data", replace(CONFIG, **changed), force=True)  # type: ignore[arg-type]


def test_other_models_pictures_and_resolutions_are_refused_by_name(
    models: Path, pictures: Path, tmp_path: Path
) -> None:
    text = {"clip": str(models / "clip")}
    config = replace(CONFIG, statistics_bound=5.0)

    def run(vae: Path, size: int = 8, **options: object) -> None:
        space = small_space(TextInput("clip", 16, 12), channels=4, latent_size=size)
        encode(pictures, tmp_path / "data", space=space, text=text, vae=vae, config=config, **options)  # type: ignore[arg-type]

    with pytest.raises(Stop):
        run(models / "vae", progress=stopping_after(2))
    with pytest.raises(DataError, match="search space latent_size 8, not 4"):
        run(models / "vae", size=4)
    with pytest.raises(DataError, match="latents class 'AutoencoderKL', not 'AutoencoderTiny'"):
        run(save_vae(tmp_path / "tiny", "tiny"))
    (pictures / "00050.txt").write_text("a new caption")
    with pytest.raises(DataError, match="source fingerprint"):
        run(models / "vae")


def test_a_source_that_changes_meanwhile_is_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    def progress(done: float, total: float, note: str) -> None:
        (pictures / "00059.txt").write_text(f"changed at {done}")

    with pytest.raises(DataError, match="changed while it was encoded"):
        made(models, pictures, tmp_path / "data", progress=progress)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_a_finished_data_set_is_not_overwritten(models: Path, pictures: Path, tmp_path: Path) -> None:
    made(models, pictures, tmp_path / "data")
    before = content(tmp_path / "data")
    with pytest.raises(DataError, match="--force"):
        made(models, pictures, tmp_path / "data")
    assert content(tmp_path / "data") == before
    made(models, pictures, tmp_path / "data", force=True)
    assert content(tmp_path / "data") == before
    with Run(tmp_path / "data").lock(), pytest.raises(RunError, match="in use"):
        made(models, pictures, tmp_path / "data", force=True)


def test_files_of_others_stay(models: Path, pictures: Path, tmp_path: Path) -> None:
    """Also where `--force` is given, and a killed process left half of a shard."""
    shards = tmp_path / "data" / "shards"
    shards.mkdir(parents=True)
    (shards / "0001.tar").write_text("pictures of somebody")
    with pytest.raises(DataError, match="holds '0001.tar'"):
        made(models, pictures, tmp_path / "data")
    (shards / ".000001.safetensors.abc.tmp").write_text("half of a shard")
    with pytest.raises(DataError, match="holds '0001.tar'"):
        made(models, pictures, tmp_path / "data", force=True)
    assert [file.name for file in shards.iterdir()] == ["0001.tar"]
    with pytest.raises(DataError, match="lies in the source"):
        made(models, pictures, pictures / "data")


def test_encoders_are_found_from_another_working_directory(
    models: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    encode(pictures, tmp_path / "data", space=PIXELS, text={"clip": "clip"}, config=CONFIG)
    monkeypatch.chdir(tmp_path)
    assert EncodedDataSet(tmp_path / "data").references == {"clip": str((models / "clip").resolve())}


def test_constants_without_a_vae_are_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Pixels have no scaling"):
        made(models, pictures, tmp_path / "data", replace(CONFIG, scaling_factor=2.0))


def test_key_difference_names_what_differs() -> None:
    one = {"latents": {"class": "A", "mean": [0.0]}, "text": {"clip": {"template": "{}"}}}
    assert key_difference(one, one) == ""
    assert key_difference(one, {**one, "latents": {"class": "A", "mean": [1.0]}}) == "latents mean [0.0], not [1.0]"
    assert key_difference(one, {**one, "text": {}}).startswith("text encoder clip")


# A VAE's constants ----------------------------------------------------------------------------------------------------


def test_latents_off_mean_0_and_deviation_1_are_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    """And the constants that the message names are right."""
    text = {"clip": str(models / "clip")}

    def run(**constants: float) -> Manifest:
        config = replace(CONFIG, **constants)  # type: ignore[arg-type]
        options = {"space": LATENTS, "text": text, "vae": models / "vae", "config": config, "force": True}
        return encode(pictures, tmp_path / "data", **options)  # type: ignore[arg-type]

    with pytest.raises(DataError, match="--scaling-factor") as caught:
        run(scaling_factor=20.0)
    said = str(caught.value)
    assert "AutoencoderKL" in said and "deviation 0.05" in said
    assert not (tmp_path / "data" / "manifest.json").exists()
    words = said.split()
    named = {name: float(words[words.index(f"--{name}") + 1]) for name in ("scaling-factor", "shift-factor")}
    right = run(scaling_factor=named["scaling-factor"], shift_factor=named["shift-factor"])
    assert abs(right.statistics.mean) < 0.02 and abs(right.statistics.std - 1) < 0.02
    with pytest.raises(DataError, match="not 0 and 1"):
        run(scaling_factor=named["scaling-factor"], shift_factor=named["shift-factor"] + 1)
    with pytest.raises(DataError, match="not 0 and 1"):
        run(scaling_factor=named["scaling-factor"] / 2.5, shift_factor=named["shift-factor"])


def test_wrong_constants_are_seen_before_all_is_encoded(models: Path, tmp_path: Path) -> None:
    pictures = write_folder(tmp_path / "pictures", 200)
    seen = []
    with pytest.raises(DataError, match="not 0 and 1"):
        encode(
            pictures,
            tmp_path / "data",
            space=LATENTS,
            text={"clip": str(models / "clip")},
            vae=models / "vae",
            config=replace(CONFIG, shard_examples=100, scaling_factor=20.0),
            progress=lambda done, total, note: seen.append(done),
        )
    assert max(seen) == 100


def test_pixels_state_their_statistics_and_are_not_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    manifest = made(models, pictures, tmp_path / "data")
    assert manifest.statistics.mean > 0.5, "mostly white"


def test_constants_of_a_configuration() -> None:
    assert LatentConstants.of({"scaling_factor": 0.18215}, 2) == LatentConstants((0.0, 0.0), (1 / 0.18215,) * 2)
    assert LatentConstants.of({}, 1) == LatentConstants((0.0,), (1.0,))


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
    with pytest.raises(DataError, match="Of 0 pictures .* none is in the split train .5 too small"):
        made(models, folder, tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()
    assert len((tmp_path / "data" / REJECTED).read_text().splitlines()) == 5
    few = write_folder(tmp_path / "few", 2)
    with pytest.raises(DataError, match="none is in the split"):
        made(models, few, tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "int8"}, "cannot be stored as 'int8'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_megapixels": -1}, "max_m"),
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
