"""Data sets: the digits, and encoded folders with latents of a VAE and with pixels; what of them is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from subdit.core.errors import DataError
from subdit.space import SearchSpace
from subdit.space import TextInput
from subdit.space import get_space
from supernet.data.data_set import DataSet
from supernet.data.data_sets import data_set_names
from supernet.data.data_sets import open_data_set
from supernet.data.digits import digits
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.data.encoding import encode
from supernet.data.encoding_config import EncodingConfig
from supernet.data.manifest import MANIFEST
from supernet.data.manifest import Manifest
from supernet.data.manifest import ShardEntry
from supernet.data.shards import file_sha256
from supernet.data.splits import SPLITS
from supernet.data.splits import SplitRule
from supernet.data.text import digit_words
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import load_text_encoder
from tests.supernet.data.data_set_contract import DataSetContract
from tests.supernet.data.pictures import small_space
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.tiny_models import save_bert
from tests.supernet.data.tiny_models import save_clip
from tests.supernet.data.tiny_models import save_t5
from tests.supernet.data.tiny_models import save_vae


class TestDigits(DataSetContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("digits")

    @pytest.fixture
    def data_set(self, space: SearchSpace) -> DataSet:
        return open_data_set("digits", space=space)

    again = data_set

    @pytest.fixture
    def encoders(self, space: SearchSpace) -> Sequence[TextEncoder]:
        return [digit_words(text) for text in space.text_inputs]

    def test_it_is_what_the_rest_reads(self, data_set: DataSet) -> None:
        for split in ("train", "validation", "judge"):
            part = getattr(digits(), split)
            batch = data_set.read(split, range(len(part)))
            assert torch.equal(batch.latents, torch.from_numpy(part.latents))
            records = data_set.records(split, range(len(part)))
            assert [record.caption for record in records] == list(part.captions)
            assert [int(record.columns["label"]) for record in records] == part.labels.tolist()


TWO = (TextInput("clip", 16, 12), TextInput("t5", 24, 9))
BERT = (TextInput("bert", 20, 9),)


class EncodedContract(DataSetContract):
    TEXTS: tuple[TextInput, ...]
    VAE: str | None
    DTYPE: str

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("encoded")
        for text in cls.TEXTS:
            {"clip": save_clip, "t5": save_t5, "bert": save_bert}[text.name](folder / text.name)
        config = EncodingConfig(
            split=SplitRule(0.1, 0.2), dtype=cls.DTYPE, shard_examples=23, device="cpu", statistics_bound=5.0
        )
        encode(
            write_folder(folder / "pictures", 90),
            folder / "data",
            space=cls.the_space(),
            text={text.name: str(folder / text.name) for text in cls.TEXTS},
            vae=save_vae(folder / "vae", cls.VAE) if cls.VAE else None,
            config=config,
        )
        return folder

    @classmethod
    def the_space(cls) -> SearchSpace:
        return small_space(*cls.TEXTS, channels=4 if cls.VAE else 3, latent_size=8 if cls.VAE else 16)

    @pytest.fixture
    def space(self) -> SearchSpace:
        return self.the_space()

    @pytest.fixture
    def data_set(self, made: Path, space: SearchSpace) -> DataSet:
        return open_data_set(made / "data", space=space)

    again = data_set

    @pytest.fixture
    def encoders(self, made: Path) -> Sequence[TextEncoder]:
        return [load_text_encoder(text, str(made / text.name), device="cpu") for text in self.TEXTS]


class TestVaeWithTwoEncoders(EncodedContract):
    TEXTS = TWO
    VAE = "kl"
    DTYPE = "float16"
    TOLERANCE = 2e-3


class TestPixelsWithBert(EncodedContract):
    TEXTS = BERT
    VAE = None
    DTYPE = "float32"
    TOLERANCE = 1e-5


class TestQwenInBfloat16(EncodedContract):
    TEXTS = BERT
    VAE = "qwen"
    DTYPE = "bfloat16"
    TOLERANCE = 2e-2


# What is refused ------------------------------------------------------------------------------------------------------

SPACE = small_space(*TWO, channels=3, latent_size=16)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    text = {"clip": str(save_clip(folder / "clip")), "t5": str(save_t5(folder / "t5"))}
    config = EncodingConfig(split=SplitRule(0.1, 0.2), shard_examples=40, device="cpu")
    encode(write_folder(folder / "pictures", 60), folder / "data", space=SPACE, text=text, config=config)
    return folder / "data"


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def forge(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> EncodedDataSet:
    """The data set with a changed first shard whose checksum is right, as a mistaken program would have written it."""
    file = folder / "shards" / "000000.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    stored = json.loads((folder / MANIFEST).read_text())
    stored["shards"][0]["sha256"] = file_sha256(file)
    shards = tuple(ShardEntry.from_dict(entry) for entry in stored["shards"])
    Manifest(stored["key"], shards, stored["null_sha256"], stored["places"]).write(folder)
    return EncodedDataSet(folder)


def all_rows(data_set: EncodedDataSet) -> None:
    for split in SPLITS:
        data_set.read(split, range(data_set.count(split)))


def rolled(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for key in tensors:
            if key == name or key.startswith(f"{name}."):
                tensors[key] = tensors[key].roll(1, 0)

    return change


def test_unchanged_it_is_read(copy: Path) -> None:
    data_set = forge(copy, lambda tensors: None)
    data_set.verify()
    all_rows(data_set)


@pytest.mark.parametrize("name", ["latents", "text.clip", "text.t5"])
def test_text_of_another_picture_is_refused(name: str, copy: Path) -> None:
    """Latents or text of an encoder in another order than the rest; each batch that is read shows it."""
    data_set = forge(copy, rolled(name))
    with pytest.raises(DataError, match="of another picture than its latents"):
        all_rows(data_set)
    with pytest.raises(DataError, match="of another picture than its latents"):
        data_set.verify()


def test_latents_and_text_of_another_record_are_refused(copy: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in ("latents", "text.clip", "text.t5"):
            rolled(name)(tensors)

    with pytest.raises(DataError, match="of another picture than its record"):
        forge(copy, change).records("train", [0])


def test_a_caption_that_was_changed_is_refused(copy: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        text = tensors["records"].numpy().tobytes().replace(b'"caption": "a red', b'"caption": "a bad')
        tensors["records"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    data_set = forge(copy, change)
    with pytest.raises(DataError, match="of another caption than its record"):
        data_set.records("train", range(data_set.count("train")))


def test_a_changed_shard_is_refused(copy: Path) -> None:
    file = copy / "shards" / "000001.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match="000001.safetensors was changed"):
        EncodedDataSet(copy).verify()
    file.write_bytes(bytes(data[:-10]))
    with pytest.raises(DataError, match="000001.safetensors is damaged"):
        EncodedDataSet(copy).count("train")
    file.unlink()
    with pytest.raises(DataError, match="000001.safetensors is missing"):
        EncodedDataSet(copy).count("train")


def test_a_null_text_that_was_changed_is_refused(copy: Path) -> None:
    null = load_file(copy / "null.safetensors")
    null["clip"] = null["clip"] + 1
    save_file(null, copy / "null.safetensors")
    with pytest.raises(DataError, match="null.safetensors was changed"):
        EncodedDataSet(copy).null_text()


def test_a_changed_manifest_is_refused(copy: Path) -> None:
    stored = json.loads((copy / MANIFEST).read_text())
    stored["key"]["text"]["clip"]["template"] = "a {}"
    (copy / MANIFEST).write_text(json.dumps(stored))
    with pytest.raises(DataError, match="was changed after it was written"):
        EncodedDataSet(copy)
    (copy / MANIFEST).write_text(json.dumps({**stored, "subdit_data": 2}))
    with pytest.raises(DataError, match="another version"):
        EncodedDataSet(copy)
    for damaged in ("{", "[]", '{"subdit_data": 1}'):
        (copy / MANIFEST).write_text(damaged)
        with pytest.raises(DataError, match="damaged"):
            EncodedDataSet(copy)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "shards/../0.safetensors", "shards/0.bin"])
def test_a_manifest_that_names_other_files_is_refused(name: str, copy: Path) -> None:
    stored = json.loads((copy / MANIFEST).read_text())
    stored["shards"][0]["file"] = name
    (copy / MANIFEST).write_text(json.dumps(stored))
    with pytest.raises(DataError, match="which is no shard of it"):
        EncodedDataSet(copy)


def test_text_inputs_in_another_order_are_refused(copy: Path) -> None:
    with pytest.raises(DataError, match="clip, t5, in another order than those of the space 'small', t5, clip"):
        open_data_set(copy, space=small_space(*reversed(TWO), channels=3, latent_size=16))


def test_what_is_no_data_set_is_refused(copy: Path, tmp_path: Path) -> None:
    assert "digits" in data_set_names()
    with pytest.raises(DataError, match="no data set 'nonsense'; name a folder .* or one of .*digits"):
        open_data_set("nonsense", space=SPACE)
    with pytest.raises(DataError, match="subdit data encode"):
        open_data_set(tmp_path, space=SPACE)
    (copy / MANIFEST).unlink()
    with pytest.raises(DataError, match="to its end first"):
        open_data_set(copy, space=SPACE)
    with pytest.raises(DataError, match="those of space 'small' are"):
        open_data_set("digits", space=SPACE)


def test_data_sets_of_other_packages_come_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirrored.py").write_text(
        "from supernet.data.digits import DigitsDataSet\n"
        "class Mirrored(DigitsDataSet):\n"
        "    name = 'mirrored'\n"
        "def broken(space):\n"
        "    return object()\n"
    )
    folder = tmp_path / "mirrored-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mirrored\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        "[subdit.data_sets]\nmirrored = mirrored:Mirrored\nbroken = mirrored:broken\ngone = mirrored:gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    digits_space = get_space("digits")
    assert {"digits", "mirrored"} <= set(data_set_names())
    assert open_data_set("mirrored", space=digits_space).name == "mirrored"
    with pytest.raises(DataError, match="is no `DataSet`"):
        open_data_set("broken", space=digits_space)
    with pytest.raises(DataError, match="'gone' cannot be imported"):
        open_data_set("gone", space=digits_space)
    with pytest.raises(DataError, match="those of space 'small' are"):
        open_data_set("mirrored", space=SPACE)


def test_no_rows_are_an_empty_batch(original: Path) -> None:
    batch = EncodedDataSet(original).read("train", [])
    assert batch.latents.shape == (0, 3, 16, 16) and batch.text.mask.shape == (0, 21)


def test_little_of_a_large_data_set_is_in_memory(tmp_path: Path) -> None:
    """Reading maps the files: the process's own memory does not grow by what is in them."""

    def own_memory_mb() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

    space = small_space(TextInput("bert", 20, 9), channels=3, latent_size=128)
    text = {"bert": str(save_bert(tmp_path / "bert"))}
    config = EncodingConfig(dtype="float32", split=SplitRule(0, 0.1), shard_examples=150, device="cpu")
    encode(write_folder(tmp_path / "p", 300, (128, 128)), tmp_path / "d", space=space, text=text, config=config)
    data_set = EncodedDataSet(tmp_path / "d")
    stored_mb = sum(file.stat().st_size for file in (tmp_path / "d" / "shards").iterdir()) / 2**20
    assert stored_mb > 50
    before = own_memory_mb()
    for row in range(data_set.count("train")):
        data_set.read("train", [row])
    assert own_memory_mb() - before < stored_mb / 4
