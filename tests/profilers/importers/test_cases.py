"""Strangers' logs that were refused, or read wrong, each with its right answer (`tests/golden/cases/`)."""

from __future__ import annotations

from typing import Any

import pytest

from profilers.adb.adb import ShellResult
from profilers.adb.benchmark_model import BenchmarkModel
from profilers.adb.benchmark_model import Setting
from profilers.adb.benchmark_model import read_result
from profilers.importers import ImportedLog
from profilers.importers import ReadOptions
from profilers.importers import read_log
from subdit.core.errors import ImportLogError
from tests.profilers.importers.mutators import GOLDEN

CASES = GOLDEN / "cases"
# The run that most of the cases tell of, in one wrapping or another.
PLAIN = {"count": 86, "mean_ms": 11.5676, "min_ms": 11.487, "max_ms": 12.649, "std_ms": 0.125, "threads": 2}
PLAIN |= {"model_file": "block-a.tflite", "delegate": "cpu"}
LITERT = {"count": 83, "mean_ms": 12.1, "min_ms": 11.8, "max_ms": 13.4, "std_ms": 0.21}
RIGHT: dict[str, dict[str, Any]] = {
    "c01-count1-percentiles.txt": {"count": 50, "mean_ms": 1314.44, "median_ms": 1314.004, "std_ms": 7.001},
    "c01b-count1-percentiles-below-1s.txt": {"count": 50, "mean_ms": 699.641, "median_ms": 699.281, "max_ms": 706.121},
    "c02-all-same-percentiles.txt": {"count": 50, "mean_ms": 0.03, "median_ms": 0.03, "std_ms": 0.0},
    "c02b-all-same-warmup.txt": {"count": 50, "mean_ms": 0.0404, "median_ms": 0.04, "max_ms": 0.042},
    "c03-warmup-over-1s-old.txt": {"count": 50, "mean_ms": 1314.44, "median_ms": None, "min_ms": 1301.001},
    "c04-android-studio-logcat.txt": PLAIN,
    "c04b-logcat-with-year.txt": PLAIN,
    "c04c-logcat-with-uid.txt": PLAIN,
    "c05-ci-timestamps.txt": PLAIN,
    "c06-indented.txt": PLAIN,
    "c06b-quoted.txt": PLAIN,
    "c07-key-pressed.txt": PLAIN,
    "c08-litert-logcat.txt": LITERT,
    "c08b-litert-indented.txt": LITERT,
    "c08c-litert-terminal-is-read.txt": LITERT,
    "c10-nothing-delegated.txt": PLAIN | {"declined": "nnapi", "delegated_share": None},
    "c11-external-delegate.txt": PLAIN
    | {"delegate": "qnn", "delegated_share": 31 / 40, "graph_operators": 40, "partly_delegated": True},
    "c15-executorch-printed-table.txt": {"mean_ms": 1.731, "delegate": "xnnpack", "delegated_share": 1.0},
    "c18-benchncnn.txt": {"count": 8, "mean_ms": 12.16, "min_ms": 12.02, "threads": 4, "delegate": "cpu"},
    "c19-mnn-benchmark.txt": {"count": 10, "mean_ms": 12.206, "max_ms": 12.479, "delegate": "opencl", "threads": None},
    "c20-qnn-profile.csv": {"count": 1, "mean_ms": 1.8, "delegate": "qnn"},
    "p03-tflite-2019-no-stats.txt": {"count": 10, "mean_ms": 108.787, "std_ms": 0.452, "threads": 1, "delegate": "cpu"},
    "p06-perf-test-arm-sme2.txt": {"count": 5, "mean_ms": 98.961997, "median_ms": 99.5086, "threads": 1},
    "p07-perf-test-spacemit.txt": {"count": 10, "mean_ms": 7.270205, "delegate": "spacemit", "threads": 1},
}
# Of files that hold several measurements.
SEVERAL: dict[str, list[tuple[str | None, float]]] = {
    "p01-mnn-1800-two-backends.txt": [("opencl", 1137.906), (None, 0.879)],
    "p02-mnn-769-two-fences.txt": [("cpu", 18.896), ("cpu", 16.404), ("opencl", 2.874), ("opencl", 1.305)],
}
# A file without an end mark.
OPTIONS = {"c20-qnn-profile.csv": ReadOptions(runs=1)}
REFUSED = {
    "c09-failed-run.txt": r"line 8: benchmark_model failed: 'Node number 12 \(BATCH_MATMUL\) failed to prepare\.'",
    "c12-minibench-load-failed.json": r"block_a_qnn_q8 was not loaded \(load_status 48\)",
    "c13-perf-test-parallel.txt": r"8 s of requests in 2\.01 s .* 20 ms is no latency of one",
    "c14-perf-result-six-columns.csv": r"line 1: 6 columns, where a result file of onnxruntime_perf_test has 5",
    "c16-executor-runner.txt": r"output of ExecuTorch's executor_runner .* --etdump_path",
    "c17-aihub-printed.txt": r"table that Qualcomm AI Hub's scripts print.* `job\.download_profile\(",
    "c21-snpe-diagview.txt": r"a report of SNPE's snpe-diagview",
    "c22-trtexec-profile.json": r"a layer profile of TensorRT's trtexec",
    "p04-tflite-2019-counts-alone.txt": r"line 8: the log ends here without the line 'Inference timings in us'",
    "p05-tflite-44369-ios-quoted-cut.txt": r"line 21: the log ends here without the line 'Inference timings in us'",
    "p08-tensorrt-3842-profile.txt": r"output of TensorRT's trtexec",
    "p09-executorch-4504-few-columns.txt": r"line 3: there is no column 'p50 \(ms\)'; give all columns",
    "p10-ncnn-76-two-runs.txt": r"line 8: loop_count of a second run; give one run per file",
    "p11-onnxruntime-1297-lines.txt": r"a piece of an ONNX Runtime profile",
    "p12-tensorflow-4153-mobile.txt": r"output of TensorFlow Mobile's benchmark",
    "p13-mace-1-table.txt": r"a table of MACE's benchmark",
}


