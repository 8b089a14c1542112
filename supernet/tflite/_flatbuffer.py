"""Writes a graph as a .tflite file: the tables through the schema's object API, the weights streamed after them.

Tables refer to vectors by forward offsets, so the weights may lie after all tables; no weight is in memory twice. The
schema is LiteRT's own (`ai_edge_litert.schema_py_generated`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from subdit.core.errors import ExportError
from subdit.core.files import replacing
from supernet.tflite._graph import Array
from supernet.tflite._graph import Graph
from supernet.tflite._graph import Node
from supernet.tflite._graph import Shape
from supernet.tflite._graph import Value
from supernet.tflite._quantization import INT8_VERSIONS
from supernet.tflite._quantization import StoredConstant
from supernet.tflite._quantization import store_constant
from supernet.tflite._quantization import weight_precision
from supernet.tflite._tables import BUFFER_DATA
from supernet.tflite._tables import IDENTIFIER
from supernet.tflite._tables import MODEL_BUFFERS
from supernet.tflite._tables import Table

# A flatbuffer's offsets are signed 32 bits.
MAX_BYTES = 2**31 - 1
# Bytes to which XNNPACK and the kernels want weights aligned.
_ALIGNMENT = 64

# Operators whose options table is not named after the operator.
_OPTIONS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "MEAN": "Reducer",
}
# Operators without an options table.
_PLAIN = {"LOGISTIC", "RSQRT", "SIN"}
# Versions above 1, which the options that we use need.
_VERSIONS = {"FULLY_CONNECTED": 5}
# Constants up to this size are compared by content.
_SHARED_BYTES = 1024


def write_flatbuffer(graph: Graph, path: Path, *, precision: str = "fp32") -> None:
    """Write a graph with its weights at a precision; raises `ExportError` above 2 GB."""
    tables, buffers = _tables(graph, precision)
    total = len(tables) + sum(data.nbytes + 2 * _ALIGNMENT for data in buffers)
    if total > MAX_BYTES:
        raise ExportError(
            f"The model takes {total / 1e9:.2f} GB as .tflite, which ends at 2.15 GB; export it as int8, or as ONNX."
        )
    # The position of each buffer's data offset, except the empty buffer's.
    fields = [table.field(BUFFER_DATA) for table in Table.root(tables).tables(MODEL_BUFFERS)[1:]]
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(tables)
        end = len(tables)
        for field, data in zip(fields, buffers, strict=True):
            # The data, not its length before it, is what must be aligned.
            start = -(-(end + 4) // _ALIGNMENT) * _ALIGNMENT
            struct.pack_into("<I", tables, field, start - 4 - field)
            file.write(b"\0" * (start - 4 - end) + struct.pack("<I", data.nbytes))
            file.write(data.read().data)
            end = start + data.nbytes
        file.seek(0)
        file.write(tables)


def _tables(graph: Graph, precision: str) -> tuple[bytearray, list[StoredConstant]]:
    """The file without its weights, and the weights; each buffer has one byte in their place."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    writer = _Tables(graph, precision, schema)
    model = schema.ModelT(
        version=3,
        description="subdit",
        operatorCodes=writer.codes,
        subgraphs=[writer.subgraph],
        # By convention the first buffer is the empty one, which tensors without data share.
        buffers=[schema.BufferT(), *(schema.BufferT(data=[0]) for _ in writer.buffers)],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytearray(builder.Output()), writer.buffers


class _Tables:
    """Tensors, operators and operator codes of one graph."""

    def __init__(self, graph: Graph, precision: str, schema: Any) -> None:
        self.schema = schema
        self.codes: list[Any] = []
        self.buffers: list[StoredConstant] = []
        self._tensors: list[Any] = []
        self._index: dict[int, int] = {}
        self._shared: dict[tuple[Any, ...], int] = {}
        self._code_index: dict[tuple[str, int], int] = {}
        self._operators: list[Any] = []
        inputs = [self._tensor(value) for value in graph.inputs]
        for node in graph.nodes:
            self._node(node, weight_precision(node, precision))
        self.subgraph = schema.SubGraphT(
            name="main",
            tensors=self._tensors,
            inputs=inputs,
            outputs=[self._tensor(graph.output)],
            operators=self._operators,
        )

    def _node(self, node: Node, precision: str) -> None:
        options, version = dict(node.options), _VERSIONS.get(node.kind, 1)
        inputs = [
            self._constant(value, precision) if index == 1 and precision != "fp32" else self._tensor(value)
            for index, value in enumerate(node.inputs)
        ]
        if precision == "fp16":
            half, inputs[1] = inputs[1], self._append("", node.inputs[1].shape, "FLOAT32")
            self._operator("DEQUANTIZE", [half], inputs[1], {}, 3)
        elif precision == "int8":
            version = INT8_VERSIONS[node.kind]
            if node.kind == "FULLY_CONNECTED":
                options["asymmetricQuantizeInputs"] = True
        self._operator(node.kind, inputs, self._tensor(node.output), options, version)

    def _operator(self, kind: str, inputs: list[int], output: int, options: Mapping[str, Any], version: int) -> None:
        schema = self.schema
        operator = schema.OperatorT(opcodeIndex=self._code(kind, version), inputs=inputs, outputs=[output])
        if kind not in _PLAIN:
            table = _OPTIONS.get(kind, "".join(part.capitalize() for part in kind.split("_")))
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{table}Options")
            operator.builtinOptions = getattr(schema, f"{table}OptionsT")(**options)
        self._operators.append(operator)

    def _code(self, kind: str, version: int) -> int:
        key = (kind, version)
        if key not in self._code_index:
            number = getattr(self.schema.BuiltinOperator, kind)
            # Old readers read the 8-bit field only, where 127 stands for numbers that do not fit.
            old = min(number, 127)
            code = self.schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=old, version=version)
            self._code_index[key] = len(self.codes)
            self.codes.append(code)
        return self._code_index[key]

    def _tensor(self, value: Value) -> int:
        """Index of a value's tensor."""
        if id(value) not in self._index:
            made = self._append(value.name, value.shape, "FLOAT32") if value.data is None else self._constant(value)
            self._index[id(value)] = made
        return self._index[id(value)]

    def _constant(self, value: Value, precision: str = "fp32") -> int:
        """Index of a constant's tensor; equal small ones share one."""
        assert value.data is not None
        kept = store_constant(value.data, precision)
        content = kept.read().tobytes() if kept.nbytes <= _SHARED_BYTES else id(value)
        key = (kept.type, value.shape, content)
        if key not in self._shared:
            self.buffers.append(kept)
            self._shared[key] = self._append(value.name, value.shape, kept.type, len(self.buffers), kept.scales)
        return self._shared[key]

    def _append(self, name: str, shape: Shape, kind: str, buffer: int = 0, scales: Array | None = None) -> int:
        schema, index = self.schema, len(self._tensors)
        number = getattr(schema.TensorType, kind)
        tensor = schema.TensorT(name=name or f"t{index}", shape=list(shape), type=number, buffer=buffer)
        if scales is not None:
            zeros = np.zeros(len(scales), dtype=np.int64)
            tensor.quantization = schema.QuantizationParametersT(scale=scales, zeroPoint=zeros, quantizedDimension=0)
        self._tensors.append(tensor)
        return index
