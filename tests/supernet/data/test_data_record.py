"""What a checkpoint says of its data, and that nothing goes on with other data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from subdit.core.errors import CheckpointError
from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.run import Run
from subdit.space import register_space
from supernet.data.data_record import DATA_FILE
from supernet.data.data_record import NULL_TEXT_FILE
from supernet.data.data_record import DataRecord
from supernet.data.data_record import read_full_record
from supernet.data.data_record import read_record
from supernet.data.data_record import write_record
from supernet.data.data_sets import checkpoint_data
from supernet.data.data_sets import checkpoint_record
from supernet.data.data_sets import open_data_set
from supernet.data.data_sets import record_of
from supernet.data.encoding import encode
from supernet.data.encoding_config import EncodingConfig
from supernet.data.relocation import relocate
from supernet.data.splits import SplitRule
from supernet.sampling import sample
from supernet.training.config import TrainingConfig
from supernet.training.train import train
from tests.supernet.data.pictures import small_space
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.tiny_models import save_clip
from tests.supernet.killed import KilledError
from tests.supernet.killed import stop_after

SPACE = register_space(small_space(channels=3, latent_size=16, name="record"))
QUICK = TrainingConfig(steps=3, ceiling_s=None, batch_size=4, save_every_s=0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of the same pictures in other splits, and a run that is trained on the first."""
    folder = tmp_path_factory.mktemp("made")
    write_folder(folder / "pictures", 40)
    save_clip(folder / "clip")
    for seed, name in enumerate(("data", "other")):
        config = EncodingConfig(split=SplitRule(0.1, 0.3, seed=seed), device="cpu", statistics_bound=100.0)
        encode(folder / "pictures", folder / name, space=SPACE, text={"clip": str(folder / "clip")}, config=config)
    train(SPACE, folder / "run", data=folder / "data", config=QUICK)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy of the run; data and text encoder stay where they are."""
    return shutil.copytree(made / "run", tmp_path / "run")


def test_a_record_is_read_as_it_was_written(made: Path, tmp_path: Path) -> None:
    data_set = open_data_set(made / "data", space=SPACE)
    record = record_of(data_set, made / "data")
    write_record(record, tmp_path)
    found = read_full_record(tmp_path)
    assert found == record == read_record(tmp_path) and found is not None and found.null is not None
    null = data_set.null_text()
    assert torch.equal(found.null.embeddings[0], null.embeddings[0]) and torch.equal(found.null.mask, null.mask)
    assert found.null.embeddings[0].dtype == null.embeddings[0].dtype, "the bits of training"
    assert read_record(tmp_path / "nowhere") is None
    assert checkpoint_record(made / "run" / "supernet", SPACE) == record


def without(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        stored = json.loads((folder / DATA_FILE).read_text())
        del stored[name]
        (folder / DATA_FILE).write_text(json.dumps(stored))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / DATA_FILE).write_text("{"),
        lambda folder: (folder / DATA_FILE).write_text("[]"),
        lambda folder: (folder / NULL_TEXT_FILE).unlink(),
        lambda folder: (folder / NULL_TEXT_FILE).write_bytes(b"x" * 9),
        *map(without, ("reference", "digest", "key", "places")),
    ],
)
def test_a_damaged_record_is_refused(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy / "supernet")
    with pytest.raises(CheckpointError, match="damaged"):
        sample(copy, ["a red circle"])


def test_data_that_was_encoded_again_is_refused(made: Path, copy: Path) -> None:
    supernet = copy / "supernet"
    assert checkpoint_data(supernet, SPACE).digest == open_data_set(made / "data", space=SPACE).digest
    stored = json.loads((supernet / DATA_FILE).read_text())
    (supernet / DATA_FILE).write_text(json.dumps({**stored, "reference": str(made / "other")}))
    with pytest.raises(DataError, match="not the one that was trained on"):
        checkpoint_data(supernet, SPACE)
    (supernet / DATA_FILE).write_text(json.dumps({**stored, "reference": str(made / "gone")}))
    with pytest.raises(DataError, match="subdit data relocate"):
        checkpoint_data(supernet, SPACE)


def test_a_begun_training_goes_on_with_its_own_data_alone(made: Path, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(SPACE, tmp_path, data=made / "data", config=QUICK, progress=stop_after(2))
    state = Run(tmp_path).training / "state.safetensors"
    kept = state.read_bytes()
    with pytest.raises(RunError, match="another data set"):
        train(SPACE, tmp_path, data=made / "other", config=QUICK, resume=True)
    assert state.read_bytes() == kept
    train(SPACE, tmp_path, config=QUICK, resume=True)
    weights = "supernet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / weights).read_bytes() == (made / "run" / weights).read_bytes()
    assert read_record(tmp_path / "supernet") == read_record(made / "run" / "supernet")


def test_captions_are_dropped_for_the_empty_prompt_of_sampling(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: what the model sees of a dropped caption is what `sample` gives it for an empty prompt."""
    from supernet.data.prompt_encoders import open_prompt_encoders
    from supernet.training.trainer import Trainer

    data_set = open_data_set(made / "data", space=SPACE)
    trainer = Trainer(SPACE, data_set, replace(QUICK, text_drop=1.0))
    batch, _ = trainer.draw(data_set.read("train", [0, 1]))
    record = read_full_record(made / "run" / "supernet")
    assert record is not None
    (prompted,) = open_prompt_encoders(record.key["text"], record.places, record.null, device="cpu").embed(["", ""])
    assert torch.equal(batch.text[0].float(), torch.from_numpy(prompted))


def test_a_null_text_of_another_model_is_refused(copy: Path) -> None:
    path = copy / "supernet" / NULL_TEXT_FILE
    stored = load_file(path)
    save_file({**stored, "text.clip": stored["text.clip"] + 1}, path)
    with pytest.raises(DataError, match="another empty prompt than in training"):
        sample(copy, ["a red circle"])


def test_places_are_changed_after_they_were_checked(made: Path, copy: Path, tmp_path: Path) -> None:
    data, clip = (shutil.copytree(made / name, tmp_path / name) for name in ("data", "clip"))
    record = read_record(copy / "supernet")
    assert relocate(copy, data=data, text={"clip": str(clip)}) == [copy / "supernet" / DATA_FILE]
    moved = read_record(copy / "supernet")
    assert isinstance(record, DataRecord) and isinstance(moved, DataRecord)
    assert (moved.reference, moved.places["text.clip"]) == (str(data), str(clip))
    assert (moved.digest, moved.key) == (record.digest, record.key)
    for wrong, said in (
        ({}, "Nothing is named"),
        ({"data": made / "other"}, "not the one that was trained on"),
        ({"text": {"t5": str(clip)}}, "no text input 't5'"),
        ({"text": {"clip": str(tmp_path / "gone")}}, "no text encoder"),
    ):
        with pytest.raises(DataError, match=said):
            relocate(copy, **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no run and no checkpoint"):
        relocate(tmp_path / "gone", data=data)
    assert read_record(copy / "supernet") == moved
