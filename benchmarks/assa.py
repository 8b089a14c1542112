"""What ASSA costs next to dense attention: torch, torch.compile, ONNX Runtime and LiteRT, one thread, one run.

For the layer of width 1024 (16 query heads, 8 key-value heads, head size 64) and for that of `small` in mobile-1k: the
two sparse branches against dense scores and values, and the whole layers, with peak memory, next to the ideal; then the
growth from 1,024 to 16,384 tokens. The graphs of a row are timed in interleaved rounds, and a ratio is the median over
rounds of the ratio within one, so that a machine that changes its speed changes it for both.

    python benchmarks/assa.py                        everything; about half an hour
    python benchmarks/assa.py --runtimes torch --no-growth

Prints the result and writes it to benchmarks/results/assa.txt and .json, and assa_growth.png. A runtime that is not
installed is left out, and said so. LiteRT's is `pip install litert-torch==0.10.0 ai-edge-litert==2.3.0`, which wants
other releases than constraints.txt has, so give it an environment of its own. Run this on a machine that does nothing
else.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _attention_graphs import GRAPHS
from _attention_graphs import LIMIT_BYTES
from _attention_graphs import Setting
from _attention_graphs import graph
from _attention_graphs import prepare
from _attention_graphs import spent_on
from _attention_graphs import timed_ms

from profilers import cpu_model
from subdit.core.files import write_atomic
from subdit.core.files import write_json

RESULTS = Path(__file__).parent / "results"
RUNTIMES = {"torch": "torch", "torch.compile": "torch", "onnxruntime": "onnxruntime", "litert": "litert_torch"}
WIDE = {"label": "width 1024", "width": 1024, "heads": 16, "kv_heads": 8, "head_dim": 64}
SMALL = {"label": "small of mobile-1k", "width": 1088, "heads": 32, "kv_heads": 8, "head_dim": 32}
NEAR = {"grid": 64, "blocks": 16, "radius": 1, "kv_compression": 2}
FAR = {"grid": 128, "blocks": 64, "radius": 1, "kv_compression": 4}
SETTINGS = tuple(Setting(**layer, **where) for where in (NEAR, FAR) for layer in (WIDE, SMALL))
GROWTH_GRIDS = (32, 48, 64, 96, 128)
GROWTH_LAYERS = {"dense": None, "ASSA, B = 16, compression 2": NEAR, "ASSA, B = 64, compression 4": FAR}
# Targets of the two token counts: sparse branches over dense scores and values, whole layers.
TARGETS = {4096: {"core": 0.5, "layer": 0.6}, 16_384: {"layer": 0.25}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where a runtime that was asked for misses a target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runtimes", nargs="*", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--growth-only", action="store_true", help="measure the growth again, keep the other results")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--run-once", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return 0
    if options.run_once:
        print(run_once(*json.loads(options.run_once)))
        return 0
    installed = [name for name in options.runtimes if importlib.util.find_spec(RUNTIMES[name])]
    missing = sorted(set(options.runtimes) - set(installed))
    before = json.loads((RESULTS / "assa.json").read_text(encoding="utf-8")) if options.growth_only else None
    rows = before["rows"] if before else measure_all(installed, rounds=options.rounds)
    grown = [] if options.no_growth else [name for name in ("torch", "onnxruntime") if name in installed]
    growth = measure_growth(grown)
    result = {
        "machine": f"{cpu_model()}, {platform.system()}, one thread",
        "missing": before["missing"] if before else missing,
        "rows": rows,
        "growth": growth,
    }
    text = as_text(result)
    print(text)
    if not options.no_write:
        write_json(RESULTS / "assa.json", result)
        write_atomic(RESULTS / "assa.txt", text + "\n")
        if growth:
            plot_growth(growth, RESULTS / "assa_growth.png")
    return int(any(row["missed"] for row in rows))


# Measuring, each in a process of its own ------------------------------------------------------------------------------


def measure_all(runtimes: Sequence[str], *, rounds: int) -> list[dict[str, Any]]:
    rows = []
    for setting in SETTINGS:
        for runtime in runtimes:
            if runtime != "torch.compile" or setting.tokens == 4096:
                rows.append(measure(runtime, setting, rounds=rounds))
                print(row_text(rows[-1]), file=sys.stderr, flush=True)
    return rows


def measure(runtime: str, setting: Setting, *, rounds: int) -> dict[str, Any]:
    """Ratios and times of the four graphs, with the peak memory of each."""
    with tempfile.TemporaryDirectory(prefix="subdit-") as folder:
        return _measure(runtime, setting, rounds=rounds, folder=folder)


def _measure(runtime: str, setting: Setting, *, rounds: int, folder: str) -> dict[str, Any]:
    rounds = rounds if setting.tokens == 4096 else max(3, rounds // 2)
    whole = runtime.startswith("torch") or setting.dense_bytes <= LIMIT_BYTES
    dense = ("dense core", "dense layer") if whole else ("dense group", "projections")
    graphs = (dense[0], "sparse core", dense[1], "assa layer")
    timing = ask(folder, "time", runtime, setting, graphs, rounds=rounds)
    times = {name: np.asarray(values) for name, values in timing["ms"].items()}
    if not whole:
        times["dense core"] = setting.kv_heads * times["dense group"]
        times["dense layer"] = times["projections"] + times["dense core"]
    ratios = {
        "core": float(np.median(times["sparse core"] / times["dense core"])),
        "layer": float(np.median(times["assa layer"] / times["dense layer"])),
    }
    memory = {
        name: ask(folder, "memory", runtime, setting, (name,))["bytes"]
        for name in (GRAPHS if whole else ("sparse core", "assa layer", dense[0]))
    }
    targets = TARGETS[setting.tokens]
    return {
        "runtime": runtime,
        "setting": json.loads(setting.to_json()),
        "tokens": setting.tokens,
        "by_group": not whole,
        "ms": {name: float(np.median(times[name])) for name in GRAPHS},
        "spread": {name: float((times[name].max() - times[name].min()) / np.median(times[name])) for name in GRAPHS},
        "peak_bytes": memory,
        "ratios": ratios,
        "ideal": {"core": setting.ideal_core, "layer": setting.ideal_layer},
        "targets": targets,
        "missed": [kind for kind, limit in targets.items() if ratios[kind] > limit],
        "deviation": timing["deviation"],
        "spent_on": ask(folder, "spent", runtime, setting, ("assa layer",))["spent_on"],
    }


def measure_growth(runtimes: Sequence[str]) -> list[dict[str, Any]]:
    """Time and memory of the whole layer by tokens, dense and two forms of ASSA."""
    rows = []
    for runtime in runtimes:
        for grid in GROWTH_GRIDS:
            for label, where in (
                ("dense", None),
                ("ASSA, B = 16, compression 2", NEAR),
                ("ASSA, B = 64, compression 4", FAR),
            ):
                setting = Setting(**WIDE, **{**(where or NEAR), "grid": grid})
                name = "assa layer" if where else "dense layer"
                by_group = not where and runtime != "torch" and setting.dense_bytes > LIMIT_BYTES
                graphs = ("dense group", "projections") if by_group else (name,)
                with tempfile.TemporaryDirectory(prefix="subdit-") as folder:
                    timing = ask(folder, "time", runtime, setting, graphs, rounds=3)["ms"]
                    peak = ask(folder, "memory", runtime, setting, graphs[:1])["bytes"]
                median = {key: float(np.median(values)) for key, values in timing.items()}
                ms = median["projections"] + setting.kv_heads * median["dense group"] if by_group else median[name]
                row = {"runtime": runtime, "tokens": setting.tokens, "layer": label, "ms": ms, "by_group": by_group}
                rows.append({**row, "peak_bytes": peak})
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def ask(
    folder: str, what: str, runtime: str, setting: Setting, graphs: Sequence[str], *, rounds: int = 0
) -> dict[str, Any]:
    """What a process of its own measures; exported graphs stay in the folder for the next one."""
    question = {"what": what, "runtime": runtime, "setting": setting.to_json(), "graphs": graphs, "rounds": rounds}
    question["folder"] = folder
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(question)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{runtime}, {what}, {setting}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def child(question: dict[str, Any]) -> dict[str, Any]:
    setting, runtime, root = Setting(**json.loads(question["setting"])), question["runtime"], Path(question["folder"])
    folders = {name: root / name.replace(" ", "-") for name in question["graphs"]}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    if question["what"] != "time":
        (name,) = question["graphs"]
        if question["what"] == "spent":
            return {"spent_on": spent_on(runtime, *graph(setting, name), folders[name])}
        return {"bytes": peak_bytes(runtime, setting, name, folders[name])}
    runs, deviation = {}, 0.0
    for name, folder in folders.items():
        module, inputs = graph(setting, name)
        runs[name] = prepare(runtime, module, inputs, folder)
        if name == "assa layer":
            expected = prepare("torch", module, inputs, folder)()
            deviation = float(np.abs(np.asarray(runs[name]()) - np.asarray(expected)).max())
    taken: dict[str, list[float]] = {name: [] for name in runs}
    # The first round warms up.
    for _ in range(question["rounds"] + 1):
        for name, run in runs.items():
            taken[name].append(timed_ms(run))
    return {"ms": {name: values[1:] for name, values in taken.items()}, "deviation": deviation}


def peak_bytes(runtime: str, setting: Setting, name: str, folder: Path) -> int:
    """How far one run, in a fresh process, raises the resident memory above what the loaded graph takes."""
    module, inputs = graph(setting, name)
    run = prepare(runtime, module, inputs, folder)
    if runtime in ("torch", "torch.compile"):
        return peak_of(run)
    # Exporting takes more memory than running, so another process runs what this one wrote.
    shapes = {key: list(value.shape) for key, value in inputs.items()}
    done = subprocess.run(
        [sys.executable, __file__, "--run-once", json.dumps([runtime, str(folder), shapes])],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.strip().splitlines()[-1])


def run_once(runtime: str, folder: str, shapes: dict[str, list[int]]) -> int:
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(f"{folder}/graph.onnx", options, providers=["CPUExecutionProvider"])
        feeds = {name: np.ones(shape, dtype=np.float32) for name, shape in shapes.items()}
        return peak_of(lambda: session.run(None, feeds))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=f"{folder}/graph.tflite", num_threads=1)

    def run() -> None:
        # Its arena is what a run needs, and it is allocated before.
        interpreter.allocate_tensors()
        interpreter.invoke()

    return peak_of(run)


def peak_of(run: Callable[[], object]) -> int:
    """Bytes by which the highest resident memory during the run is above that before it (Linux)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    # Sets the kernel's high-water mark to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    run()
    return max(0, status_bytes("VmHWM") - before)


