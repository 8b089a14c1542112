"""A stand-in for benchmark_model on the fake phone: it really runs the .tflite file, and prints as the real ones do.

`write_stand_in` makes an executable of it. The text's layout is that of `benchmark_model.cc`,
`benchmark_tflite_model.cc`, `stat_summarizer.cc` and `benchmark_litert_model.h` of google-ai-edge/LiteRT; numbers are
printed as C++ streams do. What it says of a GPU is made up: all operators but the first run there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

LAYOUT = "tflite"

SHARED = {"num_runs": "50", "min_secs": "1", "max_secs": "150", "run_delay": "-1", "num_threads": "-1"}
SHARED |= {"warmup_runs": "1", "warmup_min_secs": "0.5", "graph": "", "require_full_delegation": "false"}
SHARED |= {"use_gpu": "false", "gpu_backend": "", "result_file_path": ""}
FLAGS = {
    "tflite": SHARED
    | {"input_layer": "", "input_layer_shape": "", "input_layer_value_files": "", "output_filepath": ""}
    | {"enable_op_profiling": "false", "use_xnnpack": "false", "gpu_precision_loss_allowed": "true"},
    "litert": SHARED | {"use_cpu": "true", "use_npu": "false", "allow_fp16": "true", "dispatch_library_path": ""},
}


def write_stand_in(path: Path, layout: str) -> Path:
    """An executable with this module's code and one of the layouts."""
    code = Path(__file__).read_text().replace('LAYOUT = "tflite"', f'LAYOUT = "{layout}"', 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{code}")
    return path


def info(text: str) -> None:
    print(f"INFO: {text}")


def said(text: str) -> None:
    """LITERT_LOG."""
    print(f"INFO: [benchmark_litert_model.h:94] {text}", file=sys.stderr)


def counted(taken_us: list[int]) -> str:
    """StatWithPercentiles::OutputToStream."""
    count, curr = len(taken_us), taken_us[-1]
    if min(taken_us) == max(taken_us):
        return f"count={count} curr={curr}" + ("(all same)" if count > 1 else "")
    mean = sum(taken_us) / count
    std = (sum((value - mean) ** 2 for value in taken_us) / count) ** 0.5
    ranked = sorted(taken_us)
    p5, median, p95 = (ranked[min(int(share * count), count - 1)] for share in (0.05, 0.5, 0.95))
    ends = f"first={taken_us[0]} curr={curr} min={ranked[0]} max={ranked[-1]}"
    return f"count={count} {ends} avg={mean:.6g} std={std:.6g} p5={p5} median={median} p95={p95}"


def main(arguments: list[str]) -> int:
    info("STARTING!")
    flags = dict(FLAGS[LAYOUT])
    unknown = []
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument == "--help":
            usage = "".join(f"\t--{key}={given}\tstring\toptional\n" for key, given in flags.items())
            print(f"ERROR: usage: {sys.argv[0]} <flags>\nFlags:\n{usage}", file=sys.stderr)
            print("ERROR: Benchmarking failed.", file=sys.stderr)
            return 1
        if name in flags and "=" in argument:
            flags[name] = value
        else:
            unknown.append(argument)
    if unknown:
        print(f"WARN: Unconsumed cmdline flags: {' '.join(unknown)}")
    return benchmark(flags)


def benchmark(flags: dict[str, str]) -> int:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.interpreter import OpResolverType

    graph = flags["graph"]
    info("Log parameter values verbosely: [0]")
    info(f"Num threads: [{flags['num_threads']}]")
    info(f"Graph: [{graph}]")
    began = time.perf_counter_ns()
    threads = max(int(flags["num_threads"]), 1)
    try:
        interpreter = Interpreter(graph, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        print(f"ERROR: Failed to load model {graph}\nERROR: {error}\nERROR: Benchmarking failed.", file=sys.stderr)
        return 1
    if LAYOUT == "tflite":
        info("Signature to run: []")
        info(f"#threads used for CPU inference: [{threads}]")
        info("Use gpu: [1]" if flags["use_gpu"] == "true" else "Use xnnpack: [1]")
        info(f"Loaded model {graph}")
    if flags["use_gpu"] == "true":
        plain = Interpreter(graph, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        operators = len(plain._get_ops_details())
        print("ERROR: Following operations are not supported by GPU delegate:", file=sys.stderr)
        print("GATHER_ND: Operation is not supported.", file=sys.stderr)
        ends = f"{operators - 1} operations will run on the GPU, and the remaining 1 operations will run on the CPU."
        print(ends, file=sys.stderr)
        if LAYOUT == "tflite":
            info(
                "Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 1 "
                "delegate kernels."
            )
    ready_us = (time.perf_counter_ns() - began) // 1000
    info(f"The input model file size (MB): {Path(graph).stat().st_size / 1e6:.6g}")
    info(f"Initialized session in {ready_us / 1e3:.6g}ms.")

    files = dict(pair.split(":") for pair in flags.get("input_layer_value_files", "").split(",") if pair)
    names = flags.get("input_layer", "").split(",")
    rng = np.random.default_rng()
    values = []
    for at, detail in enumerate(interpreter.get_input_details()):
        if files:
            values.append(np.fromfile(files[names[at]], dtype=detail["dtype"]).reshape(detail["shape"]))
        else:
            values.append(rng.uniform(0.0, 1.0, detail["shape"]).astype(detail["dtype"]))

    def run() -> int:
        for detail, value in zip(interpreter.get_input_details(), values, strict=True):
            interpreter.set_tensor(detail["index"], value)
        start = time.perf_counter_ns()
        interpreter.invoke()
        return max((time.perf_counter_ns() - start) // 1000, 1)

    warm: list[int] = []
    timed: list[int] = []
    for taken, least in ((warm, int(flags["warmup_runs"])), (timed, int(flags["num_runs"]))):
        seconds = flags["warmup_min_secs"] if taken is warm else flags["min_secs"]
        bounds = f"at least {least} iterations and at least {float(seconds):.6g} seconds"
        info(f"Running benchmark for {bounds} but terminate if exceeding {float(flags['max_secs']):.6g} seconds.")
        ends_at = time.monotonic() + float(seconds)
        gives_up_at = time.monotonic() + float(flags["max_secs"])
        while (len(taken) < least or time.monotonic() < ends_at) and time.monotonic() <= gives_up_at:
            taken.append(run())
        info(counted(taken) + "\n")
    if LAYOUT == "tflite":
        report_tflite(ready_us, warm, timed)
        if flags["output_filepath"]:
            (detail,) = interpreter.get_output_details()
            interpreter.get_tensor(detail["index"]).tofile(flags["output_filepath"])
    else:
        report_litert(ready_us, warm, timed)
    return 0


def report_tflite(ready_us: int, warm: list[int], timed: list[int]) -> None:
    info(
        f"Inference timings in us: Init: {ready_us}, First inference: {warm[0]}, "
        f"Warmup (avg): {sum(warm) / len(warm):.6g}, Inference (avg): {sum(timed) / len(timed):.6g}"
    )
    info(
        "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual "
        "memory footprint of the model at runtime. Take the information at your discretion."
    )
    info("Memory footprint delta from the start of the tool (MB): init=21.9492 overall=34.5234")


def report_litert(ready_us: int, warm: list[int], timed: list[int]) -> None:
    mean = sum(timed) / len(timed)
    std = (sum((value - mean) ** 2 for value in timed) / len(timed)) ** 0.5
    said("")
    print("========== BENCHMARK RESULTS ==========", file=sys.stderr)
    said(f"Model initialization: {ready_us / 1e3:.2f} ms")
    said(f"Warmup (first):       {warm[0] / 1e3:.2f} ms")
    said(f"Warmup (avg):         {sum(warm) / len(warm) / 1e3:.2f} ms ({len(warm)} runs)")
    said(f"Inference (avg):      {mean / 1e3:.2f} ms ({len(timed)} runs)")
    said(f"Inference (min):      {min(timed) / 1e3:.2f} ms")
    said(f"Inference (max):      {max(timed) / 1e3:.2f} ms")
    said(f"Inference (std):      {std / 1e3:.2f}")
    said("Throughput:           12.45 MB/s")
    said("======================================")
    print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
