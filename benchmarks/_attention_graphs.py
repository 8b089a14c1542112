"""The graphs that `benchmarks/assa.py` times, and how each runtime runs them. Every graph is timed on one thread."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch import nn

from supernet.export.exporter import export_onnx
from supernet.model.assa import AdaptiveSparseSelfAttention
from supernet.model.attention import SelfAttention
from supernet.model.attention import grouped_attention
from supernet.model.attention import ungroup_queries
from supernet.model.dit import redraw_

Run = Callable[[], object]

GRAPHS = ("dense core", "sparse core", "dense layer", "assa layer")
LIMIT_BYTES = 8e9
"""Above this, a dense graph of plain operators is timed for one key-value group and multiplied by the groups."""


@dataclass(frozen=True)
class Setting:
    """One attention layer on one grid."""

    label: str
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    grid: int
    blocks: int
    radius: int
    kv_compression: int

    @property
    def tokens(self) -> int:
        return self.grid**2

    @property
    def visible(self) -> float:
        """Share of the token pairs that BNA looks at."""
        near = [min(self.blocks, b + self.radius + 1) - max(0, b - self.radius) for b in range(self.blocks)]
        return sum(near) / self.blocks**2

    @property
    def ideal_core(self) -> float:
        """Scores and values of both branches over those of dense attention."""
        return self.visible + 1 / self.kv_compression**2

    @property
    def ideal_layer(self) -> float:
        """The same with the projections, which both have, in multiply-adds."""
        inner = self.heads * self.head_dim
        projections = self.tokens * self.width * 2 * (inner + self.kv_heads * self.head_dim)
        core = 2 * self.tokens**2 * inner
        return (projections + self.ideal_core * core) / (projections + core)

    @property
    def dense_bytes(self) -> int:
        """Scores and probabilities that a dense graph of plain operators holds at once."""
        return 2 * 4 * self.heads * self.tokens**2

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class DenseCore(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return grouped_attention(q, k, v)


class SparseCore(nn.Module):
    """Both branches, compression and the mixing by a given gate included."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        self.layer = layer_of(setting, sparse=True)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
        mixed: Tensor = self.layer.attend_sparsely(q, k, v, gate)
        return mixed


class Projections(nn.Module):
    """The dense layer without its scores and values."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.layer = layer_of(setting, sparse=False)

    def forward(self, hidden_states: Tensor, modulation: Tensor) -> Tensor:
        h, gate = self.layer.modulated(hidden_states, modulation)
        q, k, v = self.layer.project(h)
        # Keys and values take part, or an exporter would drop them.
        kept = q + (k + v).mean(dim=2, keepdim=True)
        return hidden_states + gate * self.layer.to_out(ungroup_queries(kept, h.shape[1]))


def layer_of(setting: Setting, *, sparse: bool):  # type: ignore[no-untyped-def]
    sizes = {
        "width": setting.width,
        "heads": setting.heads,
        "kv_heads": setting.kv_heads,
        "head_dim": setting.head_dim,
        "grid": setting.grid,
        "rope_theta": 10_000.0,
    }
    strips = {"blocks": setting.blocks, "radius": setting.radius, "kv_compression": setting.kv_compression}
    made = AdaptiveSparseSelfAttention(**sizes, **strips) if sparse else SelfAttention(**sizes)
    return redraw_(made, seed=0).eval()


def graph(setting: Setting, name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """A module and its inputs; `name` is one of `GRAPHS`, or "projections", or "dense group" (one key-value head)."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    if name in ("dense layer", "assa layer", "projections"):
        inputs = {"hidden_states": drawn(setting.tokens, setting.width), "modulation": drawn(3, setting.width)}
        if name == "projections":
            return Projections(setting).eval(), inputs
        return layer_of(setting, sparse=name == "assa layer"), inputs
    kv_heads = 1 if name == "dense group" else setting.kv_heads
    rows = setting.tokens * setting.heads // setting.kv_heads
    keys = {key: drawn(kv_heads, setting.tokens, setting.head_dim) for key in ("k", "v")}
    module = SparseCore(setting) if name == "sparse core" else DenseCore()
    inputs = {"q": drawn(kv_heads, rows, setting.head_dim), **keys}
    if name == "sparse core":
        inputs["gate"] = torch.rand(1, setting.tokens, setting.heads, generator=generator)
    return module.eval(), inputs


# Runtimes -------------------------------------------------------------------------------------------------------------


def prepare(runtime: str, module: nn.Module, inputs: dict[str, Tensor], folder: Path) -> Run:
    """The graph, loaded by a runtime, with nothing left to do but run it on one thread."""
    torch.set_num_threads(1)
    values = tuple(inputs.values())
    if runtime in ("torch", "torch.compile"):
        called = torch.compile(module, fullgraph=True) if runtime == "torch.compile" else module

        def run() -> Tensor:
            with torch.no_grad():
                result: Tensor = called(*values)
            return result

        run()
        return run
    if runtime == "onnxruntime":
        session = _onnx_session(module, inputs, folder)
        feeds = {name: value.numpy() for name, value in inputs.items()}
        return lambda: session.run(None, feeds)[0]
    return _litert(module, values, folder)


def _onnx_session(module: nn.Module, inputs: dict[str, Tensor], folder: Path, *, profile: bool = False):  # type: ignore[no-untyped-def]
    import onnxruntime

    path = folder / "graph.onnx"
    if not path.exists():
        export_onnx(module, inputs, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _litert(module: nn.Module, values: tuple[Tensor, ...], folder: Path) -> Run:
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "graph.tflite"
    if not path.exists():
        litert_torch.convert(module, values).export(str(path))
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    # The order of the inputs is the runtime's own; the names end in the number of the argument.
    for detail in interpreter.get_input_details():
        number = int("".join(letter for letter in detail["name"].split(":")[0] if letter.isdigit()) or 0)
        interpreter.set_tensor(detail["index"], values[number].numpy())
    output = interpreter.get_output_details()[0]["index"]

    def run() -> object:
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return run


def spent_on(runtime: str, module: nn.Module, inputs: dict[str, Tensor], folder: Path) -> dict[str, float]:
    """Share of the time by operator, the largest first; empty for a runtime that does not tell."""
    torch.set_num_threads(1)
    by_operator: Counter[str] = Counter()
    if runtime == "torch":
        with torch.no_grad(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            module(*inputs.values())
        for event in profiler.key_averages():
            by_operator[event.key] += event.self_cpu_time_total
    elif runtime == "onnxruntime":
        session = _onnx_session(module, inputs, folder, profile=True)
        for _ in range(2):
            session.run(None, {name: value.numpy() for name, value in inputs.items()})
        for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                by_operator[event["args"]["op_name"]] += event["dur"]
    total = sum(by_operator.values())
    return {name: value / total for name, value in by_operator.most_common(6)} if total else {}


def timed_ms(run: Run) -> float:
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)
