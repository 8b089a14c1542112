"""Checkpoints come back bit for bit, and what is none is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from safetensors.torch import save

from subdit.errors import CheckpointError
from supernet.checkpoints import WEIGHTS
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.checkpoints import save_model
from supernet.checkpoints import supernet_digest
from supernet.dit import SubDiT
from supernet.dit import example_inputs
from supernet.dit import redraw_
from supernet.elastic import ElasticDiT
from supernet.space import get_space

SPACE = get_space("digits")


@pytest.fixture(scope="module")
def supernet() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.eval()


@pytest.fixture
def saved(supernet: ElasticDiT, tmp_path: Path) -> Path:
    supernet.save_pretrained(tmp_path / "supernet")
    return tmp_path / "supernet"


def test_supernet_comes_back_bit_for_bit(supernet: ElasticDiT, saved: Path) -> None:
    loaded = load_supernet(saved)
    assert not loaded.training
    theirs = dict(loaded.named_parameters())
    for name, parameter in supernet.named_parameters():
        assert torch.equal(parameter, theirs[name]), name
    inputs = list(example_inputs(SPACE, batch=2).values())
    for spec in SPACE.named.values():
        with torch.no_grad():
            assert torch.equal(loaded(*inputs, spec=spec), supernet(*inputs, spec=spec))


def test_sub_dit_comes_back_bit_for_bit_without_the_supernet(supernet: ElasticDiT, tmp_path: Path) -> None:
    spec = SPACE.named["small"]
    model = supernet.extract(spec)
    model.save_pretrained(tmp_path / "sub")
    for loaded in (load_sub_dit(tmp_path / "sub"), SubDiT.from_pretrained(tmp_path / "sub").eval()):
        assert loaded.spec == spec
        inputs = list(example_inputs(SPACE, batch=2).values())
        with torch.no_grad():
            assert torch.equal(loaded(*inputs), model(*inputs))
    config = json.loads((tmp_path / "sub" / "config.json").read_text())
    assert config["_class_name"] == "SubDiT" and config["width"] == spec.width


def test_the_digest_names_the_weights(supernet: ElasticDiT, saved: Path, tmp_path: Path) -> None:
    supernet.save_pretrained(tmp_path / "again")
    assert supernet_digest(saved) == supernet_digest(tmp_path / "again")
    changed = load_supernet(saved)
    with torch.no_grad():
        changed.full.down[0].ffn.fc1.bias[0] += 1e-3
    changed.save_pretrained(tmp_path / "changed")
    assert supernet_digest(saved) != supernet_digest(tmp_path / "changed")


def without_a_tensor(folder: Path) -> None:
    tensors = load((folder / WEIGHTS).read_bytes())
    tensors.pop("full.down.0.attn.to_q.weight")
    (folder / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))


def with_a_tensor_too_many(folder: Path) -> None:
    tensors = load((folder / WEIGHTS).read_bytes()) | {"full.surplus": torch.zeros(2)}
    (folder / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))


def with_a_tensor_of_another_shape(folder: Path) -> None:
    tensors = load((folder / WEIGHTS).read_bytes()) | {"full.down.0.attn.to_q.weight": torch.zeros(2, 2)}
    (folder / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))


def truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1000])


def of_an_unknown_space(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "space": "mars"}))


DAMAGES: list[Callable[[Path], object]] = [
    truncated,
    without_a_tensor,
    with_a_tensor_too_many,
    with_a_tensor_of_another_shape,
    of_an_unknown_space,
    lambda folder: (folder / WEIGHTS).write_bytes(b""),
    lambda folder: (folder / WEIGHTS).unlink(),
    lambda folder: (folder / "config.json").unlink(),
    lambda folder: (folder / "config.json").write_text('{"_class_name": '),
    lambda folder: (folder / "config.json").write_text("[1]"),
    lambda folder: (folder / "config.json").write_text("{}"),
    lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_supernets_are_refused_in_one_sentence(saved: Path, damage: Callable[[Path], object]) -> None:
    damage(saved)
    with pytest.raises(CheckpointError) as refused:
        load_supernet(saved)
    message = str(refused.value)
    assert str(saved) in message, "it names what was wrong"
    assert "\n" not in message and message.endswith(".") and len(message) < 500


def test_another_model_is_refused(supernet: ElasticDiT, saved: Path, tmp_path: Path) -> None:
    supernet.extract(SPACE.named["tiny"]).save_pretrained(tmp_path / "sub")
    with pytest.raises(CheckpointError, match="holds a SubDiT, not a ElasticDiT|holds a SubDiT, not an ElasticDiT"):
        load_supernet(tmp_path / "sub")
    with pytest.raises(CheckpointError, match="holds a ElasticDiT, not a SubDiT|holds an ElasticDiT, not a SubDiT"):
        load_sub_dit(saved)
    with pytest.raises(CheckpointError, match="no supernet at"):
        load_supernet(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no weights at"):
        supernet_digest(tmp_path / "nowhere")


def test_saving_replaces_the_whole_folder(supernet: ElasticDiT, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = supernet_digest(saved)

    def torn(self: SubDiT, folder: Path) -> None:
        self.save_config(folder)
        (folder / WEIGHTS).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SubDiT, "save_pretrained", torn)
        save_model(supernet.full, saved)
    assert supernet_digest(saved) == before and load_supernet(saved)
    (saved / "left over").write_text("")
    save_model(supernet.full, saved)
    assert load_sub_dit(saved).spec == SPACE.named["full"]
    assert {path.name for path in saved.parent.iterdir()} == {"supernet"}
    assert {path.name for path in saved.iterdir()} == {"config.json", WEIGHTS}
