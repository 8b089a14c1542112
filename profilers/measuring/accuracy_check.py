"""Whether a runtime computes what torch computes in float32; one that does not is not measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from profilers.runtimes import Array
from profilers.runtimes import Runtime
from profilers.runtimes import SourceModel
from subdit.core.errors import KitError


def error_of(output: Array, expected: Array, precision: str) -> float:
    """The error that `Runtime.tolerances` limit; NaN where the output has one, or has another shape.

    Of float32 weights, the largest difference of an element over the larger of 1 and the largest element of `expected`;
    of others, the root mean square of the difference over that of `expected`.
    """
    if output.shape != expected.shape:
        return float("nan")
    difference = output.astype(np.float64) - expected
    if precision == "fp32":
        return float(np.abs(difference).max()) / max(1.0, float(np.abs(expected).max()))
    return float(np.sqrt(np.square(difference).mean() / np.square(expected.astype(np.float64)).mean()))


def require_accuracy(name: str, output: Array, expected: Array, runtime: Runtime) -> None:
    """Raise `KitError` that names runtime, version, model, error and tolerance where an output is wrong."""
    error = error_of(output, expected, runtime.precision)
    # Written so that a NaN is refused too.
    if not error <= runtime.tolerance:
        raise KitError(
            f"{runtime.name} {runtime.version} computes wrong values: {name} in {runtime.precision} differs from "
            f"torch's float32 by {error:.2g}, and {runtime.tolerance:.2g} is allowed; use another version of the "
            "runtime, or export it again with --force."
        )


def export_checked(runtime: Runtime, model: SourceModel, path: Path) -> None:
    """Export a model, and where its file holds the weights compare what the runtime computes with torch.

    Raises:
        ExportError: it cannot be exported.
        KitError: the runtime cannot load it, or computes other values; no file is left.
    """
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    runtime.export(model, path)
    if not runtime.stores_weights:
        return
    session = runtime.load(path, {name: value.numpy() for name, value in model.inputs.items()}, threads=1)
    session.run()
    with torch.no_grad():
        expected = model.module(*model.inputs.values()).numpy()
    try:
        require_accuracy(path.stem, session.output(), expected, runtime)
    except KitError:
        path.unlink()
        raise
