"""Whether a runtime computes what torch computes in float32; one that does not is not measured."""

from __future__ import annotations

import numpy as np

from profilers._runtimes import Array
from profilers._runtimes import Runtime
from subdit.errors import KitError

FP32_LIMIT = 1e-4
"""How far an element of a float32 model's output may be from torch's, over the larger of 1 and the largest of them.
Measured on `digits`: 6e-7 in ONNX Runtime."""

LIMITS = {
    ("onnx", "fp16"): 0.01,
    ("onnx", "int8"): 0.06,
    ("tflite", "fp16"): 0.01,
    ("tflite", "int8"): 0.06,
}
"""Format and precision to how large the error of an output may be, as root mean square over that of the output."""


def error_of(output: Array, expected: Array, precision: str) -> float:
    """What is limited: NaN where the output has one, or has another shape."""
    if output.shape != expected.shape:
        return float("nan")
    off = output.astype(np.float64) - expected
    if precision == "fp32":
        return float(np.abs(off).max()) / max(1.0, float(np.abs(expected).max()))
    return float(np.sqrt(np.square(off).mean() / np.square(expected.astype(np.float64)).mean()))


def limit_of(model_format: str, precision: str) -> float:
    """The limit of `error_of`."""
    return FP32_LIMIT if precision == "fp32" else LIMITS[model_format, precision]


def require_parity(name: str, output: Array, expected: Array, runtime: Runtime, limit: float) -> None:
    """Raise `KitError` that names runtime, version, model, error and limit where an output is wrong."""
    error = error_of(output, expected, runtime.precision)
    # Written so that a NaN is refused too.
    if not error <= limit:
        raise KitError(
            f"{runtime.name} {runtime.version} computes wrong values: {name} in {runtime.precision} differs from "
            f"torch's float32 by {error:.2g}, and {limit:.2g} is allowed; use another version of the runtime, or make "
            "the kit again with --force."
        )
