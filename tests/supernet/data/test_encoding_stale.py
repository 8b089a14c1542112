"""`data encode` into a folder that holds something: another encoding, a finished one, or files of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.run import Run
from subdit.space import TextInput
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.data.encoding import encode
from supernet.data.manifest import key_difference
from supernet.data.splits import SplitRule
from tests.supernet.data.encoding_cases import CONFIG
from tests.supernet.data.encoding_cases import PIXELS
from tests.supernet.data.encoding_cases import Stop
from tests.supernet.data.encoding_cases import content
from tests.supernet.data.encoding_cases import made
from tests.supernet.data.encoding_cases import stopping_after
from tests.supernet.data.pictures import small_space
from tests.supernet.data.tiny_models import save_vae


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
    with pytest.raises(DataError, match="holds a finished data set"):
        made(models, pictures, tmp_path / "data")
    assert content(tmp_path / "data") == before
    made(models, pictures, tmp_path / "data", force=True)
    assert content(tmp_path / "data") == before
    with Run(tmp_path / "data").lock(), pytest.raises(RunError, match="in use"):
        made(models, pictures, tmp_path / "data", force=True)


@pytest.mark.parametrize("damage", ["", "[]", '"x"', "[" * 100_000], ids=len)
def test_a_damaged_record_of_what_was_begun_is_replaced_by_force_alone(
    damage: str, models: Path, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        made(models, pictures, tmp_path / "data", progress=stopping_after(2))
    (tmp_path / "data" / "encoding.json").write_text(damage)
    with pytest.raises(RunError, match="begun encoding at .* is damaged"):
        made(models, pictures, tmp_path / "data")
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
    assert EncodedDataSet(tmp_path / "data").places["text.clip"] == str((models / "clip").resolve())


def test_constants_without_a_vae_are_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Pixels have no scaling"):
        made(models, pictures, tmp_path / "data", replace(CONFIG, scaling_factor=2.0))


def test_key_difference_names_what_differs() -> None:
    one = {"latents": {"class": "A", "mean": [0.0]}, "text": {"clip": {"template": "{}"}}}
    assert key_difference(one, one) == ""
    assert key_difference(one, {**one, "latents": {"class": "A", "mean": [1.0]}}) == "latents mean [0.0], not [1.0]"
    assert key_difference(one, {**one, "text": {}}).startswith("text encoder clip")


def test_a_folder_that_links_to_itself_is_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="symbolic link|File exists"):
        made(models, pictures, tmp_path / "loop")
