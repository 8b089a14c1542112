"""Runs .tflite files: once, to compare the output, or repeatedly, to sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from subdit.core.errors import SampleError
from supernet.tflite._graph import Array
from supernet.tflite._interpreter import LIBRARIES
from supernet.tflite._interpreter import any_library
from supernet.tflite._interpreter import interpreter_class
from supernet.tflite._silence import silence_libraries
from supernet.tflite._tables import problem_of


def run_tflite(path: Path, inputs: Mapping[str, Array]) -> Array:
    """The output of a file with one output, computed by LiteRT on one thread."""
    return TfliteModel(_opened("litert", path)).run_named(inputs)


def load_tflite(path: Path) -> TfliteModel:
    """A file with one output, on one thread of LiteRT, or of tflite-runtime if LiteRT is not installed.

    Raises:
        SampleError: the file is cut short, is no .tflite file, or has operators that the runtime does not know.
        MissingExtraError: neither LiteRT nor tflite-runtime is installed.
    """
    name = any_library()
    # tflite-runtime crashes where a file's data ends early.
    if problem := problem_of(path):
        raise SampleError(f"The exported model {path} is damaged ({problem}); export it again.")
    try:
        return TfliteModel(_opened(name, path))
    except (ValueError, RuntimeError) as error:
        reason = str(error).split(". ")[0].split("\n")[0].rstrip(".")
        other = "install LiteRT with pip install 'subdit[litert]'" if name == "tflite" else "export it again"
        raise SampleError(
            f"{LIBRARIES[name].title} {LIBRARIES[name].version} cannot run {path} ({reason}); {other}."
        ) from error


def _opened(name: str, path: Path) -> Any:
    with silence_libraries():
        interpreter = interpreter_class(name)(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    return interpreter


@dataclass(frozen=True)
class TfliteModel:
    """An interpreter of a file with one output."""

    interpreter: Any

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the inputs, in the file's order."""
        return [tuple(map(int, entry["shape"])) for entry in self.interpreter.get_input_details()]

    def run(self, *inputs: Array) -> Array:
        """The output for inputs in the file's order."""
        names = [entry["name"] for entry in self.interpreter.get_input_details()]
        return self.run_named(dict(zip(names, inputs, strict=True)))

    def run_named(self, inputs: Mapping[str, Array]) -> Array:
        """The output for inputs by their names."""
        for entry in self.interpreter.get_input_details():
            self.interpreter.set_tensor(entry["index"], np.ascontiguousarray(inputs[entry["name"]]))
        self.interpreter.invoke()
        (output,) = self.interpreter.get_output_details()
        # `get_tensor` returns a copy, which the next run does not change.
        computed: Array = self.interpreter.get_tensor(output["index"])
        return computed
