"""LiteRT and its predecessor tflite-runtime: one interface, two libraries, XNNPACK as their way on a processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from profilers.runtimes._runtime import Array
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from supernet.tflite import LIBRARIES
from supernet.tflite import Library
from supernet.tflite import interpreter_class
from supernet.tflite import problem_of
from supernet.tflite import without_banners

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class TfliteRuntime:
    """LiteRT ("litert") or tflite-runtime ("tflite") on the processor.

    Both hand what they can to XNNPACK, and run the rest with kernels of their own; that is the plain CPU path, so there
    is no delegate to name. Weights of float16 are computed with as float32.

    Raises, when it is made:
        ProfileError: a precision or delegate that it has not.
        MissingExtraError: it is not installed, or is but cannot run.
    """

    name: str = "litert"
    precision: str = "fp32"
    delegate: str | None = None
    model_suffix: str = ".tflite"
    _taken: list[tuple[int, int]] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        title = self._library.title
        if self.precision not in PRECISIONS:
            raise ProfileError(
                f"{title} runs no {self.precision} here; choose {', '.join(PRECISIONS)}, or another runtime."
            )
        if self.delegate is not None:
            raise ProfileError(f"{title} has no delegate {self.delegate!r} here; leave it out.")
        interpreter_class(self.name)

    @property
    def _library(self) -> Library:
        return LIBRARIES[self.name]

    @property
    def version(self) -> str:
        return self._library.version

    @property
    def compute_precision(self) -> str | None:
        return "fp32" if self.precision == "fp16" else None

    @property
    def delegated_share(self) -> float | None:
        """Operators that XNNPACK took over all operators, of all models loaded so far; None before the first."""
        total = sum(operators for _, operators in self._taken)
        return sum(taken for taken, _ in self._taken) / total if total else None

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> TfliteSession:
        """Load a model; raises `KitError` where the runtime refuses it or it has other inputs."""
        title = self._library.title
        if not model.is_file():
            raise KitError(f"There is no model at {model}; export it first.")
        problem = problem_of(model)
        if problem:
            raise KitError(f"{title} cannot load {model} ({problem}); export it again.")
        try:
            with without_banners():
                interpreter = interpreter_class(self.name)(model_path=str(model), num_threads=threads)
                interpreter.allocate_tensors()
            session = TfliteSession(interpreter, inputs)
        except (ValueError, RuntimeError) as error:
            reason = str(error).split(". ")[0].split("\n")[0].rstrip(".")
            raise KitError(
                f"{title} {self.version} cannot run {model} ({reason}); choose another precision or runtime."
            ) from error
        self._taken.append(delegated(interpreter))
        return session


class TfliteSession:
    """An interpreter whose inputs are set; they stay, so that a run is nothing but the invocation."""

    def __init__(self, interpreter: Any, inputs: Mapping[str, Array]) -> None:
        details = {entry["name"]: entry for entry in interpreter.get_input_details()}
        if details.keys() != inputs.keys():
            raise ValueError(f"it reads {', '.join(details)} and was given {', '.join(inputs)}")
        for name, array in inputs.items():
            interpreter.set_tensor(details[name]["index"], np.ascontiguousarray(array))
        self._interpreter = interpreter
        (self._output,) = interpreter.get_output_details()

    def run(self, times: int = 1) -> None:
        invoke = self._interpreter.invoke
        for _ in range(times):
            invoke()

    def output(self) -> Array:
        held: Array = self._interpreter.get_tensor(self._output["index"])
        return held


def delegated(interpreter: Any) -> tuple[int, int]:
    """How many of a model's operators run on XNNPACK, and how many there are.

    The interpreter lists the operators of the file and after them each group that a delegate took, with what that reads
    and writes; what was taken is what lies between.
    """
    nodes = interpreter._get_ops_details()
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    makers = {output: node for node in own for output in node["outputs"]}
    taken: set[int] = set()
    for group in nodes:
        if group["op_name"] != "DELEGATE":
            continue
        given = set(group["inputs"])
        left = list(group["outputs"])
        while left:
            tensor = left.pop()
            if tensor in given or tensor not in makers or makers[tensor]["index"] in taken:
                continue
            taken.add(makers[tensor]["index"])
            left += list(makers[tensor]["inputs"])
    return len(taken), len(own)
