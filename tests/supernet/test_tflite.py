"""Files written as .tflite compute what torch computes, on weights of which every one takes part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch import nn

from subdit.core.errors import ExportError
from subdit.core.errors import RunError
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import KINDS
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import all_components
from subdit.space import get_space
from supernet.export import exporter as export_module
from supernet.export.export_pick import export
from supernet.export.exporter import export_tflite
from supernet.model.components import component_module
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.tflite import Operators
from supernet.tflite import Value
from supernet.tflite import _builder
from supernet.tflite import _operators
from supernet.tflite import graph_of
from supernet.tflite import write_flatbuffer
from supernet.tflite._layout import reshape_first
from supernet.tflite._layout import shape_of_concat
from tests.programs import require_module
from tests.supernet.shrunk import named_spaces
from tests.supernet.shrunk import shrunk
from tests.supernet.test_export import small_sub_dit

require_module("ai_edge_litert", "pip install 'subdit[litert]'")

SPACE = get_space("digits")
TOLERANCE = 1e-4
# Of root mean square error over the output's standard deviation: twice what whole sub-DiTs show (ARCHITECTURE.md).
LIMITS = {"fp16": 2e-3, "int8": 0.05}

# All that a file of ours may use.
OPERATORS = {
    *("ADD", "SUB", "MUL", "SIN", "COS", "LOGISTIC", "GELU", "SOFTMAX", "MEAN", "RSQRT"),
    *("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE"),
    *("RESHAPE", "TRANSPOSE", "CONCATENATION", "SLICE"),
}


def run(path: Path, inputs: dict[str, Tensor]) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    assert [entry["name"] for entry in details] == list(inputs)
    for entry in details:
        interpreter.set_tensor(entry["index"], inputs[entry["name"]].numpy())
    interpreter.invoke()
    (output,) = interpreter.get_output_details()
    assert output["name"] == "output"
    return interpreter.get_tensor(output["index"])


def other_inputs(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inputs other than those it was traced with: nothing of them may be baked in."""
    generator = torch.Generator().manual_seed(9)
    return {name: value + 0.5 * torch.randn(value.shape, generator=generator) for name, value in inputs.items()}


def torch_output(module: nn.Module, inputs: dict[str, Tensor]) -> np.ndarray:
    with torch.no_grad():
        return module(*inputs.values()).numpy()


def check(module: nn.Module, inputs: dict[str, Tensor], path: Path) -> None:
    export_tflite(module, inputs, path)
    for given_inputs in (inputs, other_inputs(inputs)):
        expected = torch_output(module, given_inputs)
        assert expected.std() > 0.1
        assert np.abs(run(path, given_inputs) - expected).max() <= TOLERANCE


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((actual - expected) ** 2)) / expected.std())


# What it computes -----------------------------------------------------------------------------------------------------


def of_each_kind(space: SearchSpace) -> list[Component]:
    """The last of each kind, which is the largest."""
    return list({entry.kind: entry for entry in all_components(space)}.values())


@pytest.mark.parametrize("component", of_each_kind(SPACE), ids=lambda component: component.name)
def test_components_equal_torch(component: Component, tmp_path: Path) -> None:
    made = component_module(SPACE, component)
    check(made.module, made.inputs, tmp_path / "component.tflite")


