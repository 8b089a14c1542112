"""Writes a kit's models: the ONNX file, its inputs, and what torch computes from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from subdit.run import replacing

if TYPE_CHECKING:
    from torch import Tensor
    from torch import nn


def export_model(module: nn.Module, inputs: dict[str, Tensor], model: Path, tensors: Path) -> None:
    """Write `model` (.onnx) and then `tensors` (.npz: the inputs by name, and torch's output as 'output').

    Raises `ExportError` where torch cannot export the module.
    """
    import torch

    from supernet.export import export_onnx

    export_onnx(module, inputs, model, force=True)
    with torch.no_grad():
        expected = module(*inputs.values())
    arrays = {name: value.numpy() for name, value in inputs.items()}
    with replacing(tensors) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays, output=expected.numpy())
