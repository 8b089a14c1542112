"""Writes the reference kernel as .onnx, as .tflite, and as what torch reads."""

from __future__ import annotations

from pathlib import Path

from profilers._reference_kernel import LAYERS
from profilers._reference_kernel import REFERENCE_DESCRIPTION
from profilers._reference_kernel import TOKENS
from profilers._reference_kernel import WIDTH
from profilers._reference_kernel import reference_inputs
from profilers._reference_kernel import reference_weights
from subdit.core.files import replacing
from subdit.core.files import write_json

# That of ONNX's LayerNormalization where none is given.
_EPSILON = 1e-5


def write_reference(path: Path) -> Path:
    """Write the kernel in the format of the path's suffix: .onnx, .tflite, or .json for torch; always float32."""
    match path.suffix:
        case ".onnx":
            return write_reference_model(path)
        case ".json":
            return write_json(path, REFERENCE_DESCRIPTION)
    return write_reference_tflite(path)


def write_reference_model(path: Path) -> Path:
    """Write the kernel as ONNX; takes some hundreds of microseconds on a laptop's core, in the operators of a DiT."""
    import onnx
    from onnx import TensorProto
    from onnx import helper
    from onnx import numpy_helper

    nodes, weights = [], []
    previous = "input"
    for layer, drawn in enumerate(reference_weights()):
        weights += [numpy_helper.from_array(array, f"{name}{layer}") for name, array in drawn.items()]
        nodes += [
            helper.make_node("LayerNormalization", [previous, f"scale{layer}"], [f"n{layer}"], axis=-1),
            helper.make_node("MatMul", [f"n{layer}", f"up{layer}"], [f"h{layer}"]),
            helper.make_node("Gelu", [f"h{layer}"], [f"g{layer}"], approximate="tanh"),
            helper.make_node("MatMul", [f"g{layer}", f"down{layer}"], [f"d{layer}"]),
            helper.make_node("Softmax", [f"d{layer}"], [f"s{layer}"], axis=-1),
            helper.make_node("Add", [f"s{layer}", previous], ["output" if layer == LAYERS - 1 else f"x{layer}"]),
        ]
        previous = f"x{layer}"
    shape = [1, TOKENS, WIDTH]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "reference", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
    return path


def write_reference_tflite(path: Path) -> Path:
    """Write the kernel as .tflite, float32; raises `MissingExtraError` without LiteRT, whose schema it writes by."""
    from supernet.tflite import Operators
    from supernet.tflite import Value
    from supernet.tflite import graph_of
    from supernet.tflite import write_flatbuffer

    make = Operators()
    given = Value(reference_inputs()["input"].shape, name="input")
    at = given
    for weights in reference_weights():
        normed = make.layer_norm(at, weights["scale"], None, epsilon=_EPSILON)
        hidden = make.gelu(make.linear(normed, weights["up"].T), approximate=True)
        at = make.add(make.softmax(make.linear(hidden, weights["down"].T)), at)
    write_flatbuffer(graph_of([given], at, "output"), path)
    return path
