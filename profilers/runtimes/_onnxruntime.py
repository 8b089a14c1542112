"""ONNX Runtime on the processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from profilers.runtimes._reference_kernel import LAYERS
from profilers.runtimes._reference_kernel import TOKENS
from profilers.runtimes._reference_kernel import WIDTH
from profilers.runtimes._reference_kernel import reference_weights
from profilers.runtimes._runtime import Array
from profilers.runtimes._runtime import Runtime
from profilers.runtimes._runtime import RuntimeCosts
from profilers.runtimes._runtime import draw
from profilers.runtimes._source_model import SourceModel
from subdit.core.errors import KitError
from subdit.core.files import replacing


@dataclass(frozen=True)
class OnnxRuntime(Runtime):
    """ONNX Runtime on the processor, sequential, without spinning threads.

    Spinning pools of several live sessions starve each other, which shows as latencies that double.

    Largest errors seen: fp32, 6e-7 on `digits`; fp16, 0.0005 there, so the tolerance is six times that; int8, 0.019
    there and 0.024 on `mid-256`, so it is two and a half times that. What rounds differently stays far below; a wrong
    scale or a lost channel does not. In half precision weights are only stored.
    """

    name = "onnxruntime"
    title = "ONNX Runtime"
    module = "onnxruntime"
    install = "subdit[onnx]"
    format = "onnx"
    suffix = ".onnx"
    tolerances = {"fp32": 1e-4, "fp16": 0.003, "int8": 0.06}
    computed_in = {"fp16": "fp32"}
    costs = RuntimeCosts(export_s=0.35, gflops={"fp32": 120.0, "fp16": 120.0, "int8": 250.0})

    @property
    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def export(self, model: SourceModel, path: Path) -> None:
        from supernet.export.exporter import export_onnx
        from supernet.export.onnx_precision import quantize_int8
        from supernet.export.onnx_precision import store_fp16

        if self.precision == "fp32":
            export_onnx(model.module, model.inputs, path, force=True)
            return
        with TemporaryDirectory(prefix="subdit-") as folder:
            exported = export_onnx(model.module, model.inputs, Path(folder) / path.name)
            {"fp16": store_fp16, "int8": quantize_int8}[self.precision](exported, path)

    def export_reference(self, path: Path) -> None:
        """Write the kernel without torch; a run takes some hundreds of microseconds on a laptop's core."""
        import onnx
        from onnx import TensorProto
        from onnx import helper
        from onnx import numpy_helper

        nodes, weights = [], []
        previous = "input"
        for layer, drawn in enumerate(reference_weights()):
            weights += [numpy_helper.from_array(array, f"{name}{layer}") for name, array in drawn.items()]
            nodes += [
                helper.make_node("LayerNormalization", [previous, f"scale{layer}"], [f"n{layer}"], axis=-1),
                helper.make_node("MatMul", [f"n{layer}", f"up{layer}"], [f"h{layer}"]),
                helper.make_node("Gelu", [f"h{layer}"], [f"g{layer}"], approximate="tanh"),
                helper.make_node("MatMul", [f"g{layer}", f"down{layer}"], [f"d{layer}"]),
                helper.make_node("Softmax", [f"d{layer}"], [f"s{layer}"], axis=-1),
                helper.make_node("Add", [f"s{layer}", previous], ["output" if layer == LAYERS - 1 else f"x{layer}"]),
            ]
            previous = f"x{layer}"
        shape = [1, TOKENS, WIDTH]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
        graph = helper.make_graph(nodes, "reference", ends[:1], ends[1:], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        with replacing(path) as temporary:
            onnx.save(model, str(temporary))

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

    def draw_inputs(self, model: Path) -> dict[str, Array]:
        import onnx

        if not model.is_file():
            raise KitError(f"There is no model at {model}; export it first.")
        try:
            graph = onnx.load(str(model), load_external_data=False).graph
        except Exception as error:  # protobuf's errors have no common base of their own.
            raise KitError(f"The model {model} is damaged; export it again.") from error
        weights = {weight.name for weight in graph.initializer}
        rng = np.random.default_rng(0)
        drawn: dict[str, Array] = {}
        for value in graph.input:
            if value.name in weights:
                continue
            tensor = value.type.tensor_type
            shape = tuple(dimension.dim_value for dimension in tensor.shape.dim)
            if not all(shape):
                raise KitError(
                    f"The model {model} has no fixed shape for {value.name!r}; export it with static shapes."
                )
            drawn[value.name] = draw(rng, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        return drawn


@cache
def _share_arena() -> None:
    """Register one arena for the activations of all sessions, once per process.

    Otherwise every session keeps an arena of its own: the hundred parts of a model for phones fill a server's memory,
    and a part that is loaded again pays for new pages in its first two runs.
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
