"""Exports compute what torch computes, on weights of which every one takes part."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from subdit.core.errors import ExportError
from subdit.core.errors import RunError
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import KINDS
from subdit.space import SubDiTSpec
from subdit.space import all_components
from subdit.space import get_space
from subdit.space import space_names
from supernet.checkpoints import save_model
from supernet.export import exporter as export_module
from supernet.export.export_pick import export
from supernet.export.exporter import deviation
from supernet.export.exporter import export_onnx
from supernet.export.exporter import export_sub_dit
from supernet.export.onnx_graph import parameter_bytes
from supernet.model.components import component_module
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.dit import fixed_options
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.recipe import MANY_STEPS
from supernet.recipe import SamplingRecipe

SPACE = get_space("digits")
SHALLOW = SPACE.decode(SPACE.enumerate(0, 1))[0]


@pytest.fixture(scope="module")
def supernet() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.eval()


@pytest.mark.parametrize("spec", SPACE.decode(SPACE.sample(np.random.default_rng(2), 3)), ids=lambda spec: spec.hash)
def test_exports_equal_torch(supernet: ElasticDiT, spec: SubDiTSpec, tmp_path: Path) -> None:
    """On inputs other than those it was traced with, too: nothing of them may be baked in."""
    model, path = supernet.extract(spec), tmp_path / "dit.onnx"
    assert export_sub_dit(model, path, recipe=MANY_STEPS) <= 1e-4
    for seed in (1, 2):
        inputs = example_inputs(SPACE, seed=seed)
        with torch.no_grad():
            assert model(*inputs.values()).std() > 0.1
        assert deviation(model, inputs, path) <= 1e-4
    card = json.loads(path.with_suffix(".json").read_text())
    assert SubDiTSpec.from_dict(card["spec"]) == spec
    assert (card["steps"], card["shift"]) == (28, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_components_equal_torch(kind: str, tmp_path: Path) -> None:
    component = [entry for entry in all_components(SPACE) if entry.kind == kind][-1]
    made, other = component_module(SPACE, component), component_module(SPACE, component, seed=0)
    path = export_onnx(made.module, made.inputs, tmp_path / "component.onnx")
    fresh = {
        name: value + 0.5 * torch.randn(value.shape, generator=torch.Generator().manual_seed(9))
        for name, value in made.inputs.items()
    }
    for inputs in (made.inputs, fresh):
        assert deviation(other.module, inputs, path) <= 1e-4


def test_an_export_is_one_plain_file_the_same_every_time(supernet: ElasticDiT, tmp_path: Path) -> None:
    model, inputs = supernet.extract(SHALLOW), example_inputs(SPACE)
    first = export_onnx(model, inputs, tmp_path / "a.onnx").read_bytes()
    assert first == export_onnx(model, inputs, tmp_path / "b.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    graph = onnx.load(str(tmp_path / "a.onnx"))
    onnx.checker.check_model(graph, full_check=True)
    assert [entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")] == [20]
    assert [entry.name for entry in graph.graph.input] == list(inputs)
    assert [entry.name for entry in graph.graph.output] == ["output"]
    for entry, value in zip(graph.graph.input, inputs.values(), strict=True):
        assert [dimension.dim_value for dimension in entry.type.tensor_type.shape.dim] == list(value.shape)
    assert str(Path(__file__).parents[2]).encode() not in first, "no path of this machine in the file"


def test_an_export_is_not_overwritten_unasked(tmp_path: Path) -> None:
    made = component_module(SPACE, all_components(SPACE)[0])
    path = tmp_path / "component.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(RunError, match="--force"):
        export_onnx(made.module, made.inputs, path)
    assert path.read_bytes() == b"mine"
    export_onnx(made.module, made.inputs, path, force=True)
    assert path.read_bytes() != b"mine"


def test_an_export_that_computes_something_else_is_withdrawn(
    supernet: ElasticDiT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OffByALittle(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = supernet.extract(SHALLOW)

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.model(*inputs) + 1e-3

    honest = export_module.export_onnx
    monkeypatch.setattr(
        export_module,
        "export_onnx",
        lambda module, inputs, path, *, force: honest(OffByALittle(), inputs, path, force=force),
    )
    with pytest.raises(ExportError, match=SHALLOW.hash):
        export_sub_dit(supernet.extract(SHALLOW), tmp_path / "dit.onnx", recipe=MANY_STEPS)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused_in_words(tmp_path: Path) -> None:
    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    with pytest.raises(ExportError, match="Spectrum"):
        export_onnx(Spectrum(), {"x": torch.ones(2)}, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


# External data --------------------------------------------------------------------------------------------------------


def test_external_data_computes_the_same(supernet: ElasticDiT, tmp_path: Path) -> None:
    model, path = supernet.extract(SHALLOW), tmp_path / "dit.onnx"
    export_onnx(model, model.example_inputs(), path, external_data=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"dit.onnx", "dit.onnx.data"}
    data = (tmp_path / "dit.onnx.data").stat().st_size
    assert path.stat().st_size < 0.5 * data and data < 1.2 * parameter_bytes(model)
    for seed in (0, 1):
        assert deviation(model, model.example_inputs(seed=seed), path) <= 1e-4
    onnx.checker.check_model(str(path), full_check=True)
    graph = onnx.load(str(path), load_external_data=False).graph
    assert [entry.name for entry in graph.input] == list(model.example_inputs())
    assert [entry.name for entry in graph.output] == ["output"]
    held = {entry.name for entry in graph.initializer}
    transposed = [node for node in graph.node if node.op_type == "Transpose" and set(node.input) & held]
    assert not transposed, "weights are stored as they are multiplied"
    assert not any(node.doc_string for node in graph.node)


def test_external_data_is_the_same_every_time(supernet: ElasticDiT, tmp_path: Path) -> None:
    model = supernet.extract(SHALLOW)
    for folder in ("a", "b"):
        export_onnx(model, model.example_inputs(), tmp_path / folder / "dit.onnx", external_data=True)
    for name in ("dit.onnx", "dit.onnx.data"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_large_model_gets_external_data_unasked(
    supernet: ElasticDiT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = supernet.extract(SHALLOW), tmp_path / "dit.onnx"
    monkeypatch.setattr(export_module, "EXTERNAL_DATA_BYTES", parameter_bytes(model) - 1)
    export_sub_dit(model, path, recipe=MANY_STEPS)
    assert (tmp_path / "dit.onnx.data").exists()
    monkeypatch.setattr(export_module, "EXTERNAL_DATA_BYTES", parameter_bytes(model))
    with pytest.raises(RunError, match="--force"):
        export_sub_dit(model, path, recipe=MANY_STEPS)
    export_sub_dit(model, path, recipe=MANY_STEPS, force=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"dit.onnx", "dit.json"}


@pytest.mark.parametrize("killed_at", [0, 1])
def test_a_model_is_never_beside_other_data(
    supernet: ElasticDiT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Killed before either file takes its place, the old model is whole, or there is none."""
    model, path = supernet.extract(SHALLOW), tmp_path / "dit.onnx"
    export_onnx(model, model.example_inputs(), path, external_data=True)
    other = supernet.extract(SHALLOW)
    redraw_(other, 4)
    moves, move = [], Path.replace

    def killed(self: Path, target: Path) -> Path:
        moves.append(target.name)
        if len(moves) > killed_at:
            raise KeyboardInterrupt
        return move(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        export_onnx(other, model.example_inputs(), path, external_data=True, force=True)
    assert moves == ["dit.onnx.data", "dit.onnx"][: killed_at + 1]
    assert not path.exists() and len(list(tmp_path.iterdir())) == 1


# What runtimes other than ONNX Runtime can take -----------------------------------------------------------------------

PLAIN = {
    *("Add", "Sub", "Mul", "Sin", "Cos", "Sigmoid", "Gelu", "Softmax", "LayerNormalization"),
    *("MatMul", "Gemm", "Conv", "ConvTranspose"),
    *("Reshape", "Transpose", "Concat", "Slice", "Unsqueeze", "DepthToSpace"),
}


def small_sub_dit(name: str) -> SubDiT:
    """The smallest of a space on a small grid: the operators and ranks are those of the large one."""
    space = get_space(name)
    spec = space.decode(space.enumerate(0, 1))[0]
    size = min(space.latent_size, 16)
    config = {**fixed_options(space), "latent_size": size, "text_width": 32, "time_width": 32}
    texts = tuple((text.name, 16, 4) for text in space.text_inputs)
    blocks = tuple(min(count, 4) for count in spec.bna_blocks)
    changed = {"width": 64, "depth": (1, 2, 1), "bna_blocks": blocks, "text_inputs": texts}
    heads = {"heads": 2 * space.kv_heads, "head_dim": 8}
    model = SubDiT(**{**config, **spec.values, **changed, **heads})
    redraw_(model, 0)
    return model.eval()


@pytest.mark.parametrize(("name", "external_data"), [("mobile-1k", True), *((name, False) for name in space_names())])
def test_exports_are_of_plain_operators(name: str, external_data: bool, tmp_path: Path) -> None:
    model, path = small_sub_dit(name), tmp_path / "dit.onnx"
    export_onnx(model, model.example_inputs(), path, external_data=external_data)
    assert deviation(model, model.example_inputs(seed=1), path) <= 1e-4
    found = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True, data_prop=True).graph
    assert {node.op_type for node in found.node} <= PLAIN and {node.domain for node in found.node} <= {"", "ai.onnx"}
    fixed = {entry.name for entry in found.initializer}
    for node in found.node:
        if node.op_type in ("Slice", "Reshape", "Unsqueeze"):
            assert set(node.input[1:]) - {""} <= fixed, f"{node.op_type} by a computed index or shape"
    shapes = {entry.name: entry.type.tensor_type.shape.dim for entry in (*found.value_info, *found.output)}
    for node in found.node:
        for output in node.output:
            assert len(shapes[output]) <= 4, f"{node.op_type} {output}"


