"""Peak memory that a sub-DiT adds to a process, in ONNX Runtime and in LiteRT, against `peak_memory_bytes`.

    python benchmarks/memory.py [--sub-dits 20] [--seed 2] [--repeats 8] [--results FILE] [--only-print]

Every model is exported as `subdit export` does, then loaded and run twice in a process of its own for each runtime,
on one thread, eight times over, three for those of the mobile size (`_peak_memory.py`). The peak is the most that is
resident while the model is loaded and run, above what the process with the imported runtime had before: weights in
memory of its own and weights mapped from the file both count, and both are in the results. The largest of the
repetitions is what the closed form is held against: ONNX Runtime makes its tensors in an order that differs from
process to process, and in some of them the heap keeps room of half the weights.

Constants of the closed form are fitted on the models marked "fit": they are other ones than those that the error is
printed for. Linux only. Exports go to a temporary folder, one at a time, and are deleted. What was measured is kept
after each model, so that a run that was cut short goes on. An hour on two cores, of which the models of the mobile
size take half; they need 4 GB of memory and of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.space import MEMORY_TERMS
from subdit.space import MODELLED_RUNTIMES
from subdit.space import SubDiTSpec
from subdit.space import activation_bytes
from subdit.space import get_space
from subdit.space import memory_features
from subdit.space import peak_memory_bytes
from subdit.space import weight_bytes

HERE = Path(__file__).parent
SPACE = "mid-256"
PRECISIONS = ("fp32", "fp16", "int8")
TO_FIT = 5
# What the terms are was settled on sub-DiTs of this seed; those held against the closed form were drawn afterwards.
EARLIER_SEED = 1
LARGE_REPEATS = 3
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Of the mobile size with a layer or two per stage, so that large tensors are among what is fitted on.
SHALLOW = (("mobile-1k-1-2-1", "tiny"), ("mobile-1k-2-2-1", "small"))
HELD_OUT = (("mobile-1k", "tiny"), ("mobile-1k", "small"))


@dataclass(frozen=True)
class Model:
    """A sub-DiT to measure at some precisions; `fit` where constants may be fitted on it."""

    spec: SubDiTSpec
    fit: bool
    precisions: tuple[str, ...] = ("fp32",)


def chosen(sub_dits: int, seed: int) -> list[Model]:
    """Some to fit on, and `sub_dits` and the points of `mobile-1k` to hold against the closed form; none is both.

    Those to fit on, and as many of the others, are measured in fp16 and int8, too.
    """
    space = get_space(SPACE)
    drawn, earlier = (
        space.decode(space.sample(np.random.default_rng(one), sub_dits + TO_FIT)) for one in (seed, EARLIER_SEED)
    )
    held_out = drawn[:sub_dits]
    to_fit = [spec for spec in (*drawn[sub_dits:], *earlier[sub_dits:]) if spec not in held_out]
    models = [Model(get_space(name).named_spec(point), True) for name, point in SHALLOW]
    models += [Model(spec, True, PRECISIONS) for spec in to_fit]
    models += [Model(spec, False, PRECISIONS if at < TO_FIT else ("fp32",)) for at, spec in enumerate(held_out)]
    return models + [Model(get_space(name).named_spec(point), False) for name, point in HELD_OUT]


# Measuring ------------------------------------------------------------------------------------------------------------


def export_all(spec: SubDiTSpec, precisions: tuple[str, ...], folder: Path) -> None:
    """In a process of its own: inputs.npz, PRECISION.onnx and PRECISION.tflite."""
    import onnx

    from supernet.export.exporter import export_onnx
    from supernet.export.onnx_precision import quantize_int8
    from supernet.export.onnx_precision import store_fp16
    from supernet.model.dit import SubDiT
    from supernet.model.dit import redraw_
    from supernet.tflite import write_tflite

    model = SubDiT.from_spec(get_space(spec.space), spec).eval()
    redraw_(model, 0)
    inputs = model.example_inputs()
    np.savez(folder / "inputs.npz", **{name: value.numpy() for name, value in inputs.items()})
    fp32 = export_onnx(model, inputs, folder / "fp32.onnx")
    nodes = len(onnx.load(str(fp32), load_external_data=False).graph.node)
    (folder / "nodes.json").write_text(json.dumps(nodes))
    del model
    for precision in precisions:
        write_tflite(fp32, folder / f"{precision}.tflite", precision=precision)
    if "fp16" in precisions:
        store_fp16(fp32, folder / "fp16.onnx")
    if "int8" in precisions:
        quantize_int8(fp32, folder / "int8.onnx")


def measure(model: Model, repeats: int) -> dict[str, Any]:
    """Peaks by precision and runtime, `repeats` of each."""
    with tempfile.TemporaryDirectory(prefix="subdit-memory-") as name:
        folder = Path(name)
        arguments = ["--export", json.dumps(model.spec.to_dict()), *model.precisions, "--folder", name]
        subprocess.run([sys.executable, __file__, *arguments], check=True, env=ONE_THREAD)
        found: dict[str, Any] = {"nodes": json.loads((folder / "nodes.json").read_text())}
        for precision in model.precisions:
            for runtime, suffix in (("onnxruntime", "onnx"), ("litert", "tflite")):
                path = folder / f"{precision}.{suffix}"
                found.setdefault(precision, {})[runtime] = {
                    "stored_bytes": sum(part.stat().st_size for part in folder.glob(f"{path.name}*")),
                    "runs": [in_child(runtime, path, folder / "inputs.npz") for _ in range(repeats)],
                }
    return found


def in_child(runtime: str, path: Path, inputs: Path) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "_peak_memory.py"), runtime, str(path), str(inputs)]
    ran = subprocess.run(
        command, check=True, input="\n", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ONE_THREAD
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    if not found.pop("output_is_finite"):
        raise SystemExit(f"{path.name} of {runtime} computed something that is no number")
    return found


def measure_all(models: list[Model], repeats: int, path: Path) -> dict[str, Any]:
    """Measure what is not in the file yet, and write it after each model."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"models": {}}
    for number, model in enumerate(models, 1):
        key = f"{model.spec.space} {model.spec.hash}"
        if key not in kept["models"]:
            began = time.perf_counter()
            peaks = measure(model, repeats if model.spec.space == SPACE else min(repeats, LARGE_REPEATS))
            kept["models"][key] = {"spec": model.spec.to_dict(), "fit": model.fit, "peaks": peaks}
            write_json(path, kept)
            print(f"{number} of {len(models)}: {key}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return kept


# Held against the closed form -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One model at one precision: the largest peaks in bytes, and what the closed form says."""

    spec: SubDiTSpec
    fit: bool
    precision: str
    measured: dict[str, float]
    spread: float
    mapped: float
    features: dict[str, npt.NDArray[np.float64]]
    stated: float
    before: float

    @property
    def larger(self) -> float:
        return max(self.measured.values())

    def error(self, stated: float) -> float:
        return stated / self.larger - 1


def rows_of(kept: dict[str, Any]) -> list[Row]:
    found = []
    for model in kept["models"].values():
        spec = SubDiTSpec.from_dict(model["spec"])
        space = get_space(spec.space)
        encoded = space.encode([spec])
        for precision in (one for one in PRECISIONS if one in model["peaks"]):
            runs = {runtime: model["peaks"][precision][runtime]["runs"] for runtime in MODELLED_RUNTIMES}
            peaks = {runtime: [peak_of(run) for run in each] for runtime, each in runs.items()}
            weights = weight_bytes(space, encoded, precision)[0]
            found.append(
                Row(
                    spec,
                    model["fit"],
                    precision,
                    {runtime: float(max(each)) for runtime, each in peaks.items()},
                    max(max(each) / min(each) - 1 for each in peaks.values()),
                    float(np.median([run["file_bytes"] for run in runs["litert"]])),
                    {runtime: rows[0] for runtime, rows in memory_features(space, encoded, precision).items()},
                    float(peak_memory_bytes(space, encoded, precision)[0]),
                    # The first form: weights, and the largest live set of an order that no runtime keeps to.
                    float(weights + activation_bytes(space, encoded, element_bytes=2 if precision == "fp16" else 4)[0]),
                )
            )
    return found


def peak_of(run: dict[str, Any]) -> int:
    return max(run[f"{name}_peak_bytes"] for name in ("load", "first_run", "second_run"))


def fitted(rows: list[Row], runtime: str, precision: str) -> npt.NDArray[np.float64]:
    """Bytes of an operator and of the runtime: least squares of relative errors, all else as the closed form has it."""
    known = MEMORY_TERMS[runtime, precision].as_array()[:3]
    chosen = [row for row in rows if row.fit and row.precision == precision]
    measured = np.asarray([row.measured[runtime] for row in chosen])
    features = np.stack([row.features[runtime] for row in chosen])
    left = measured - features[:, :3] @ known
    found, *_ = np.linalg.lstsq(features[:, 3:] / measured[:, None], left / measured, rcond=None)
    return np.asarray(found)


def report(rows: list[Row], seed: int) -> str:
    from hypervolume import machine

    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("onnxruntime", "ai-edge-litert"))
    lines = [f"{machine()}; {versions}; one thread; MB are 10^6 bytes", ""]
    lines.append("Bytes of an operator, MB of the runtime: fitted on the models marked 'fit', and in the closed form")
    for (runtime, precision), terms in MEMORY_TERMS.items():
        each = (fitted(rows, runtime, precision), terms.as_array()[3:])
        cells = [f"{operator:7.0f} {fixed / 1e6:6.2f}" for operator, fixed in each]
        lines.append(f"  {runtime:<12}{precision:<5}{'     '.join(cells)}")
    headings = ("ONNX Runtime", "LiteRT", "of it mapped", "spread", "closed form", "error", "before")
    lines += ["", f"Largest peaks of the repetitions in MB; sub-DiTs of {SPACE} drawn by seed {seed}", ""]
    lines.append(f"{'':<5}{'sub-DiT':<58}" + "".join(f"{heading:>14}" for heading in headings))
    for row in rows:
        numbers = [row.measured["onnxruntime"], row.measured["litert"], row.mapped]
        lines.append(
            f"{'fit' if row.fit else '':<5}{f'{row.spec.space} {row.spec} {row.precision}':<58}"
            + "".join(f"{number / 1e6:14.1f}" for number in numbers)
            + f"{row.spread:14.1%}{row.stated / 1e6:14.1f}{row.error(row.stated):+14.1%}{row.error(row.before):+14.1%}"
        )
    lines.append("")
    for precision in PRECISIONS:
        for space in (SPACE, *dict.fromkeys(name for name, _ in HELD_OUT)):
            out = [row for row in rows if not row.fit and row.precision == precision and row.spec.space == space]
            if out:
                now, before = ([row.error(getattr(row, key)) for row in out] for key in ("stated", "before"))
                lines.append(
                    f"{precision} of {space}, {len(out)} that nothing was fitted on: the closed form is off by "
                    f"{np.mean(np.abs(now)):.1%} in the mean, at most {np.max(np.abs(now)):.1%}; weights and live set "
                    f"alone were off by {np.mean(np.abs(before)):.1%}, at most {np.max(np.abs(before)):.1%}"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sub-dits", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "memory.json")
    parser.add_argument("--only-print", action="store_true", help="Measure nothing more.")
    parser.add_argument("--export", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.export:
        described, *precisions = args.export
        export_all(SubDiTSpec.from_dict(json.loads(described)), tuple(precisions), args.folder)
        return
    models = [] if args.only_print else chosen(args.sub_dits, args.seed)
    text = report(rows_of(measure_all(models, args.repeats, args.results)), args.seed)
    print(text)
    write_atomic(args.results.with_suffix(".txt"), text + "\n")


if __name__ == "__main__":
    main()
