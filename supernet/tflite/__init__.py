"""Writes .tflite files from exported ONNX graphs without a converter, and runs them."""

from __future__ import annotations

from pathlib import Path

from supernet.tflite._flatbuffer import write_flatbuffer
from supernet.tflite._graph import Graph
from supernet.tflite._graph import Value
from supernet.tflite._graph import graph_of
from supernet.tflite._interpreter import LIBRARIES
from supernet.tflite._interpreter import Library
from supernet.tflite._interpreter import interpreter_class
from supernet.tflite._model import load_tflite
from supernet.tflite._model import run_tflite
from supernet.tflite._onnx import read_onnx
from supernet.tflite._operators import Operators
from supernet.tflite._quantization import PRECISIONS
from supernet.tflite._silence import silence_libraries
from supernet.tflite._tables import count_operators
from supernet.tflite._tables import problem_of


def write_tflite(onnx_path: Path, path: Path, *, precision: str = "fp32") -> None:
    """Write a file of `supernet.export.exporter.export_onnx` as .tflite.

    Inputs keep their names, order and layout. Weights are stored as float32, as float16 (a CPU computes with them as
    float32), or as int8 per output channel with float activations.

    Raises:
        ExportError: an operator has no counterpart, or the model is above 2 GB, the limit of a flatbuffer.
    """
    write_flatbuffer(read_onnx(onnx_path), path, precision=precision)


__all__ = [
    "LIBRARIES",
    "PRECISIONS",
    "Graph",
    "Library",
    "Operators",
    "Value",
    "count_operators",
    "graph_of",
    "interpreter_class",
    "load_tflite",
    "problem_of",
    "run_tflite",
    "silence_libraries",
    "write_flatbuffer",
    "write_tflite",
]
