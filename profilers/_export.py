"""Writes a kit's models in each format, with their inputs and what torch computes from them in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from subdit.core.files import replacing
from subdit.core.files import write_json
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch import nn

SEED = 0
"""Of the redrawn weights and of the inputs, so that a kit is the same every time it is made."""


@dataclass(frozen=True)
class Exporter:
    """Writes models of a space in one format ("onnx", "tflite" or "torch") and precision."""

    space: SearchSpace
    format: str
    precision: str

    def write(self, what: Component | SubDiTSpec, model: Path, tensors: Path) -> None:
        """Write `model` and then `tensors` (.npz: the inputs by name, and torch's output in float32 as 'output').

        Raises `ExportError` where the module cannot be exported.
        """
        import torch

        with _one_thread():
            module, inputs = build(self.space, what)
            self._write_model(what, module, inputs, model)
            with torch.no_grad():
                expected = module(*inputs.values())
        arrays = {name: value.numpy() for name, value in inputs.items()}
        with replacing(tensors) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays, output=expected.numpy())

    def _write_model(
        self, what: Component | SubDiTSpec, module: nn.Module, inputs: dict[str, Tensor], path: Path
    ) -> None:
        if self.format == "tflite":
            from supernet.export.exporter import export_tflite

            export_tflite(module, inputs, path, precision=self.precision, force=True)
        elif self.format == "torch":
            write_json(path, describe(self.space, what))
        else:
            from supernet.export.exporter import export_onnx
            from supernet.export.onnx_precision import quantize_int8
            from supernet.export.onnx_precision import store_fp16

            if self.precision == "fp32":
                export_onnx(module, inputs, path, force=True)
                return
            with TemporaryDirectory(prefix="subdit-") as folder:
                exported = export_onnx(module, inputs, Path(folder) / path.name)
                {"fp16": store_fp16, "int8": quantize_int8}[self.precision](exported, path)


def describe(space: SearchSpace, what: Component | SubDiTSpec) -> dict[str, Any]:
    """What `TorchRuntime` builds a model from."""
    of = {"component": what.name} if isinstance(what, Component) else {"spec": what.to_dict()}
    return {"subdit_model": 1, "space": space.name, **of, "seed": SEED}


def build(space: SearchSpace, what: Component | SubDiTSpec, *, seed: int = SEED) -> tuple[nn.Module, dict[str, Tensor]]:
    """A component or a whole sub-DiT in eval mode with redrawn weights, and its inputs by name."""
    from supernet.model.components import component_module
    from supernet.model.dit import SubDiT
    from supernet.model.dit import example_inputs
    from supernet.model.dit import redraw_

    if isinstance(what, Component):
        made = component_module(space, what, seed=seed)
        return made.module, made.inputs
    return redraw_(SubDiT.from_spec(space, what), seed).eval(), example_inputs(space, seed=seed)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread, so that the same bytes come out whatever the machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