def understood(name: str) -> ImportedLog:
    (log,) = read_log(CASES / name, OPTIONS.get(name))
    return log


def test_every_case_has_its_answer() -> None:
    assert {path.name for path in CASES.iterdir()} == set(RIGHT) | set(REFUSED) | set(SEVERAL)


@pytest.mark.parametrize("name", RIGHT)
def test_a_case_is_read_right(name: str) -> None:
    log = understood(name)
    assert {key: getattr(log, key) for key in RIGHT[name]} == RIGHT[name]


@pytest.mark.parametrize("name", SEVERAL)
def test_a_case_of_several_measurements_is_read_right(name: str) -> None:
    assert [(log.delegate, log.mean_ms) for log in read_log(CASES / name)] == SEVERAL[name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_for_its_reason(name: str) -> None:
    with pytest.raises(ImportLogError, match=REFUSED[name]):
        read_log(CASES / name)


def test_an_accelerator_that_ran_nothing_is_noted() -> None:
    assert (
        "nnapi was asked for and ran nothing: all ran on the processor"
        in understood("c10-nothing-delegated.txt").warnings
    )


@pytest.mark.parametrize("name", [name for name in RIGHT if name.startswith(("c01", "c02", "c03"))])
def test_what_a_phone_prints_is_read_over_adb(name: str) -> None:
    program = BenchmarkModel("tflite", "/data/local/tmp/benchmark_model", frozenset(), "0" * 8)
    run = read_result(ShellResult(0, (CASES / name).read_text(), ""), program, Setting(2, None, False, ""), "block-a")
    assert (run.mean_ms, run.median_ms) == (RIGHT[name]["mean_ms"], RIGHT[name]["median_ms"])
