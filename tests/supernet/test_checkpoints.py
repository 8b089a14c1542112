"""Checkpoints come back bit for bit, and what is none is refused in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.modeling_utils import ModelMixin
from peft import LoraConfig
from safetensors.torch import load
from safetensors.torch import save

from subdit.core.errors import CheckpointError
from subdit.core.errors import SpecError
from subdit.core.weights import INDEX
from subdit.core.weights import WEIGHTS
from subdit.core.weights import supernet_digest
from subdit.space import get_space
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.checkpoints import save_model
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from tests.supernet.two_encoders import redrawn
from tests.supernet.two_encoders import two_encoder_space

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


def test_a_sub_dit_needs_no_space_to_be_loaded(tmp_path: Path) -> None:
    """Its config holds everything, the options of no space too."""
    model = redrawn(attention=("full", "assa", "full"), middle_skips=False, cross_kv_heads=4)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["_class_name"] == "SubDiT" and config["space"] == "nobody's"
    inputs = list(model.example_inputs(batch=2).values())
    for loaded in (SubDiT.from_pretrained(tmp_path), load_sub_dit(tmp_path)):
        with torch.no_grad():
            assert torch.equal(loaded(*inputs), model(*inputs))


def test_a_space_of_ones_own(tmp_path: Path) -> None:
    space = two_encoder_space()
    supernet = ElasticDiT(space=space.name)
    redraw_(supernet, 1)
    supernet.save_pretrained(tmp_path / "supernet")
    spec = space.named_spec("small")
    supernet.extract(spec).save_pretrained(tmp_path / "sub")
    inputs = list(example_inputs(space, batch=2).values())
    with torch.no_grad():
        expected = supernet(*inputs, spec=spec)
        assert torch.equal(load_supernet(tmp_path / "supernet")(*inputs, spec=spec), expected)
        torch.testing.assert_close(SubDiT.from_pretrained(tmp_path / "sub")(*inputs), expected, rtol=1e-6, atol=1e-6)


def test_an_unknown_key_in_a_saved_config_is_refused(tmp_path: Path) -> None:
    redrawn().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "bna_block": 3}))
    with pytest.raises(SpecError, match="no option 'bna_block'"):
        SubDiT.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no option 'bna_block'"):
        load_sub_dit(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match="no option 'bna_block'"):
        SubDiT.from_pretrained(tmp_path, bna_block=3)


# Shards ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sharded(supernet: ElasticDiT, tmp_path: Path) -> Path:
    supernet.save_pretrained(tmp_path / "sharded", max_shard_size="500KB")
    return tmp_path / "sharded"


def test_shards_come_back_bit_for_bit(supernet: ElasticDiT, sharded: Path) -> None:
    shards = sorted(sharded.glob("*.safetensors"))
    assert len(shards) > 2 and (sharded / INDEX).is_file() and not (sharded / WEIGHTS).exists()
    assert all(shard.stat().st_size < 600_000 for shard in shards)
    theirs = dict(load_supernet(sharded).named_parameters())
    for name, parameter in supernet.named_parameters():
        assert torch.equal(parameter, theirs[name]), name


def test_the_digest_covers_every_shard(supernet: ElasticDiT, sharded: Path, tmp_path: Path) -> None:
    supernet.save_pretrained(tmp_path / "again", max_shard_size="500KB")
    before = supernet_digest(sharded)
    assert supernet_digest(tmp_path / "again") == before
    for shard in sorted(sharded.glob("*.safetensors")):
        whole = shard.read_bytes()
        shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert supernet_digest(sharded) != before, shard.name
        shard.unlink()
        with pytest.raises(CheckpointError, match=shard.name):
            supernet_digest(sharded)
        shard.write_bytes(whole)
    (sharded / INDEX).write_text("[]")
    with pytest.raises(CheckpointError, match="index"):
        supernet_digest(sharded)


def test_saving_over_shards_leaves_none_of_them(supernet: ElasticDiT, sharded: Path) -> None:
    supernet.save_pretrained(sharded)
    assert {path.name for path in sharded.iterdir()} == {"config.json", WEIGHTS}
    assert load_supernet(sharded).config["space"] == "digits"
    supernet.save_pretrained(sharded, max_shard_size="500KB")
    assert not (sharded / WEIGHTS).exists() and load_supernet(sharded)


def test_a_model_may_be_saved_over_the_file_that_it_was_loaded_from(tmp_path: Path) -> None:
    model = redrawn()
    model.save_pretrained(tmp_path)
    loaded = SubDiT.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_shards_are_of_five_gigabytes_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []
    monkeypatch.setattr(
        ModelMixin, "save_pretrained", lambda self, *_, max_shard_size, **__: asked.append(max_shard_size)
    )
    redrawn().save_pretrained(tmp_path)
    redrawn().save_pretrained(tmp_path, max_shard_size="1GB")
    assert asked == ["5GB", "1GB"]


# Damage ---------------------------------------------------------------------------------------------------------------


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


def with_a_lora(folder: Path, *, fused: bool) -> SubDiT:
    """Save a redrawn sub-DiT with a LoRA that is not zero."""
    model = redrawn()
    model.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "fc1"], init_lora_weights=False))
    if fused:
        model.fuse_lora()
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("fused", [False, True])
def test_a_saved_lora_is_named(fused: bool, tmp_path: Path) -> None:
    with_a_lora(tmp_path / "sub", fused=fused)
    with pytest.raises(CheckpointError, match=r"LoRA .*fuse_lora\(\) and unload_lora\(\)") as refused:
        load_sub_dit(tmp_path / "sub")
    assert str(tmp_path / "sub") in str(refused.value) and len(str(refused.value)) < 500


def test_a_lora_that_is_fused_and_unloaded_comes_back(tmp_path: Path) -> None:
    """What the refusal says to do."""
    model = with_a_lora(tmp_path / "sub", fused=False)
    inputs = list(model.example_inputs(batch=2).values())
    with torch.no_grad():
        expected = model(*inputs)
        model.fuse_lora()
        model.unload_lora()
        model.save_pretrained(tmp_path / "sub")
        torch.testing.assert_close(load_sub_dit(tmp_path / "sub")(*inputs), expected, rtol=1e-4, atol=1e-4)


def test_a_refusal_is_all_that_is_said(supernet: ElasticDiT, tmp_path: Path) -> None:
    """In a process of its own: diffusers logs to the stderr that it found when it was imported."""
    with_a_lora(tmp_path / "lora", fused=True)
    for damage in (without_a_tensor, with_a_tensor_too_many, with_a_tensor_of_another_shape):
        supernet.save_pretrained(tmp_path / damage.__name__)
        damage(tmp_path / damage.__name__)
    folders = sorted(map(str, tmp_path.iterdir()))
    program = (
        "import logging, pathlib, supernet.checkpoints as checkpoints\n"
        "from subdit.core.errors import CheckpointError\n"
        f"for folder in {folders!r}:\n"
        "    try: getattr(checkpoints, 'load_sub_dit' if 'lora' in folder else 'load_supernet')(pathlib.Path(folder))\n"
        "    except CheckpointError as error: print(error)\n"
        "print(logging.getLogger('diffusers').level == logging.WARNING)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    *refusals, restored = ran.stdout.splitlines()
    assert ran.stderr == "" and restored == "True"
    assert [folder in said for folder, said in zip(folders, refusals, strict=True)] == [True] * 4


def test_another_model_is_refused(supernet: ElasticDiT, saved: Path, tmp_path: Path) -> None:
    supernet.extract(SPACE.named["tiny"]).save_pretrained(tmp_path / "sub")
    with pytest.raises(CheckpointError, match="is of class SubDiT, not ElasticDiT"):
        load_supernet(tmp_path / "sub")
    with pytest.raises(CheckpointError, match="is of class ElasticDiT, not SubDiT"):
        load_sub_dit(saved)
    with pytest.raises(CheckpointError, match="no supernet at"):
        load_supernet(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no sub-DiT at"):
        load_sub_dit(tmp_path / "nowhere")
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
    assert {path.name for path in saved.iterdir()} == {"config.json", "scheduler_config.json", WEIGHTS}