# The verb -------------------------------------------------------------------------------------------------------------


def test_exporting_a_pick(supernet: ElasticDiT, tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(RunError, match="no run folder|not a run"):
        export(tmp_path)
    start_manifest(run, space="digits")
    supernet.save_pretrained(run.supernet)
    write_json(
        run.search("default") / "picks.json", {"fastest": {"spec": SHALLOW.to_dict(), "spec_hash": SHALLOW.hash}}
    )
    path = export(tmp_path, pick="fastest")
    assert path == run.pick(SHALLOW.hash) / "exports" / "dit.onnx"
    assert deviation(supernet.extract(SHALLOW), example_inputs(SPACE, seed=4), path) <= 1e-4
    with pytest.raises(RunError, match="--force"):
        export(tmp_path, pick="fastest")
    with pytest.raises(RunError, match="no pick 'best'; it has fastest"):
        export(tmp_path, pick="best")

    # Once distilled, the distilled weights are what is exported.
    student = supernet.extract(SHALLOW)
    redraw_(student, seed=8)
    save_model(student, run.pick(SHALLOW.hash) / "distilled", recipe=SamplingRecipe(3, 2.5))
    assert export(tmp_path, pick="fastest", force=True) == path
    assert deviation(student.eval(), example_inputs(SPACE, seed=4), path) <= 1e-4
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["steps"], card["shift"]) == (3, 2.5)
