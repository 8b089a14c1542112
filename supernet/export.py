"""Export to ONNX, and the check that the export computes what the model computes."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn

from subdit.errors import ExportError
from subdit.errors import RunError
from subdit.run import replacing

OPSET = 20
OUTPUT = "output"


def export_onnx(module: nn.Module, inputs: dict[str, Tensor], path: Path, *, force: bool = False) -> Path:
    """Write a module as one ONNX file of opset 20 with static shapes; its output is named `output`.

    Raises `RunError` where the file exists and `force` is not given, `ExportError` where the module cannot be exported.
    The bytes are the same for the same module, on any machine: the exporter's notes are removed.
    """
    import onnx

    if path.exists() and not force:
        raise RunError(f"{path} exists already; pass --force to replace it.")
    written = io.BytesIO()
    try:
        # The TorchScript exporter is deprecated but takes a tenth of the other one's time on pieces this small, and the
        # runtime is equally fast with either; torch is pinned.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                written,
                dynamo=False,
                input_names=list(inputs),
                output_names=[OUTPUT],
                opset_version=OPSET,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"{type(module).__name__} cannot be exported to ONNX ({error}); report it with its spec.") from error
    model = onnx.load_from_string(written.getvalue())
    for node in model.graph.node:
        node.doc_string = ""
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
    return path


def deviation(module: nn.Module, inputs: dict[str, Tensor], path: Path) -> float:
    """Largest absolute difference between the module's output and the exported file's in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected: npt.NDArray[np.float32] = module(*inputs.values()).numpy()
    (actual,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return float(np.abs(expected - actual).max())