@pytest.mark.parametrize("kind", ["assa", "self_attention", "cross_attention"])
def test_components_equal_torch_where_rotations_are_too_large_to_be_made_anew(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on large grids: the tables are those of the model, shared, and the scale goes into the norm's weights."""
    monkeypatch.setattr(_builder, "MAX_TABLE", 64)
    monkeypatch.setattr(_operators, "MAX_TABLE", 64)
    made = component_module(SPACE, next(entry for entry in all_components(SPACE) if entry.kind == kind))
    check(made.module, made.inputs, tmp_path / "component.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_components_equal_torch(kind: str, tmp_path: Path) -> None:
    for component in all_components(SPACE):
        if component.kind == kind:
            made = component_module(SPACE, component, seed=1)
            check(made.module, made.inputs, tmp_path / f"{component.name}.tflite")


def cases() -> list[Any]:
    """One of each kind of each named space, shrunken; `digits` is small as it is."""
    spaces = [shrunk(space) for space in named_spaces() if space.name != "digits"]
    return [
        pytest.param(space, entry, id=f"{space.name}-{entry.name}") for space in spaces for entry in of_each_kind(space)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("space", "component"), cases())
def test_components_of_other_spaces_equal_torch(space: SearchSpace, component: Component, tmp_path: Path) -> None:
    made = component_module(space, component)
    check(made.module, made.inputs, tmp_path / "component.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("space", [shrunk(space) for space in named_spaces()], ids=lambda space: space.name)
def test_whole_sub_dits_of_every_space_equal_torch(space: SearchSpace, tmp_path: Path) -> None:
    check_whole(space, space.decode(space.enumerate(0, 1))[0], tmp_path)


def test_whole_sub_dits_equal_torch(tmp_path: Path) -> None:
    for spec in SPACE.decode(SPACE.sample(np.random.default_rng(3), 2)):
        check_whole(SPACE, spec, tmp_path)


def check_whole(space: SearchSpace, spec: SubDiTSpec, folder: Path) -> None:
    model = redraw_(SubDiT.from_spec(space, spec), 0).eval()
    path = export_tflite(model, example_inputs(space), folder / f"{spec.hash}.tflite")
    for seed in (1, 2):
        inputs = example_inputs(space, seed=seed)
        expected = torch_output(model, inputs)
        assert expected.std() > 0.1
        assert np.abs(run(path, inputs) - expected).max() <= TOLERANCE


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("kind", ["ffn", "assa", "patch_embed", "downsample", "upsample"])
def test_lower_precisions_stay_within_their_limits(kind: str, precision: str, tmp_path: Path) -> None:
    component = next(entry for entry in reversed(all_components(SPACE)) if entry.kind == kind)
    made = component_module(SPACE, component)
    path = export_tflite(made.module, made.inputs, tmp_path / "component.tflite", precision=precision)
    plain = export_tflite(made.module, made.inputs, tmp_path / "plain.tflite")
    error = relative_error(run(path, made.inputs), torch_output(made.module, made.inputs))
    assert error <= LIMITS[precision]
    assert error > 1e-6
    assert path.stat().st_size < plain.stat().st_size or kind == "patch_embed"


# What it is made of ---------------------------------------------------------------------------------------------------


def operators(path: Path) -> list[tuple[str, list[tuple[int, ...]], list[tuple[int, ...]], list[int]]]:
    """Each operator of a file: name, shapes of its inputs and outputs, indices of its inputs."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    (graph,) = model.subgraphs
    shapes = [tuple(tensor.shape) if tensor.shape is not None else () for tensor in graph.tensors]
    found = []
    for entry in graph.operators:
        inputs = [int(index) for index in entry.inputs]
        name = names[model.operatorCodes[entry.opcodeIndex].builtinCode]
        found.append((name, [shapes[at] for at in inputs], [shapes[at] for at in entry.outputs], inputs))
    return found


@pytest.mark.parametrize("name", ["mobile-1k", "digits"])
def test_a_file_is_of_plain_operators(name: str, tmp_path: Path) -> None:
    model = small_sub_dit(name)
    found = operators(export_tflite(model, model.example_inputs(), tmp_path / "dit.tflite"))
    assert {name for name, *_ in found} <= OPERATORS
    for operator, inputs, outputs, _ in found:
        assert all(len(shape) <= 4 for shape in (*inputs, *outputs)), operator
        assert operator != "FULLY_CONNECTED" or len(inputs) == 3
        assert operator != "CONCATENATION" or len(inputs) <= 4


def test_linears_hold_their_bias_and_no_norm_is_of_its_own(tmp_path: Path) -> None:
    """An FFN: two linears with bias, and of its norm, modulation, gate and residual no more than must be."""
    component = next(entry for entry in all_components(SPACE) if entry.kind == "ffn")
    made = component_module(SPACE, component)
    found = operators(export_tflite(made.module, made.inputs, tmp_path / "ffn.tflite"))
    tokens = component.grid**2
    full = [name for name, _, (shape,), _ in found if np.prod(shape) >= tokens * component.width]
    assert sorted(full) == sorted(
        ["SUB", "MUL", "MUL", "MUL", "ADD", "FULLY_CONNECTED", "GELU", "FULLY_CONNECTED", "MUL", "ADD"]
    )


@pytest.mark.parametrize("name", ["mid-256", "digits"])
def test_every_linear_is_there_once_and_tables_are_small(name: str, tmp_path: Path) -> None:
    """Rewriting must not compute or store anything twice: a sub-DiT's file is as large as its parameters."""
    model = small_sub_dit(name)
    path = export_tflite(model, model.example_inputs(), tmp_path / "dit.tflite")
    linears = [part for part in model.modules() if isinstance(part, nn.Linear | nn.ConvTranspose2d)]
    found = [operator for operator, *_ in operators(path)]
    assert found.count("FULLY_CONNECTED") == len(linears)
    parameters = sum(part.weight.nelement() for part in linears) * 4
    tables = 500 * len(found)
    assert path.stat().st_size < 1.25 * parameters + tables


def test_a_file_is_the_same_every_time(tmp_path: Path) -> None:
    made = component_module(SPACE, of_each_kind(SPACE)[3])
    for precision in ("fp32", "fp16", "int8"):
        first, second = (
            export_tflite(made.module, made.inputs, tmp_path / f"{at}-{precision}", precision=precision).read_bytes()
            for at in range(2)
        )
        assert first == second
    assert len(list(tmp_path.iterdir())) == 6


# What is refused ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    module, inputs, path = nn.Linear(64, 64), {"x": torch.zeros(1, 4, 64)}, tmp_path / "x.tflite"
    with pytest.raises(ExportError, match="no precision 'int4' of .tflite; choose from fp32, fp16, int8"):
        export_tflite(module, inputs, path, precision="int4")
    with pytest.raises(ExportError, match="does not support the operator Tanh"):
        export_tflite(nn.Sequential(module, nn.Tanh()), inputs, path)
    assert not list(tmp_path.iterdir())
    export_tflite(module, inputs, path)
    with pytest.raises(RunError, match="--force"):
        export_tflite(module, inputs, path)
    export_tflite(module, inputs, path, force=True)


def test_a_model_above_the_end_of_a_flatbuffer_is_refused(tmp_path: Path) -> None:
    make, given_value = Operators(), Value((1, 20000), name="x")
    weight = np.broadcast_to(np.float32(1), (30000, 20000))
    graph = graph_of([given_value], make.linear(given_value, weight), "output")
    with pytest.raises(
        ExportError, match="takes 2.40 GB as .tflite, which ends at 2.15 GB; export it as int8, or as ONNX"
    ):
        write_flatbuffer(graph, tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


# The verb -------------------------------------------------------------------------------------------------------------


def test_exporting_a_pick_for_litert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_folder, spec = Run(tmp_path), SPACE.decode(SPACE.enumerate(0, 1))[0]
    start_manifest(run_folder, space="digits")
    supernet = ElasticDiT(space="digits")
    redraw_(supernet, 0)
    supernet.save_pretrained(run_folder.supernet)
    picks = {"fastest": {"spec": spec.to_dict(), "spec_hash": spec.hash}}
    write_json(run_folder.search("default") / "picks.json", picks)
    path = export(tmp_path, pick="fastest", format="litert", precision="int8")
    assert path == run_folder.pick(spec.hash) / "exports" / "dit-int8.tflite"
    inputs = example_inputs(SPACE, seed=4)
    expected = torch_output(supernet.extract(spec).eval(), inputs)
    assert relative_error(run(path, inputs), expected) <= LIMITS["int8"]
    card = json.loads(path.with_suffix(".json").read_text())
    assert 1e-3 < card["deviation_from_torch"] < LIMITS["int8"]
    with pytest.raises(RunError, match="--force"):
        export(tmp_path, pick="fastest", format="litert", precision="int8")
    monkeypatch.setitem(export_module.TOLERANCES, "int8", 1e-9)
    with pytest.raises(ExportError, match="int8 export of .* differs from torch by .*; export it as fp16 or fp32"):
        export(tmp_path, pick="fastest", format="litert", precision="int8", force=True)
    assert not path.exists()


def test_a_format_or_precision_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no format 'coreml'; choose from onnx, litert"):
        export(tmp_path, format="coreml")
    with pytest.raises(ExportError, match="no int8 for the format onnx; choose fp32, or another format"):
        export(tmp_path, precision="int8")


# Moves, on shapes alone -----------------------------------------------------------------------------------------------


@st.composite
def reshaped_transposes(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...], tuple[int, ...]]:
    """An array, an order of its axes, and a shape that its transpose is reshaped to."""
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4))
    order = tuple(draw(st.permutations(range(len(sizes)))))
    total, target = int(np.prod(sizes)), []
    for _ in range(draw(st.integers(0, 3))):
        size = draw(st.sampled_from([size for size in range(1, total + 1) if total % size == 0]))
        target.append(size)
        total //= size
    return np.arange(np.prod(sizes)).reshape(sizes), order, (*target, total)


@given(reshaped_transposes())
@settings(max_examples=300, deadline=None)
def test_a_reshape_passes_a_transpose_only_where_the_values_stay(case: Any) -> None:
    array, order, target = case
    expected = array.transpose(order).reshape(target)
    found = reshape_first(array.shape, order, target)
    if found is not None:
        np.testing.assert_array_equal(array.reshape(found[0]).transpose(found[1]), expected)
    if list(order) == sorted(order):
        assert found is not None


@given(reshaped_transposes(), st.integers(0, 3), st.integers(0, 3), st.integers(2, 3))
@settings(max_examples=300, deadline=None)
def test_a_concatenation_passes_a_reshape_only_where_the_values_stay(case: Any, axis: int, at: int, count: int) -> None:
    array, _, target = case
    axis %= len(target)
    pieces = [array + 1000 * index for index in range(count)]
    expected = np.concatenate([piece.reshape(target) for piece in pieces], axis)
    found = shape_of_concat([piece.shape for piece in pieces], [target] * count, axis)
    if found is not None:
        np.testing.assert_array_equal(np.concatenate(pieces, found[0]).reshape(found[1]), expected)
    if axis == 0 and target[0] > 1 and array.shape[0] == target[0]:
        assert found is not None


def test_transposes_meet_and_cancel() -> None:
    """Tokens to an image with channels first and back, as a convolution has it, cost nothing."""
    make, tokens = Operators(), Value((1, 16, 6))
    image = make.reshape(make.transpose(tokens, (0, 2, 1)), (1, 6, 4, 4))
    last = make.transpose(image, (0, 2, 3, 1))
    assert last.node is not None and last.node.kind == "RESHAPE" and last.node.inputs[0] is tokens
    back = make.reshape(make.transpose(last, (0, 3, 1, 2)), (1, 6, 16))
    assert make.transpose(back, (0, 2, 1)) is tokens
