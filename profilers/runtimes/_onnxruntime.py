"""ONNX Runtime on the processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from profilers.runtimes._runtime import Array
from subdit.core.errors import KitError

COMPUTED = {"fp32": None, "fp16": "fp32", "int8": None}
"""Precision of weights to that of products on the processor where it is another: half precision is only stored."""


@dataclass(frozen=True)
class OnnxRuntime:
    """ONNX Runtime on the processor, sequential, without spinning threads.

    Spinning pools of several live sessions starve each other, which shows as latencies that double.
    """

    precision: str = "fp32"
    name: str = "onnxruntime"
    delegate: str | None = None
    delegated_share: float | None = None
    model_suffix: str = ".onnx"

    @property
    def compute_precision(self) -> str | None:
        return COMPUTED[self.precision]

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
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Weights stay outside of it, or the room between them would be lost when a session goes.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        try:
            session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            return OnnxSession(session, inputs)
        except Exception as error:  # ONNX Runtime's errors have no common base of their own.
            reason = str(error).strip().splitlines()[0]
            raise KitError(f"ONNX Runtime cannot load {model} ({reason}); export it again.") from error


@cache
def _share_arena() -> None:
    """One arena for the activations of all sessions, registered once per process; one that is there already is taken.

    Every session has one of its own otherwise, and keeps it: a hundred parts of a model for phones fill a server's
    memory, and those that are loaded anew pay for its new pages in their first two runs.
    """
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # 1: it grows by what is asked for, not by powers of two; -1 and 0: ONNX Runtime's own defaults.
    arena = onnxruntime.OrtArenaCfg(
        {"max_mem": 0, "arena_extend_strategy": 1, "initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    )
    try:
        onnxruntime.create_and_register_allocator(memory, arena)
    except Exception as error:  # ONNX Runtime's errors have no common base of their own.
        if "already" not in str(error):
            raise


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
