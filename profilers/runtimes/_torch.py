"""Torch itself as a runtime: eager, float32, on the processor. A model is a description of what to build."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profilers._export import build
from profilers._reference_kernel import REFERENCE_DESCRIPTION
from profilers._reference_kernel import reference_weights
from profilers.runtimes._runtime import Array
from subdit.core.errors import KitError
from subdit.core.errors import SubditError
from subdit.space import Component
from subdit.space import SubDiTSpec
from subdit.space import get_space


@dataclass(frozen=True)
class TorchRuntime:
    """Eager torch in inference mode. Its threads are those of the whole process, so all sessions share one number."""

    precision: str = "fp32"
    name: str = "torch"
    compute_precision: str | None = None
    delegate: str | None = None
    delegated_share: float | None = None
    model_suffix: str = ".json"

    @property
    def version(self) -> str:
        import torch

        return str(torch.__version__)

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> TorchSession:
        try:
            stated = json.loads(model.read_text(encoding="utf-8"))
            if stated == REFERENCE_DESCRIPTION:
                return TorchSession(_reference(), inputs, threads)
            made: Component | SubDiTSpec = (
                Component.from_name(stated["component"])
                if "component" in stated
                else SubDiTSpec.from_dict(stated["spec"])
            )
            module, _ = build(get_space(stated["space"]), made, seed=int(stated["seed"]))
        except (OSError, ValueError, KeyError, TypeError, SubditError) as error:
            raise KitError(f"torch cannot build {model} ({error}); make the kit again with --force.") from error
        return TorchSession(module, inputs, threads)


class TorchSession:
    """A module with its inputs as tensors."""

    def __init__(self, module: Any, inputs: Mapping[str, Array], threads: int) -> None:
        import torch

        self._module, self._threads = module, threads
        self._inputs = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs.values()]
        self._output: Any = None

    def run(self, times: int = 1) -> None:
        import torch

        # Costs microseconds where the number is the same already; other sessions may have another.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            for _ in range(times):
                self._output = self._module(*self._inputs)

    def output(self) -> Array:
        return np.array(self._output.numpy(), copy=True)


def _reference() -> Any:
    """The reference kernel as a function of a tensor."""
    import torch
    from torch.nn import functional

    layers = [{name: torch.from_numpy(array) for name, array in layer.items()} for layer in reference_weights()]

    def run(x: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            h = functional.layer_norm(x, layer["scale"].shape, layer["scale"]) @ layer["up"]
            h = functional.gelu(h, approximate="tanh") @ layer["down"]
            x = functional.softmax(h, dim=-1) + x
        return x

    return run
