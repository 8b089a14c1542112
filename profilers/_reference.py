"""The reference kernel: a small fixed piece of transformer whose time says how fast the machine is just now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from subdit.core.files import replacing
from subdit.core.files import write_json

_TOKENS, _WIDTH, _HIDDEN, _LAYERS = 64, 96, 384, 6

REFERENCE_DESCRIPTION = {"subdit_model": 1, "reference": True}
"""What torch reads instead of a file of weights."""


def write_reference(path: Path) -> Path:
    """Write the kernel in the format of the path's suffix: .onnx, .tflite, or .json for torch; always float32."""
    match path.suffix:
        case ".onnx":
            return write_reference_model(path)
        case ".json":
            return write_json(path, REFERENCE_DESCRIPTION)
    from profilers._tflite_reference import write_reference_tflite

    return write_reference_tflite(path)


def reference_weights() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Per layer the matrices `up` and `down` and the norm's `scale`; float32.

    A layer is x + softmax(down(gelu(up(norm(x))))), the norm without a shift, GELU by tanh, softmax over the width.
    """
    rng = np.random.default_rng(0)
    sizes = {"up": (_WIDTH, _HIDDEN), "down": (_HIDDEN, _WIDTH), "scale": (_WIDTH,)}
    for _ in range(_LAYERS):
        yield {name: (rng.standard_normal(size) / np.sqrt(size[0])).astype(np.float32) for name, size in sizes.items()}


def write_reference_model(path: Path) -> Path:
    """Write the kernel as ONNX; takes some hundreds of microseconds on a laptop's core, in the operators of a DiT."""
    import onnx
    from onnx import TensorProto
    from onnx import helper
    from onnx import numpy_helper

    nodes, weights = [], []
    at = "input"
    for layer, drawn in enumerate(reference_weights()):
        weights += [numpy_helper.from_array(array, f"{name}{layer}") for name, array in drawn.items()]
        nodes += [
            helper.make_node("LayerNormalization", [at, f"scale{layer}"], [f"n{layer}"], axis=-1),
            helper.make_node("MatMul", [f"n{layer}", f"up{layer}"], [f"h{layer}"]),
            helper.make_node("Gelu", [f"h{layer}"], [f"g{layer}"], approximate="tanh"),
            helper.make_node("MatMul", [f"g{layer}", f"down{layer}"], [f"d{layer}"]),
            helper.make_node("Softmax", [f"d{layer}"], [f"s{layer}"], axis=-1),
            helper.make_node("Add", [f"s{layer}", at], ["output" if layer == _LAYERS - 1 else f"x{layer}"]),
        ]
        at = f"x{layer}"
    shape = [1, _TOKENS, _WIDTH]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "reference", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
    return path


def reference_inputs() -> dict[str, npt.NDArray[np.float32]]:
    """What the kernel reads."""
    drawn = np.random.default_rng(1).standard_normal((1, _TOKENS, _WIDTH))
    return {"input": drawn.astype(np.float32)}
