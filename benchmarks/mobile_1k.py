"""The paper's `small` at 1024 pixels on a CPU: build the full supernet, extract, save, load, export, run once.

    python benchmarks/mobile_1k.py [--threads 2] [--space mobile-1k] [--point small]

Each stage runs in a process of its own, so that its peak memory (resident, as the kernel counted it) is its own.
Weights are redrawn at random: time and memory do not depend on them, and an untrained DiT's zero output would prove
nothing of the export. Writes benchmarks/results/mobile_1k.txt and .json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
STAGES = {
    "extract": "build full, extract, save",
    "load": "load, torch forward",
    "export": "load, export to ONNX with external data",
    "run": "ONNX Runtime session and one run at 1024 px",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mobile-1k")
    parser.add_argument("--point", default="small")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        print(json.dumps(run_stage(args)))
        return
    with tempfile.TemporaryDirectory(prefix="subdit-mobile-1k-") as folder:
        found = {stage: in_child(stage, args, folder) for stage in STAGES}
    result = {
        "space": args.space,
        "point": args.point,
        "threads": args.threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "stages": found,
        "deviation_from_torch": found["run"].pop("deviation_from_torch"),
        "largest_torch_output": found["run"].pop("largest_torch_output"),
    }
    text = table(result)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "mobile_1k.txt").write_text(text + "\n", encoding="utf-8")
    (RESULTS / "mobile_1k.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def in_child(stage: str, args: argparse.Namespace, folder: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--stage", stage, "--folder", folder, "--threads", str(args.threads)]
    command += ["--space", args.space, "--point", args.point]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    print(f"{STAGES[stage]}: {found['seconds']:.1f} s, peak {found['peak_memory_bytes'] / 1e9:.2f} GB", file=sys.stderr)
    return found


def run_stage(args: argparse.Namespace) -> dict[str, Any]:
    """One stage, here and now: seconds without imports, peak memory of the process, and what else it learns."""
    work = {"extract": extract, "load": load, "export": export, "run": run}[args.stage]
    import supernet.export.exporter  # noqa: F401

    started = time.perf_counter()
    found = work(args)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **found,
    }


def extract(args: argparse.Namespace) -> dict[str, Any]:
    from subdit.space import get_space
    from supernet.checkpoints import save_model
    from supernet.model.dit import redraw_
    from supernet.model.elastic import ElasticDiT

    parts: dict[str, float] = {}
    at = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal at
        parts[name], at = round(time.perf_counter() - at, 2), time.perf_counter()

    supernet = ElasticDiT.of_space(get_space(args.space))
    lap("build_full_seconds")
    model = supernet.extract(get_space(args.space).named_spec(args.point)).eval()
    lap("extract_seconds")
    redraw_(model, seed=0)
    lap("redraw_seconds")
    save_model(model, args.folder / "model")
    lap("save_seconds")
    params = {"supernet_params": supernet.num_parameters(), "params": model.num_parameters()}
    return {**parts, **params, "saved_bytes": size_of(args.folder / "model")}


def load(args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import torch

    from supernet.checkpoints import load_sub_dit

    torch.set_num_threads(args.threads)
    started = time.perf_counter()
    model = load_sub_dit(args.folder / "model")
    loaded = time.perf_counter()
    with torch.no_grad():
        output = model(*model.example_inputs().values())
    np.save(args.folder / "torch.npy", output.numpy())
    return {
        "load_seconds": round(loaded - started, 2),
        "torch_forward_seconds": round(time.perf_counter() - loaded, 2),
    }


def export(args: argparse.Namespace) -> dict[str, Any]:
    from supernet.checkpoints import load_sub_dit
    from supernet.export.exporter import export_onnx

    model = load_sub_dit(args.folder / "model")
    started = time.perf_counter()
    export_onnx(model, model.example_inputs(), args.folder / "onnx" / "dit.onnx", external_data=True)
    return {
        "export_seconds": round(time.perf_counter() - started, 2),
        "graph_bytes": (args.folder / "onnx" / "dit.onnx").stat().st_size,
        "data_bytes": (args.folder / "onnx" / "dit.onnx.data").stat().st_size,
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import onnxruntime

    from supernet.model.dit import drawn_inputs

    config = json.loads((args.folder / "model" / "config.json").read_text())
    inputs = {name: value.numpy() for name, value in drawn_inputs(config).items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    started = time.perf_counter()
    session = onnxruntime.InferenceSession(
        str(args.folder / "onnx" / "dit.onnx"), options, providers=["CPUExecutionProvider"]
    )
    ready = time.perf_counter()
    (output,) = session.run(None, inputs)
    ran = time.perf_counter()
    expected = np.load(args.folder / "torch.npy")
    return {
        "session_seconds": round(ready - started, 2),
        "run_seconds": round(ran - ready, 2),
        "deviation_from_torch": float(np.abs(output - expected).max()),
        "largest_torch_output": float(np.abs(expected).max()),
    }


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def table(result: dict[str, Any]) -> str:
    lines = [f"{result['space']} {result['point']}, {result['threads']} threads, {result['machine']}", ""]
    lines.append(f"{'stage':<46} {'seconds':>8} {'peak GB':>8}")
    for stage, found in result["stages"].items():
        lines.append(f"{STAGES[stage]:<46} {found['seconds']:>8.1f} {found['peak_memory_bytes'] / 1e9:>8.2f}")
        for key, value in found.items():
            if key in ("seconds", "peak_memory_bytes"):
                continue
            shown = f"{value:.2f}" if key.endswith("seconds") else f"{value:,}"
            lines.append(f"    {key:<42} {shown:>13}")
    lines.append("")
    lines.append(
        f"largest deviation of ONNX Runtime from torch {result['deviation_from_torch']:.1e} "
        f"(largest output {result['largest_torch_output']:.2f})"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
