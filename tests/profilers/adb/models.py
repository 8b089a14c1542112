"""Small .tflite files, written field by field: a chain of fully connected layers with tanh between."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def write_chain(path: Path, *, tokens: int, width: int, layers: int, seed: int) -> list[np.ndarray]:
    """y = tanh(x W0) W1 ...: input "x" of tokens by width, output "output"; returns the matrices."""
    rng = np.random.default_rng(seed)
    matrices = [(rng.standard_normal((width, width)) / width**0.5).astype(np.float32) for _ in range(layers)]
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, "chain"
    model.buffers = [schema.BufferT()]
    model.operatorCodes, model.subgraphs = [], [graph]
    for code in (schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.TANH):
        made = schema.OperatorCodeT()
        made.builtinCode = made.deprecatedBuiltinCode = code
        made.version = 1
        model.operatorCodes.append(made)
    graph.name, graph.tensors, graph.operators = "main", [], []

    def tensor(name: str, shape: tuple[int, ...], data: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, 0
        if data is not None:
            stored = schema.BufferT()
            stored.data = np.frombuffer(data.tobytes(), dtype=np.uint8)
            model.buffers.append(stored)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], outputs: list[int]) -> None:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
        if code == 0:
            made.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
            made.builtinOptions = schema.FullyConnectedOptionsT()
        graph.operators.append(made)

    at = tensor("x", (tokens, width))
    graph.inputs = [at]
    for layer, matrix in enumerate(matrices):
        weights = tensor(f"w{layer}", (width, width), np.ascontiguousarray(matrix.T))
        last = layer == layers - 1
        product = tensor("output" if last else f"p{layer}", (tokens, width))
        operator(0, [at, weights, -1], [product])
        at = product
        if not last:
            at = tensor(f"t{layer}", (tokens, width))
            operator(1, [product], [at])
    graph.outputs = [at]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(builder.Output()))
    return matrices


def run_chain(matrices: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the chain computes, by numpy."""
    for matrix in matrices[:-1]:
        x = np.tanh(x @ matrix)
    return x @ matrices[-1]
