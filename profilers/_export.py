"""Writes a kit's models: the ONNX file, its inputs, and what torch computes from them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from subdit.errors import ExportError
from subdit.run import replacing

if TYPE_CHECKING:
    from torch import Tensor
    from torch import nn

_OPSET = 20


def export_model(module: nn.Module, inputs: dict[str, Tensor], model: Path, tensors: Path) -> None:
    """Write `model` (.onnx) and then `tensors` (.npz: the inputs by name, and torch's output as 'output').

    Uses torch's TorchScript exporter. The newer one takes 20 to 100 times as long on such small models (minutes for a
    kit), and ONNX Runtime runs the results of both equally fast.

    Raises `ExportError` where torch cannot export the module.
    """
    import torch

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = module(*inputs.values())
        with replacing(model) as temporary:
            try:
                torch.onnx.export(
                    module,
                    tuple(inputs.values()),
                    str(temporary),
                    dynamo=False,
                    opset_version=_OPSET,
                    input_names=list(inputs),
                    output_names=["output"],
                )
            except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0]
                raise ExportError(f"{model.stem} cannot be exported to ONNX ({reason}); report it.") from error
    arrays = {name: value.numpy() for name, value in inputs.items()}
    with replacing(tensors) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays, output=expected.numpy())
