"""Exported ONNX models with their weights in half precision or in eight bits."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from subdit.core.errors import ExportError
from subdit.core.files import replacing

_PRODUCTS = ("MatMul", "Gemm")
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def store_fp16(source: Path, target: Path) -> Path:
    """Write the model with the matrices of linears and convolutions in half precision, cast back before they are used.

    CPUs have no half-precision products, so everything is computed in float32 on rounded weights. Vectors and tables
    stay float32, because rounding would put the angles of the time embedding wrong by radians. Raises `ExportError` if
    a weight is too large for half precision.
    """
    import onnx
    from onnx import helper
    from onnx import numpy_helper

    model = onnx.load(str(source))
    matrices = {node.input[1] for node in model.graph.node if node.op_type in _PRODUCTS + _CONVOLUTIONS}
    casts = []
    for weight in model.graph.initializer:
        if weight.name not in matrices:
            continue
        array = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if not np.isfinite(half).all():
            raise ExportError(f"The weight {weight.name} of {source} is too large for half precision; keep it in fp32.")
        stored = f"{weight.name}.fp16"
        casts.append(helper.make_node("Cast", [stored], [weight.name], to=onnx.TensorProto.FLOAT))
        weight.CopyFrom(numpy_helper.from_array(half, stored))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with replacing(target) as temporary:
        onnx.save(model, str(temporary))
    return target


def quantize_int8(source: Path, target: Path) -> Path:
    """Write the model with the matrices of its linears in int8, a scale for each output channel.

    This is ONNX Runtime's dynamic quantisation: the inputs of linears are quantised at run time, and products are in
    int8. Convolutions, attention's own products and vectors stay float32. Raises `ExportError` if a matrix is left out.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic

    model = onnx.load(str(source))
    wanted = _constant_products(model)
    with replacing(target) as temporary:
        with _silence_root_logger():
            quantize_dynamic(
                model, temporary, op_types_to_quantize=list(_PRODUCTS), per_channel=True, weight_type=QuantType.QInt8
            )
        made = onnx.load(str(temporary))
        kinds = Counter(node.op_type for node in made.graph.node)
        # The tool silently skips products that it does not support.
        if kinds["MatMulInteger"] != wanted or _constant_products(made):
            raise ExportError(
                f"Only {kinds['MatMulInteger']} of {wanted} linears of {source} were quantised; use another version of "
                "onnxruntime, or keep it in fp32."
            )
    return target


def _constant_products(model: Any) -> int:
    """The number of products with a constant matrix."""
    constants = {weight.name for weight in model.graph.initializer}
    return sum(node.op_type in _PRODUCTS and node.input[1] in constants for node in model.graph.node)


@contextlib.contextmanager
def _silence_root_logger() -> Iterator[None]:
    """Suppress the tool's advice, which it gives through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
