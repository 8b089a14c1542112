"""A stand-in for benchmark_model on the fake phone: it really runs the .tflite file, and prints as the real ones do.

`write_stand_in` makes an executable of it. The text's layout is that of `benchmark_model.cc`,
`benchmark_tflite_model.cc`, `minimal_logging_android.cc` and `benchmark_litert_model.h` of google-ai-edge/LiteRT, of
`stats_calculator.h` of tsl, and of `logging.h` of TensorFlow Lite's tools; numbers are printed as C++ streams do. What
it says of a GPU is made up: all operators but the first run there, or none where GPU_TAKES is "none".
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

LAYOUT = "tflite"
PERCENTILES = "yes"
GPU_TAKES = "all but one"

SHARED = {"num_runs": "50", "min_secs": "1", "max_secs": "150", "run_delay": "-1", "num_threads": "-1"}
SHARED |= {"warmup_runs": "1", "warmup_min_secs": "0.5", "graph": "", "require_full_delegation": "false"}
SHARED |= {"use_gpu": "false", "gpu_backend": "", "result_file_path": ""}
FLAGS = {
    "tflite": SHARED
    | {"input_layer": "", "input_layer_shape": "", "input_layer_value_files": "", "output_filepath": ""}
    | {"enable_op_profiling": "false", "use_xnnpack": "false", "gpu_precision_loss_allowed": "true"},
    "litert": SHARED | {"use_cpu": "true", "use_npu": "false", "allow_fp16": "true", "dispatch_library_path": ""},
}


def write_stand_in(path: Path, layout: str, *, percentiles: str = "yes", gpu_takes: str = "all but one") -> Path:
    """An executable with this module's code and one of the layouts; builds before 2024 print no percentiles."""
    code = Path(__file__).read_text()
    for name, old, new in (
        ("LAYOUT", LAYOUT, layout),
        ("PERCENTILES", PERCENTILES, percentiles),
        ("GPU_TAKES", GPU_TAKES, gpu_takes),
    ):
        code = code.replace(f'{name} = "{old}"', f'{name} = "{new}"', 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{code}")
    return path


def info(text: str) -> None:
    """TFLITE_LOG(INFO) of the tools."""
    print(f"INFO: {text}")


def runtime(text: str, severity: str = "INFO") -> None:
    """The runtime's own logger, on Android."""
    print(f"{severity}: {text}", file=sys.stderr)


def said(text: str, line: int = 94) -> None:
    """LITERT_LOG; a line break at the text's beginning comes after the prefix."""
    print(f"INFO: [benchmark_litert_model.h:{line}] {text}", file=sys.stderr)


def six(value: float) -> str:
    """A double in a C++ stream: six digits, without zeros at the end."""
    return f"{value:.6g}"


def mean_of(taken_us: list[int]) -> float:
    """Stat::avg; where nothing was timed, the NaN of whole numbers, which is 0."""
    return sum(taken_us) / len(taken_us) if taken_us else 0.0


def std_of(taken_us: list[int]) -> int:
    """Stat::std_deviation: whole microseconds, cut and not rounded, of a variance that was cut too."""
    if len(set(taken_us)) < 2:
        return 0
    mean = mean_of(taken_us)
    return int(int(sum(value * value for value in taken_us) / len(taken_us) - mean * mean) ** 0.5)


def percentile_of(taken_us: list[int], percent: int) -> int:
    """StatWithPercentiles::percentile."""
    return sorted(taken_us)[len(taken_us) * percent // 100] if taken_us else 0


def counted(taken_us: list[int], *, percentiles: bool) -> str:
    """Stat::OutputToStream, and StatWithPercentiles's, which adds to whatever form that has."""
    count = len(taken_us)
    if not taken_us:
        text = "count=0"
    elif min(taken_us) == max(taken_us):
        text = f"count={count} curr={taken_us[-1]}" + ("(all same)" if count > 1 else "")
    else:
        text = f"count={count} first={taken_us[0]} curr={taken_us[-1]} min={min(taken_us)} max={max(taken_us)}"
        text += f" avg={six(mean_of(taken_us))} std={std_of(taken_us)}"
    if percentiles:
        for name, percent in (("p5", 5), ("median", 50), ("p95", 95)):
            text += f" {name}={percentile_of(taken_us, percent)}"
    return text


def timings(ready_us: int, warm: list[int], timed: list[int]) -> str:
    """BenchmarkLoggingListener::OnBenchmarkEnd of TensorFlow Lite's program."""
    return (
        f"Inference timings in us: Init: {ready_us}, First inference: {warm[0] if warm else 0}, "
        f"Warmup (avg): {six(mean_of(warm))}, Inference (avg): {six(mean_of(timed))}"
    )


def delegated(name: str, taken: int, kernels: int) -> str:
    """BenchmarkTfLiteModel::Init: what became of a delegate; `taken` is 0, 1 for a part and 2 for all."""
    if taken == 2:
        return f"Explicitly applied {name} delegate, and the model graph will be completely executed by the delegate."
    if taken == 1:
        return (
            f"Explicitly applied {name} delegate, and the model graph will be partially executed by the delegate w/ "
            f"{kernels} delegate kernels."
        )
    return f"Though {name} delegate is explicitly applied, the model graph will not be executed by the delegate."


def results(ready_us: int, warm: list[int], timed: list[int]) -> list[str]:
    """BenchmarkLoggingListener::OnBenchmarkEnd of LiteRT's program: what it gives to LITERT_LOG, one after another."""
    lines = ["\n========== BENCHMARK RESULTS =========="]
    lines.append(f"Model initialization: {ready_us / 1e3:.2f} ms")
    lines.append(f"Warmup (first):       {(warm[0] if warm else 0) / 1e3:.2f} ms")
    lines.append(f"Warmup (avg):         {mean_of(warm) / 1e3:.2f} ms ({len(warm)} runs)")
    lines.append(f"Inference (avg):      {mean_of(timed) / 1e3:.2f} ms ({len(timed)} runs)")
    if timed:
        lines.append(f"Inference (min):      {min(timed) / 1e3:.2f} ms")
        lines.append(f"Inference (max):      {max(timed) / 1e3:.2f} ms")
        lines.append(f"Inference (std):      {std_of(timed) / 1e3:.2f}")
    else:
        lines.append("No inference runs were performed.")
    lines.append("Throughput:           12.45 MB/s" if timed else "No throughput data available (throughput <= 0).")
    lines += ["\nMemory Usage:", "Init footprint:       21.95 MB", "Overall footprint:    34.52 MB"]
    lines.append("Peak memory usage not available. (peak_mem_mb <= 0)")
    return [*lines, "======================================\n"]


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
        taken = 0 if GPU_TAKES == "none" else operators - 1
        ends = f"{taken} operations will run on the GPU, and the remaining {operators - taken} operations will run on "
        if not taken:
            ends = f"No operations will run on the GPU, and all {operators} operations will run on "
        print(f"{ends}the CPU.", file=sys.stderr)
        runtime(f"Created {int(taken > 0)} GPU delegate kernels.")
        if LAYOUT == "tflite":
            info(delegated("GPU", int(taken > 0), 1))
    else:
        runtime("Created TensorFlow Lite XNNPACK delegate for CPU.")
    ready_us = (time.perf_counter_ns() - began) // 1000
    info(f"The input model file size (MB): {six(Path(graph).stat().st_size / 1e6)}")
    info(f"Initialized session in {six(ready_us / 1e3)}ms.")

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
        bounds = f"at least {least} iterations and at least {six(float(seconds))} seconds"
        info(f"Running benchmark for {bounds} but terminate if exceeding {six(float(flags['max_secs']))} seconds.")
        ends_at = time.monotonic() + float(seconds)
        gives_up_at = time.monotonic() + float(flags["max_secs"])
        while (len(taken) < least or time.monotonic() < ends_at) and time.monotonic() <= gives_up_at:
            taken.append(run())
        info(counted(taken, percentiles=PERCENTILES == "yes") + "\n")
    if LAYOUT == "tflite":
        report_tflite(ready_us, warm, timed)
        if flags["output_filepath"]:
            (detail,) = interpreter.get_output_details()
            interpreter.get_tensor(detail["index"]).tofile(flags["output_filepath"])
    else:
        report_litert(ready_us, warm, timed)
    return 0


def report_tflite(ready_us: int, warm: list[int], timed: list[int]) -> None:
    info(timings(ready_us, warm, timed))
    info(
        "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual "
        "memory footprint of the model at runtime. Take the information at your discretion."
    )
    info("Memory footprint delta from the start of the tool (MB): init=21.9492 overall=34.5234")


def report_litert(ready_us: int, warm: list[int], timed: list[int]) -> None:
    for at, line in enumerate(results(ready_us, warm, timed)):
        said(line, 84 + 2 * at)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
