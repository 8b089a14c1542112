"""LiteRT and its predecessor tflite-runtime: one interface, two libraries, XNNPACK as their way on a processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np

from profilers.runtimes._reference_kernel import reference_inputs
from profilers.runtimes._reference_kernel import reference_weights
from profilers.runtimes._runtime import Array
from profilers.runtimes._runtime import Runtime
from profilers.runtimes._runtime import RuntimeCosts
from profilers.runtimes._runtime import draw
from profilers.runtimes._source_model import SourceModel
from subdit.core.errors import KitError
from supernet.tflite import LIBRARIES
from supernet.tflite import Library
from supernet.tflite import count_operators
from supernet.tflite import interpreter_class
from supernet.tflite import problem_of
from supernet.tflite import silence_libraries

# That of ONNX's LayerNormalization where none is given.
_EPSILON = 1e-5


@dataclass(frozen=True)
class LiteRtRuntime(Runtime):
    """LiteRT on the processor.

    It hands what it can to XNNPACK and runs the rest with kernels of its own; that is the plain path of the processor,
    so there is no delegate to name. Weights of float16 are computed with as float32.

    Largest errors seen on `digits`: fp32, 9e-7; fp16, 0.0007, so the tolerance is four times that; int8, 0.016.
    """

    name = "litert"
    library: ClassVar[Library] = LIBRARIES["litert"]
    title = library.title
    module = library.module
    install = "subdit[litert]"
    format = "tflite"
    suffix = ".tflite"
    tolerances = {"fp32": 1e-4, "fp16": 0.003, "int8": 0.06}
    computed_in = {"fp16": "fp32"}
    plain_path = ("xnnpack",)
    costs = RuntimeCosts(export_s=0.4, gflops={"fp32": 120.0, "fp16": 120.0, "int8": 250.0})
    _taken: list[tuple[int, int]] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def require_library(cls) -> None:
        interpreter_class(cls.name)

    @property
    def version(self) -> str:
        return self.library.version

    @property
    def delegated_share(self) -> float | None:
        """Operators that XNNPACK took over all operators, of all models loaded so far; None before the first."""
        total = sum(operators for _, operators in self._taken)
        return sum(taken for taken, _ in self._taken) / total if total else None

    def export(self, model: SourceModel, path: Path) -> None:
        from supernet.export.exporter import export_tflite

        export_tflite(model.module, model.inputs, path, precision=self.precision, force=True)

    def export_reference(self, path: Path) -> None:
        """Write the kernel without torch; raises `MissingExtraError` without LiteRT, whose schema it is written by."""
        from supernet.tflite import Operators
        from supernet.tflite import Value
        from supernet.tflite import graph_of
        from supernet.tflite import write_flatbuffer

        make = Operators()
        given = x = Value(reference_inputs()["input"].shape, name="input")
        for weights in reference_weights():
            normed = make.layer_norm(x, weights["scale"], None, epsilon=_EPSILON)
            hidden = make.gelu(make.linear(normed, weights["up"].T), approximate=True)
            x = make.add(make.softmax(make.linear(hidden, weights["down"].T)), x)
        write_flatbuffer(graph_of([given], x, "output"), path)

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> TfliteSession:
        try:
            with silence_libraries():
                interpreter = self._open(model, threads)
                interpreter.allocate_tensors()
            session = TfliteSession(interpreter, inputs)
        except (ValueError, RuntimeError) as error:
            reason = str(error).split(". ")[0].split("\n")[0].rstrip(".")
            raise KitError(
                f"{self.title} {self.version} cannot run {model} ({reason}); choose another precision or runtime."
            ) from error
        self._taken.append(delegated(interpreter))
        return session

    def draw_inputs(self, model: Path) -> dict[str, Array]:
        try:
            with silence_libraries():
                details = self._open(model, 1).get_input_details()
        except (ValueError, RuntimeError) as error:
            raise KitError(f"The model {model} is damaged; export it again.") from error
        rng = np.random.default_rng(0)
        return {entry["name"]: draw(rng, tuple(map(int, entry["shape"])), entry["dtype"]) for entry in details}

    @classmethod
    def count_operators(cls, model: Path) -> int:
        return count_operators(model)

    def _open(self, model: Path, threads: int) -> Any:
        if not model.is_file():
            raise KitError(f"There is no model at {model}; export it first.")
        # tflite-runtime crashes where a file's data ends early.
        if problem := problem_of(model):
            raise KitError(f"{self.title} cannot load {model} ({problem}); export it again.")
        return interpreter_class(self.name)(model_path=str(model), num_threads=threads)


@dataclass(frozen=True)
class TfliteRuntime(LiteRtRuntime):
    """tflite-runtime on the processor, which loads the same files and hands less of them to XNNPACK."""

    name = "tflite"
    library = LIBRARIES["tflite"]
    title = library.title
    module = library.module
    install = "subdit[tflite]"


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
