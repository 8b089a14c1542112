"""Writes .tflite files without a converter, an exported ONNX graph in and a flatbuffer out, and runs them."""

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
    """Write what `supernet.export.exporter.export_onnx` made as .tflite.

    Inputs keep their names, order and layout. Weights are stored as float32, as float16 (and computed with as float32
    on a processor), or as int8 per output channel with float activations.

    Raises:
        ExportError: an operator without a counterpart, or a model above 2 GB, where a flatbuffer ends.
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
