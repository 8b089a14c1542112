"""Torch itself as a runtime: eager, float32, on the processor. A model file is a description of what to build."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profilers.runtimes._runtime import Array
from profilers.runtimes._runtime import Runtime
from profilers.runtimes._runtime import RuntimeCosts
from profilers.runtimes._source_model import SourceModel
from profilers.runtimes._source_model import described_model
from subdit.core.errors import KitError
from subdit.core.errors import SubditError
from subdit.core.files import write_json


@dataclass(frozen=True)
class TorchRuntime(Runtime):
    """Eager torch in inference mode. Its threads are those of the whole process, so all sessions share one number."""

    name = "torch"
    title = "torch"
    module = "torch"
    install = "subdit[torch]"
    format = "torch"
    suffix = ".json"
    tolerances = {"fp32": 1e-4}
    costs = RuntimeCosts(export_s=0.05, gflops={"fp32": 120.0})
    stores_weights = False

    @property
    def version(self) -> str:
        import torch

        return str(torch.__version__)

    def export(self, model: SourceModel, path: Path) -> None:
        write_json(path, model.description)

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> TorchSession:
        return TorchSession(_read(model), inputs, threads)

    def draw_inputs(self, model: Path) -> dict[str, Array]:
        return {name: value.numpy() for name, value in _read(model).inputs.items()}


def _read(model: Path) -> SourceModel:
    try:
        return described_model(json.loads(model.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, SubditError) as error:
        raise KitError(f"torch cannot build {model} ({error}); make the kit again with --force.") from error


class TorchSession:
    """A module with its inputs as tensors."""

    def __init__(self, source: SourceModel, inputs: Mapping[str, Array], threads: int) -> None:
        import torch

        self._module, self._threads = source.module, threads
        self._inputs = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in source.inputs]
        self._output = torch.empty(0)

    def run(self, times: int = 1) -> None:
        import torch

        # The number is the process's own: training afterwards in it must not be slower, nor round otherwise.
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                for _ in range(times):
                    self._output = self._module(*self._inputs)
        finally:
            torch.set_num_threads(before)

    def output(self) -> Array:
        return np.array(self._output.numpy(), copy=True)
