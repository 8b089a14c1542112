"""The reference kernel as .tflite, with the mathematics of `profilers._reference`."""

from __future__ import annotations

from pathlib import Path

from profilers._reference import reference_inputs
from profilers._reference import reference_weights
from supernet.tflite import Operators
from supernet.tflite import Value
from supernet.tflite import graph_of
from supernet.tflite import write_flatbuffer

# That of ONNX's LayerNormalization where none is given.
_EPSILON = 1e-5


def write_reference_tflite(path: Path) -> Path:
    """Write the kernel as .tflite, float32; raises `MissingExtraError` without LiteRT, whose schema it writes by."""
    make = Operators()
    given = Value(reference_inputs()["input"].shape, name="input")
    at = given
    for weights in reference_weights():
        normed = make.layer_norm(at, weights["scale"], None, epsilon=_EPSILON)
        hidden = make.gelu(make.linear(normed, weights["up"].T), approximate=True)
        at = make.add(make.softmax(make.linear(hidden, weights["down"].T)), at)
    write_flatbuffer(graph_of([given], at, "output"), path)
    return path
