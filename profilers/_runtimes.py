"""What a runtime must do to be profiled, and the ONNX Runtime that does it; others come beside it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol

import numpy as np
import numpy.typing as npt

from subdit.errors import KitError
from subdit.errors import MissingExtraError
from subdit.errors import ProfileError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Timing:
    """One timing of some runs in a row, per run; `cpu_ms` is the time the calling thread really had a core."""

    wall_ms: float
    cpu_ms: float


class Session(Protocol):
    """A loaded model with its inputs bound: nothing but the run itself is left to do."""

    def run(self, times: int = 1) -> None: ...

    def output(self) -> Array:
        """Output of the last run."""
        ...


class Runtime(Protocol):
    """A runtime on this machine, at one precision."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> Session:
        """Load a model for running; raises `KitError` where the runtime refuses it."""
        ...


def time_runs(session: Session, times: int) -> Timing:
    """Time runs in a row. The processor time tells a run that was interrupted from one that was slow."""
    cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
    session.run(times)
    wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
    return Timing(wall_ms=wall / times / 1e6, cpu_ms=cpu / times / 1e6)


@dataclass(frozen=True)
class OnnxRuntime:
    """ONNX Runtime on the processor, float32, sequential, without spinning threads.

    Spinning pools of several live sessions starve each other, which shows as latencies that double.
    """

    name: str = "onnxruntime"
    precision: str = "fp32"

    @property
    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> OnnxSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            return OnnxSession(session, inputs)
        except Exception as error:  # ONNX Runtime's errors have no common base of their own.
            reason = str(error).strip().splitlines()[0]
            raise KitError(f"ONNX Runtime cannot load {model} ({reason}); export it again.") from error


class OnnxSession:
    """A session with inputs and output in buffers of their own, so that a run converts and allocates nothing."""

    def __init__(self, session: Any, inputs: Mapping[str, Array]) -> None:
        (output,) = session.get_outputs()
        self._session = session
        # Kept, for the binding only points at them.
        self._inputs = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        self._output = np.empty(output.shape, dtype=np.float32)
        self._binding = session.io_binding()
        for name, array in self._inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        self._binding.bind_output(output.name, "cpu", 0, np.float32, self._output.shape, self._output.ctypes.data)

    def run(self, times: int = 1) -> None:
        run, binding = self._session.run_with_iobinding, self._binding
        for _ in range(times):
            run(binding)

    def output(self) -> Array:
        return self._output.copy()


def get_runtime(name: str) -> Runtime:
    """The runtime of that name; raises `ProfileError` where there is none, `MissingExtraError` where not installed."""
    if name != "onnxruntime":
        raise ProfileError(f"There is no runtime {name!r}; there is onnxruntime.")
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingExtraError("ONNX Runtime is not installed; install it with pip install 'subdit[onnx]'.")
    return OnnxRuntime()