def status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


# Showing --------------------------------------------------------------------------------------------------------------


def as_text(result: dict[str, Any]) -> str:
    lines = [f"ASSA against dense attention, {result['machine']}", ""]
    if result["missing"]:
        lines += [f"not installed, left out: {', '.join(result['missing'])} (LiteRT: pip install litert-torch)", ""]
    lines += [row_text(row) for row in result["rows"]]
    lines += [
        "times are medians in milliseconds, +- half the range of the rounds; 'core' is scores and values of dense",
        "attention, or both sparse branches with the compression; peak memory is what one run adds; x groups: dense is",
        "timed for one key-value group and multiplied (projections once), and its memory is that of one group",
    ]
    if result["growth"]:
        lines += ["", "Growth of the layer of width 1024", ""]
        lines.append(f"{'runtime':<13}{'layer':<30}{'tokens':>8}{'ms':>10}{'peak MB':>10}")
        for row in result["growth"]:
            mark = "  x groups" if row["by_group"] else ""
            peak = f"{row['peak_bytes'] / 1e6:>10.0f}"
            lines.append(f"{row['runtime']:<13}{row['layer']:<30}{row['tokens']:>8}{row['ms']:>10.1f}{peak}{mark}")
    return "\n".join(lines)


def row_text(row: dict[str, Any]) -> str:
    setting = row["setting"]
    head = (
        f"{row['runtime']}: {setting['label']}, {row['tokens']:,} tokens, {setting['heads']} query heads, "
        f"{setting['kv_heads']} kv heads, head size {setting['head_dim']}, B = {setting['blocks']}, "
        f"r = {setting['radius']}, compression {setting['kv_compression']}" + (", x groups" if row["by_group"] else "")
    )
    lines = [head]
    for kind, dense, sparse in (("core", "dense core", "sparse core"), ("layer", "dense layer", "assa layer")):
        target = f"target {row['targets'][kind]:.2f}" if kind in row["targets"] else "no target"
        peaks = [row["peak_bytes"].get(name, row["peak_bytes"].get("dense group", 0)) / 1e6 for name in (dense, sparse)]
        spreads = [50 * row["spread"][name] for name in (dense, sparse)]
        lines.append(
            f"  {kind:<6} dense {row['ms'][dense]:>9.1f} +-{spreads[0]:>3.0f} %   ASSA {row['ms'][sparse]:>8.1f} "
            f"+-{spreads[1]:>3.0f} %   ratio {row['ratios'][kind]:.3f} (ideal {row['ideal'][kind]:.3f}, {target})"
            f"{'  MISSED' if kind in row['missed'] else ''}   peak MB {peaks[0]:.0f} / {peaks[1]:.0f}"
        )
    if row["spent_on"]:
        spent = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["spent_on"].items())
        lines.append(f"  the ASSA layer spends its time on: {spent}")
    return "\n".join([*lines, f"  differs from torch eager by at most {row['deviation']:.1e}", ""])


