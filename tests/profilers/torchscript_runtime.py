"""TorchScript as a runtime of others: this file and an entry point are all that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from profilers.runtimes import Array
from profilers.runtimes import Runtime
from profilers.runtimes import RuntimeCosts
from profilers.runtimes import SourceModel
from subdit.core.errors import KitError


@dataclass(frozen=True)
class TorchScriptRuntime(Runtime):
    name = "torchscript"
    title = "TorchScript"
    module = "torch"
    install = "torch"
    format = "torchscript"
    suffix = ".pt"
    tolerances = {"fp32": 1e-4}
    costs = RuntimeCosts(export_s=0.3, gflops={"fp32": 100.0})

    @property
    def version(self) -> str:
        return str(torch.__version__)

    def export(self, model: SourceModel, path: Path) -> None:
        inputs = tuple(model.inputs.values())
        with torch.no_grad():
            traced = torch.jit.trace(model.module, inputs, check_trace=False)
        # The shapes travel with it, so that inputs can be drawn.
        shapes = repr([(name, tuple(value.shape)) for name, value in model.inputs.items()])
        torch.jit.save(traced, str(path), _extra_files={"inputs": shapes.encode()})

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> TorchScriptSession:
        return TorchScriptSession(_read(model)[0], inputs, threads)

    def draw_inputs(self, model: Path) -> dict[str, Array]:
        import ast

        generator = torch.Generator().manual_seed(0)
        shapes = ast.literal_eval(_read(model)[1].decode())
        return {name: torch.randn(shape, generator=generator).numpy() for name, shape in shapes}


def _read(model: Path) -> tuple[Any, bytes]:
    extra = {"inputs": b""}
    try:
        return torch.jit.load(str(model), _extra_files=extra), extra["inputs"]
    except (RuntimeError, ValueError) as error:
        raise KitError(f"TorchScript cannot load {model}; export it again.") from error


class TorchScriptSession:
    def __init__(self, module: Any, inputs: Mapping[str, Array], threads: int) -> None:
        torch.set_num_threads(threads)
        self._module = module
        self._inputs = [torch.from_numpy(array) for array in inputs.values()]
        self._output = torch.empty(0)

    def run(self, times: int = 1) -> None:
        with torch.inference_mode():
            for _ in range(times):
                self._output = self._module(*self._inputs)

    def output(self) -> Array:
        return self._output.numpy().copy()
