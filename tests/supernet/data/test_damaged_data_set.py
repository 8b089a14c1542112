"""Data sets whose manifest or shards are not what `data encode` writes, though their checksums are right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from subdit.core.errors import DataError
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.data.manifest import MANIFEST
from supernet.data.manifest import read_manifest
from supernet.data.manifest_schema import damage
from supernet.data.shards import Shard
from supernet.data.splits import SPLITS
from supernet.data.summary import describe
from tests.supernet.data.encoding_cases import made
from tests.supernet.data.pictures import write_folder

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def whole(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    made(models, write_folder(folder / "pictures", 60), folder / "data")
    return folder / "data"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "data"))


def read_all(folder: Path) -> None:
    data_set = EncodedDataSet(folder)
    describe(data_set)
    for split in SPLITS:
        rows = range(data_set.count(split))
        data_set.read(split, rows)
        data_set.records(split, rows)


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_all(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


def at(place: str) -> tuple[list[str | int], str | int]:
    *outer, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    return outer, last


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("key", "x"),
        ("key.space", None),
        ("key.space.latent_size", "16"),
        ("key.space.text_inputs", {"clip": [12]}),
        ("key.picture.size", 0),
        ("key.latents", None),
        ("key.latents", {"class": "pixels", "channels": 7}),
        ("key.latents", {"class": "AutoencoderKL"}),
        ("key.text", None),
        ("key.dtype", None),
        ("null_sha256", None),
        ("places", {"vae": 5}),
        ("shards", []),
        ("shards", {}),
        ("shards.0", []),
        ("shards.0.sha256", "x"),
        ("shards.0.rows", "x"),
        ("shards.0.rows", {"train": -1}),
        ("shards.0.rows", {"test": 1}),
        ("shards.0.licences", {"MIT": "many"}),
        ("shards.0.statistics", {"count": 1, "sums": [1.0]}),
        ("shards.0.statistics", {"count": 1, "sums": [1.0], "squares": [1.0]}),
        ("shards.0.more", 1),
        ("shards.1.examples", "\n" * 1000),
    ],
    ids=str,
)
def test_a_manifest_that_says_what_cannot_be_is_damaged(place: str, value: object, copy: Path) -> None:
    stored: Any = json.loads((copy / MANIFEST).read_text())
    outer, last = at(place)
    inside = stored
    for part in outer:
        inside = inside[part]
    if value is None:
        del inside[last]
    else:
        inside[last] = value
    (copy / MANIFEST).write_text(json.dumps(stored))
    assert "is damaged (" in refused(copy)


def test_a_manifest_of_no_latents_is_damaged(copy: Path) -> None:
    stored = json.loads((copy / MANIFEST).read_text())
    for shard in stored["shards"]:
        shard["statistics"] = {"count": 0, "sums": [], "squares": []}
    (copy / MANIFEST).write_text(json.dumps(stored))
    assert "counts no latents" in refused(copy)


def test_a_manifest_of_something_else_is_no_data_set(copy: Path) -> None:
    """As a run has one."""
    (copy / MANIFEST).write_text('{"subdit_run": 1, "space": "digits", "steps": {}}')
    assert "holds no encoded data set but something else" in refused(copy)


def test_whole_manifests_have_no_damage(whole: Path) -> None:
    assert damage(json.loads((whole / MANIFEST).read_text())) == ""
    assert read_manifest(whole).count("train") > 0


def cut(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = tensors[name][:-1].clone()

    return change


def cast(name: str, dtype: torch.dtype) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = tensors[name].to(dtype)

    return change


def flat(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = tensors[name].flatten(1)

    return change


def added(name: str, place: int, value: int) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name][place] += value

    return change


def removed(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        del tensors[name]

    return change


CHANGES = [
    *map(cut, ("split", "latents", "latents.id", "text.clip", "text.clip.mask", "text.clip.id", "records.offset")),
    *map(flat, ("latents", "text.clip")),
    *(cast(name, torch.float64) for name in ("split", "latents", "latents.id", "text.clip.mask", "records")),
    *map(removed, ("split", "latents", "latents.id", "text.clip", "text.clip.mask", "records", "records.offset")),
    added("split", 0, 7),
    added("records.offset", 1, 10**12),
    added("records.offset", 1, -(10**12)),
    added("records.offset", 0, 1),
    cut("records"),
]


@pytest.mark.parametrize("change", CHANGES, ids=range(len(CHANGES)))
def test_a_shard_whose_tensors_do_not_belong_together_is_refused(change: Callable[[Tensors], None], copy: Path) -> None:
    file = copy / "shards" / "000000.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    assert str(file) in refused(copy)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"], ids=len)
def test_files_that_are_no_shards_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        Shard(tmp_path / "a.safetensors")