def plot_growth(growth: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runtimes = list(dict.fromkeys(row["runtime"] for row in growth))
    figure, axes = plt.subplots(2, len(runtimes), figsize=(5 * len(runtimes), 7), sharex=True, squeeze=False)
    for column, runtime in enumerate(runtimes):
        for label in dict.fromkeys(row["layer"] for row in growth):
            rows = [row for row in growth if row["runtime"] == runtime and row["layer"] == label]
            tokens = [row["tokens"] for row in rows]
            axes[0][column].plot(tokens, [row["ms"] for row in rows], marker="o", label=label)
            (line,) = axes[1][column].plot(tokens, [row["peak_bytes"] / 1e6 for row in rows], marker="o", label=label)
            # Memory of one key-value group is no memory of the layer: hollow, so that nobody reads it as a dip.
            grouped = [row for row in rows if row["by_group"]]
            axes[1][column].plot(
                [row["tokens"] for row in grouped],
                [row["peak_bytes"] / 1e6 for row in grouped],
                "o",
                color=line.get_color(),
                markerfacecolor="white",
                label="of one key-value group" if grouped else None,
            )
            if grouped:
                axes[1][column].legend(handles=axes[1][column].lines[-1:])
        axes[0][column].set_title(f"{runtime}, one thread")
        axes[1][column].set_xlabel("tokens")
        for row_axes, what in ((axes[0][column], "layer latency, ms"), (axes[1][column], "peak memory of a run, MB")):
            row_axes.set(xscale="log", yscale="log", ylabel=what)
            row_axes.set_xticks(sorted({row["tokens"] for row in growth}))
            row_axes.get_xaxis().set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
            row_axes.minorticks_off()
            row_axes.grid(alpha=0.3)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
