"""How constants are stored: weights as float32, float16 or int8, other constants unchanged.

int8 is TFLite's dynamic range: weights are int8 per output channel, symmetric; activations are float, and are quantised
row by row when the product runs. Products of activations stay float.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supernet.tflite._graph import Array
from supernet.tflite._graph import Node

PRECISIONS = ("fp32", "fp16", "int8")
"""Precisions of weights."""

# Operators whose input 1 is a weight.
WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
INT8_VERSIONS = {"FULLY_CONNECTED": 12, "CONV_2D": 5}
"""Versions of the operators that take float activations and int8 weights per output channel.

The version makes a runtime refuse the file if it would compute such weights wrong: tflite-runtime 2.14 knows
FULLY_CONNECTED up to version 11, and would use the first channel's scale for all.
"""
# TFLite requires symmetric weights, without -128.
_LARGEST = 127


@dataclass(frozen=True)
class StoredConstant:
    """A constant to be written; `read` converts it, so that only one converted weight is in memory at a time."""

    source: Array
    type: str
    scales: npt.NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        return self.source.size * {"FLOAT16": 2, "INT8": 1}.get(self.type, 4)

    def read(self) -> Array:
        if self.type == "FLOAT16":
            largest = np.finfo(np.float16).max
            return np.clip(self.source, -largest, largest).astype(np.float16, order="C")
        if self.scales is None:
            return np.ascontiguousarray(self.source)
        scales = self.scales.reshape(-1, *(1,) * (self.source.ndim - 1))
        return np.clip(np.rint(self.source / scales), -_LARGEST, _LARGEST).astype(np.int8, order="C")


def store_constant(data: Array, precision: str = "fp32") -> StoredConstant:
    """A constant at a precision. float16 saturates at its largest number."""
    if data.dtype == np.int32:
        return StoredConstant(data, "INT32")
    if precision == "fp16":
        return StoredConstant(data, "FLOAT16")
    if precision == "int8":
        largest = np.abs(data).max(axis=tuple(range(1, data.ndim)))
        return StoredConstant(data, "INT8", (np.where(largest > 0, largest, 1.0) / _LARGEST).astype(np.float32))
    return StoredConstant(data, "FLOAT32")


def weight_precision(node: Node, precision: str) -> str:
    """The precision of a node's weights in a model of that precision.

    Depthwise convolutions, which have a thousandth of the weights, stay float32 in an int8 model.
    """
    if node.kind not in WEIGHTED:
        return "fp32"
    return "fp32" if precision == "int8" and node.kind not in INT8_VERSIONS else precision
