"""Weights of exported models in half precision and int8, against what numpy makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from subdit.core.errors import ExportError
from subdit.space import Component
from subdit.space import get_space
from supernet.export.exporter import export_onnx
from supernet.export.onnx_precision import quantize_int8
from supernet.export.onnx_precision import store_fp16
from supernet.model.components import component_module

SPACE = get_space("digits")


def exported(name: str, folder: Path) -> Path:
    made = component_module(SPACE, Component.from_name(name))
    return export_onnx(made.module, made.inputs, folder / "model.onnx")


def weights(path: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer}


def test_matrices_are_stored_in_half_precision_and_nothing_else(tmp_path: Path) -> None:
    source = exported("time_embed-w48", tmp_path)
    before, after = weights(source), weights(store_fp16(source, tmp_path / "half.onnx"))
    halved = {name for name, array in after.items() if array.dtype == np.float16}
    assert {name.removesuffix(".fp16") for name in halved} == {n for n, a in before.items() if n.endswith("weight")}
    assert all((after[name] == before[name.removesuffix(".fp16")].astype(np.float16)).all() for name in halved)
    assert all((after[name] == before[name]).all() for name in set(after) - halved)
    onnx.checker.check_model(str(tmp_path / "half.onnx"))


@pytest.mark.parametrize("name", ["ffn-w48-g4-f1", "assa-w48-g4-b4-r1-c2", "time_embed-w48", "downsample-w48-g4"])
def test_every_linear_is_quantised_by_output_channel(name: str, tmp_path: Path) -> None:
    source = exported(name, tmp_path)
    target = quantize_int8(source, tmp_path / "int8.onnx")
    before = onnx.load(str(source)).graph
    constants = {one.name: numpy_helper.to_array(one) for one in before.initializer}
    linears = [node for node in before.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants]
    matrices = []
    for node in linears:
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        matrices.append(constants[node.input[1]].T if transposed else constants[node.input[1]])
    stored = weights(target)
    quantised = [node for node in onnx.load(str(target)).graph.node if node.op_type == "MatMulInteger"]
    assert len(quantised) == len(linears) == {"ffn": 2, "assa": 5, "time_embed": 3, "downsample": 0}[name.split("-")[0]]
    for node in quantised:
        integers = stored[node.input[1]]
        assert integers.dtype == np.int8
        # The nearest integers at a scale of its own for each output channel.
        assert any(
            matrix.shape == integers.shape
            and np.abs(np.rint(matrix / (np.abs(matrix).max(axis=0) / 127)) - integers).max() <= 1
            for matrix in matrices
        )


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    module = nn.Linear(4, 4)
    with torch.no_grad():
        module.weight[0, 0] = 1e6
    source = export_onnx(module, {"x": torch.zeros(1, 4)}, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="too large for half precision"):
        store_fp16(source, tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()
