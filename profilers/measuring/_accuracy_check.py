"""Whether a runtime computes what torch computes in float32; one that does not is not measured."""

from __future__ import annotations

import numpy as np

from profilers.runtimes import Array
from profilers.runtimes import Runtime
from subdit.core.errors import KitError

FP32_LIMIT = 1e-4
"""How far an element of a float32 model's output may be from torch's, over the larger of 1 and the largest of them.

The largest seen on `digits`: 6e-7 in ONNX Runtime, 9e-7 in LiteRT."""

LIMITS = {"fp16": 0.003, "int8": 0.06}
"""How large the error of an output may be, as root mean square over that of the output, by the weights' precision.

The largest seen on components and whole sub-DiTs with redrawn weights: fp16, 0.0005 in ONNX Runtime and 0.0007 in
LiteRT on `digits`, so a limit of four times that; int8, 0.019 and 0.016 there, and 0.024 in ONNX Runtime on `mid-256`,
so one of two and a half times that. What rounds differently stays far below; a wrong scale or a lost channel does not.
"""


def error_of(output: Array, expected: Array, precision: str) -> float:
    """What is limited: NaN where the output has one, or has another shape."""
    if output.shape != expected.shape:
        return float("nan")
    off = output.astype(np.float64) - expected
    if precision == "fp32":
        return float(np.abs(off).max()) / max(1.0, float(np.abs(expected).max()))
    return float(np.sqrt(np.square(off).mean() / np.square(expected.astype(np.float64)).mean()))


def limit_of(precision: str) -> float:
    """The limit of `error_of`."""
    return FP32_LIMIT if precision == "fp32" else LIMITS[precision]


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
