"""ONNX graphs after the exporter: cleaned to plain operators on static shapes, and weights in a separate file.

The exporter writes a known shape as arithmetic on shapes (Shape, Gather, Mod, ...), which runtimes other than ONNX
Runtime refuse. A protobuf cannot hold more than 2 GB, and the exporter copies its content. With external data the graph
is therefore exported with the parameters as inputs, and cleaned while it is small. The parameters are attached last,
and read one by one while the file is written.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor
from torch import nn

from subdit.core.files import replacing

# Tensors up to this size stay in the graph, where tools read shapes and axes.
INLINE_BYTES = 1024


def data_path(path: Path) -> Path:
    """The path of the external weights of an export at `path`."""
    return path.with_name(f"{path.name}.data")


def write_graph(graph: bytes, path: Path) -> None:
    """Write a serialised model, cleaned, as one file."""
    import onnx_ir as ir

    with replacing(path) as temporary:
        ir.save(_cleaned(graph), temporary)
    data_path(path).unlink(missing_ok=True)


def write_with_external_data(graph: bytes, parameters: dict[str, Tensor], user_inputs: int, path: Path) -> None:
    """Write X.onnx and X.onnx.data; the data is moved into place first, so that a model is never without it.

    Args:
        graph: serialised model whose inputs after the first `user_inputs` are parameters, by name.
        parameters: these parameters, by name.
        user_inputs: inputs that stay inputs.
        path: X.onnx.
    """
    import onnx_ir as ir

    model = _cleaned(graph)
    _attach(model.graph, parameters, user_inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as made:
        ir.save(model, Path(made) / path.name, external_data=data_path(path).name, size_threshold_bytes=INLINE_BYTES)
        # An old graph is deleted before its data changes: a kill here leaves no model rather than a wrong one.
        path.unlink(missing_ok=True)
        (Path(made) / data_path(path).name).replace(data_path(path))
        (Path(made) / path.name).replace(path)


def _cleaned(graph: bytes) -> Any:
    """The model with arithmetic on shapes folded, equal constants shared and the exporter's notes removed."""
    import onnx
    import onnx_ir as ir
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants

    model = ir.from_proto(onnx.load_from_string(graph))
    fold_constants(model, onnx_shape_inference=True)
    ir.passes.Sequential(
        common.ClearMetadataAndDocStringPass(),
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(size_limit=0),
        common.DeduplicateHashedInitializersPass(),
        common.RemoveUnusedNodesPass(),
    )(model)
    return model


def _attach(graph: Any, parameters: dict[str, Tensor], user_inputs: int) -> None:
    """Turn parameter inputs into initializers; one that the graph transposes is stored transposed."""
    from onnx_ir.tensor_adapters import TorchTensor

    for value in list(graph.inputs)[user_inputs:]:
        parameter = parameters[value.name].detach()
        graph.inputs.remove(value)
        for node in [use.node for use in value.uses()]:
            if node.op_type != "Transpose":
                continue
            order = node.attributes["perm"].as_ints()
            transposed = _initializer(f"{value.name}.transposed", parameter.permute(*order))
            if transposed.name not in graph.initializers:
                graph.register_initializer(transposed)
            node.outputs[0].replace_all_uses_with(graph.initializers[transposed.name])
            graph.remove(node, safe=True)
        if value.uses():
            value.const_value = TorchTensor(parameter, name=value.name)
            graph.register_initializer(value)


def _initializer(name: str, tensor: Tensor) -> Any:
    import onnx_ir as ir
    from onnx_ir.tensor_adapters import TorchTensor

    held = TorchTensor(tensor, name=name)
    return ir.Value(name=name, shape=held.shape, type=ir.TensorType(held.dtype), const_value=held)


def parameter_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters."""
    return sum(parameter.nbytes for parameter in module.parameters())
