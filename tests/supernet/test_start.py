"""A training that begins with weights that are there: what fits is the same to the bit, what does not is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from subdit.core.errors import CheckpointError
from subdit.core.run import Run
from subdit.core.weights import WEIGHTS
from subdit.space import SearchSpace
from subdit.space import get_space
from subdit.space import register_space
from subdit.space import rename_space
from subdit.space import start_run
from supernet.checkpoints import load_sub_dit
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.training.start import start_from

DIGITS = get_space("digits")
FULL = DIGITS.named["full"]


def redrawn(space: SearchSpace = DIGITS, seed: int = 0) -> ElasticDiT:
    model = ElasticDiT.of_space(register_space(space))
    redraw_(model, seed=seed)
    return model


def renamed(name: str, **changes: object) -> SearchSpace:
    space = rename_space(DIGITS, name)
    return replace(space, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", ["whole", "in shards", "bfloat16"])
def test_a_full_sub_dit_gives_its_outputs(tmp_path: Path, kept: str) -> None:
    origin = redrawn().extract(FULL).eval()
    origin = origin.to(torch.bfloat16) if kept == "bfloat16" else origin
    origin.save_pretrained(tmp_path, max_shard_size="100KB" if kept == "in shards" else "5GB")
    assert len(list(tmp_path.glob("*.safetensors"))) > (1 if kept == "in shards" else 0)
    supernet = redrawn(seed=7).eval()
    start_from(supernet, tmp_path)
    inputs = list(example_inputs(DIGITS, batch=3, seed=2).values())
    with torch.no_grad():
        assert torch.equal(supernet(*inputs), origin.float()(*inputs))
    assert {parameter.dtype for parameter in supernet.parameters()} == {torch.float32}


def test_norms_and_modulation_of_smaller_widths_are_slices(tmp_path: Path) -> None:
    origin = redrawn().extract(FULL)
    origin.save_pretrained(tmp_path)
    supernet = redrawn(seed=7)
    convolutions = {name: p.clone() for name, p in supernet.named_parameters() if "apart.compression" in name}
    start_from(supernet, tmp_path)
    width = DIGITS.widths[0]
    names = [name for name in supernet.apart if name.startswith(f"width{width}:")]
    assert len(names) > 20
    for name in names:
        full = origin.get_parameter(name.partition(":")[2].replace(":", "."))
        if "modulation" in name:
            expected = torch.cat([part[:width] for part in full.chunk(8)])
        else:
            expected = full[..., :width]
        assert torch.equal(supernet.apart[name], expected), name
    for name, kept in convolutions.items():
        assert torch.equal(supernet.get_parameter(name), kept), "of another stride there is nothing to slice"


def test_an_earlier_supernet_of_the_space(tmp_path: Path) -> None:
    origin = redrawn()
    origin.save_pretrained(tmp_path / "supernet")
    start_run(Run(tmp_path), DIGITS)
    for folder in (tmp_path / "supernet", tmp_path):
        supernet = redrawn(seed=7)
        start_from(supernet, folder)
        for name, parameter in supernet.named_parameters():
            assert torch.equal(parameter, origin.get_parameter(name)), name


def test_an_earlier_supernet_of_another_space_that_fits(tmp_path: Path) -> None:
    """Another width more and one less, and a larger latent, as when a training goes on at a higher resolution."""
    origin = redrawn()
    origin.save_pretrained(tmp_path)
    assert DIGITS.widths == (48, 64, 80, 96)
    named = {"full": rename_space(DIGITS, "other-widths").named["full"]}
    space = renamed("other-widths", widths=(32, 64, 80, 96), latent_size=16, named=named)
    supernet = redrawn(space, seed=7)
    start_from(supernet, tmp_path)
    for name, parameter in supernet.named_parameters():
        if "width32:" in name:
            sliced = dict(supernet.isolated_slices())[name]
            assert torch.equal(parameter, sliced), name
        else:
            assert torch.equal(parameter, origin.get_parameter(name)), name


def test_a_space_that_was_edited_may_keep_its_name(tmp_path: Path) -> None:
    """The weights' own space is not met: there would be two of one name."""
    redrawn().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["space_definition"]["text_width"] += 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    start_from(redrawn(seed=7), tmp_path)


MISFITS = {
    "a smaller one": (DIGITS.named["tiny"], "patch_embed.proj.weight is 48x1x2x2 there and 96x1x2x2 here"),
    "one that is less deep": (replace(FULL, depth=(1, *FULL.depth[1:])), "it has no down.1."),
}


@pytest.mark.parametrize("which", MISFITS)
def test_another_sub_dit_is_refused_by_what_does_not_fit(tmp_path: Path, which: str) -> None:
    spec, said = MISFITS[which]
    redrawn().extract(spec).save_pretrained(tmp_path)
    supernet = redrawn(seed=7)
    with pytest.raises(CheckpointError, match="does not fit the full network of space 'digits': ") as refused:
        start_from(supernet, tmp_path)
    assert said in str(refused.value) and "\n" not in str(refused.value)
    untouched = redrawn(seed=7)
    assert all(torch.equal(p, untouched.get_parameter(name)) for name, p in supernet.named_parameters())


def test_a_deeper_one_and_one_that_turns_otherwise_are_refused(tmp_path: Path) -> None:
    redrawn().save_pretrained(tmp_path)
    depths = ((1,), *DIGITS.depths[1:])
    points = {"full": replace(rename_space(DIGITS, "less-deep").named["full"], depth=(1, *FULL.depth[1:]))}
    with pytest.raises(CheckpointError, match="it has down.1.* which is not here"):
        start_from(redrawn(renamed("less-deep", depths=depths, named=points)), tmp_path)
    with pytest.raises(CheckpointError, match=f"rope_theta of {DIGITS.rope_theta}, and space 'turns' one of 77.0"):
        start_from(redrawn(renamed("turns", rope_theta=77.0)), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "space": "unknown", "space_definition": None}))
    with pytest.raises(CheckpointError, match="rope_theta of None"):
        start_from(redrawn(), tmp_path)


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights to start from at .*; name the folder of a supernet"):
        start_from(redrawn(), tmp_path / "none")
    redrawn().extract(FULL).save_pretrained(tmp_path)
    assert load_sub_dit(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / WEIGHTS
    tensors, good = load_file(weights), weights.read_bytes()
    name = "up.0.attn.to_q.weight"
    save_file({**tensors, name: tensors[name] * float("nan")}, weights)
    with pytest.raises(CheckpointError, match=f"not finite .{name}.; start from another"):
        start_from(redrawn(), tmp_path)
    weights.write_bytes(good[: len(good) // 2])
    with pytest.raises(CheckpointError, match="is damaged .diffusion_pytorch_model.safetensors"):
        start_from(redrawn(), tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="is damaged"):
        start_from(redrawn(), tmp_path)
    config.write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(CheckpointError, match="holds a UNet2DModel; start from a supernet or a sub-DiT"):
        start_from(redrawn(), tmp_path)
    for content in ("[", "[]", '"text"'):
        config.write_text(content)
        with pytest.raises(CheckpointError) as refused:
            start_from(redrawn(), tmp_path)
        assert "\n" not in str(refused.value)
