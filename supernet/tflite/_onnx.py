"""Reads an exported ONNX graph, whose few operators `supernet.export.onnx_graph` guarantees, into a TFLite graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from subdit.core.errors import ExportError
from supernet.tflite._graph import Array
from supernet.tflite._graph import Graph
from supernet.tflite._graph import Value
from supernet.tflite._graph import graph_of
from supernet.tflite._operators import Operators


def read_onnx(path: Path) -> Graph:
    """The graph of an ONNX file; large weights stay on disk. Raises `ExportError` on an unknown operator."""
    import onnx_ir as ir

    graph: Any = ir.load(path).graph
    reader = _Reader()
    for name, initializer in graph.initializers.items():
        data = initializer.const_value.numpy()
        reader.values[name] = Value(data.shape, data)
    inputs = []
    for value in graph.inputs:
        held = Value(tuple(int(size) for size in value.shape), name=value.name)
        reader.values[value.name] = held
        inputs.append(held)
    for node in graph:
        reader.read(node)
    (output,) = graph.outputs
    return graph_of(inputs, reader.values[output.name], output.name)


class _Reader(Operators):
    """Translates ONNX's operators; `values` are the values read so far, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Value] = {}

    def read(self, node: Any) -> None:
        inputs = [None if entry is None else self.values[entry.name] for entry in node.inputs]
        options = {name: attribute.value for name, attribute in node.attributes.items()}
        self.values[node.outputs[0].name] = self._translated(node.op_type, inputs, options)

    def _translated(self, kind: str, inputs: list[Any], options: dict[str, Any]) -> Value:
        x = inputs[0]
        match kind:
            case "Add":
                return self.add_bias(x, inputs[1])
            case "Mul":
                return self.mul(x, inputs[1])
            case "Sub":
                return self.binary("SUB", x, inputs[1])
            case "Sin" | "Cos":
                return self.unary(kind.upper(), x)
            case "Sigmoid":
                return self.unary("LOGISTIC", x)
            case "Gelu":
                return self.gelu(x, approximate=options.get("approximate", "none") == "tanh")
            case "Softmax":
                self._require(options.get("axis", -1) in (-1, len(x.shape) - 1), "a softmax over an inner axis")
                return self.softmax(x)
            case "LayerNormalization":
                self._require(options.get("axis", -1) in (-1, len(x.shape) - 1), "a norm over several axes")
                bias = inputs[2].data if len(inputs) > 2 and inputs[2] is not None else None
                return self.layer_norm(x, inputs[1].data, bias, epsilon=options.get("epsilon", 1e-5))
            case "MatMul":
                return self._matmul(x, inputs[1])
            case "Gemm":
                return self._gemm(inputs, options)
            case "Conv" | "ConvTranspose":
                return self._convolution(kind, inputs, options)
            case "DepthToSpace":
                self._require(options.get("mode") == "CRD", "depth to space with depth first")
                return self.pixel_shuffle(x, options["blocksize"])
        return self._moved(kind, inputs, options)

    def _moved(self, kind: str, inputs: list[Any], options: dict[str, Any]) -> Value:
        x = inputs[0]
        match kind:
            case "Transpose":
                return self.transpose(x, options["perm"])
            case "Concat":
                return self.concat(inputs, options["axis"] % len(x.shape))
            case "Reshape":
                return self.reshape(x, _target_shape(x.shape, inputs[1].data))
            case "Unsqueeze":
                axes = {int(axis) % (len(x.shape) + inputs[1].elements) for axis in inputs[1].data}
                sizes = iter(x.shape)
                rank = len(x.shape) + len(axes)
                return self.reshape(x, tuple(1 if axis in axes else next(sizes) for axis in range(rank)))
            case "Slice":
                return self._slice(x, inputs[1:])
        raise ExportError(f"The writer of .tflite does not support the operator {kind}; export the model as ONNX.")

    def _slice(self, x: Value, entries: list[Any]) -> Value:
        held: list[Any] = [None if entry is None else entry.data for entry in [*entries, None, None]]
        starts, ends, axes, steps = held[:4]
        self._require(steps is None or all(steps == 1), "a slice with steps")
        begin, size = [0] * len(x.shape), list(x.shape)
        for index, axis in enumerate(range(len(starts)) if axes is None else axes):
            extent = x.shape[axis]
            first, last = (
                int(np.clip(edge + extent if edge < 0 else edge, 0, extent)) for edge in (starts[index], ends[index])
            )
            begin[axis], size[axis] = first, last - first
        return self.slice(x, begin, size)

    def _matmul(self, x: Value, y: Value) -> Value:
        if y.data is not None and len(y.shape) == 2:
            return self.linear(x, y.data.T)
        self._require(x.shape[:-2] == y.shape[:-2], "a matrix product that broadcasts")
        return self.product(x, y)

    def _gemm(self, inputs: list[Any], options: dict[str, Any]) -> Value:
        plain = options.get("alpha", 1.0) == 1.0 and options.get("beta", 1.0) == 1.0 and not options.get("transA", 0)
        self._require(plain and inputs[1].data is not None, "a scaled matrix product")
        weight = inputs[1].data if options.get("transB", 0) else inputs[1].data.T
        return self.linear(inputs[0], weight, inputs[2].data.reshape(-1) if len(inputs) > 2 else None)

    def _convolution(self, kind: str, inputs: list[Any], options: dict[str, Any]) -> Value:
        weight, bias = inputs[1].data, inputs[2].data if len(inputs) > 2 else None
        kernel, strides, groups = weight.shape[2:], options["strides"], options.get("group", 1)
        plain = not any(options.get("pads", ())) and set(options.get("dilations", (1,))) == {1}
        self._require(plain and len({*strides}) == 1, "a padded or dilated convolution")
        if kind == "Conv":
            self._require(groups in (1, weight.shape[0]), "a grouped convolution")
            return self.conv(inputs[0], weight, bias, stride=strides[0], groups=groups)
        self._require(tuple(strides) == tuple(kernel) and groups == 1, "an overlapping transposed convolution")
        return self.unpatch(inputs[0], weight, bias)

    def _require(self, held: Any, what: str) -> None:
        if not held:
            raise ExportError(f"The model has {what}, which the writer of .tflite does not support; export it as ONNX.")


def _target_shape(shape: tuple[int, ...], wanted: Array) -> tuple[int, ...]:
    """The shape of ONNX's Reshape, where 0 keeps a size and -1 is the rest."""
    sizes = [shape[index] if size == 0 else int(size) for index, size in enumerate(wanted)]
    if -1 in sizes:
        rest = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = int(np.prod(shape)) // rest
    return tuple(sizes)
