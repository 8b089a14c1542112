"""A runtime of others, torch on weights in safetensors: this file and an entry point are all that it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file

from profilers.runtimes import Array
from profilers.runtimes import Runtime
from profilers.runtimes import RuntimeCosts
from profilers.runtimes import SourceModel
from profilers.runtimes import described_model
from subdit.core.errors import KitError


@dataclass(frozen=True)
class SafetensorsRuntime(Runtime):
    name = "safetensors"
    title = "torch on safetensors"
    module = "safetensors"
    install = "safetensors"
    format = "safetensors"
    suffix = ".safetensors"
    tolerances = {"fp32": 1e-4}
    costs = RuntimeCosts(export_s=0.1, gflops={"fp32": 100.0})

    @property
    def version(self) -> str:
        return str(safetensors.__version__)

    def export(self, model: SourceModel, path: Path) -> None:
        description = {"description": json.dumps(model.description)}
        save_file({name: value.clone() for name, value in model.module.state_dict().items()}, str(path), description)

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> SafetensorsSession:
        return SafetensorsSession(_read(model).module, inputs, threads)

    def draw_inputs(self, model: Path) -> dict[str, Array]:
        return {name: value.numpy() for name, value in _read(model).inputs.items()}


def _read(path: Path) -> SourceModel:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            model = described_model(json.loads(file.metadata()["description"]))
            model.module.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise KitError(f"torch cannot load {path} ({error}); export it again.") from error
    return model


class SafetensorsSession:
    def __init__(self, module: Any, inputs: Mapping[str, Array], threads: int) -> None:
        self._module, self._threads = module, threads
        self._inputs = [torch.from_numpy(array) for array in inputs.values()]
        self._output = torch.empty(0)

    def run(self, times: int = 1) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                for _ in range(times):
                    self._output = self._module(*self._inputs)
        finally:
            torch.set_num_threads(before)

    def output(self) -> Array:
        return self._output.numpy().copy()
