"""What is refused is refused for its reason: models that never ran, times in another unit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from profilers.importers import ImportedLog
from profilers.importers import make_log
from profilers.importers import read
from profilers.importers import read_log
from subdit.core.errors import ImportLogError
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN

CASES = GOLDEN / "cases"


def understood(text: str) -> ImportedLog:
    (log,) = read(make_log(text.encode(), "x"))
    return log


def reason(text: str) -> str:
    with pytest.raises(ImportLogError) as caught:
        understood(text)
    return str(caught.value)


def nameless(*drop: str, **add: str) -> str:
    """The golden profile of a model whose nodes have no names."""
    events: list[dict[str, Any]] = json.loads(FILES["onnxruntime_profile.json"])
    for event in [event for event in events if event["cat"] == "Node"]:
        event["name"] = "_kernel_time"
        index = event["args"]["node_index"]
        event["args"] = {key: value for key, value in event["args"].items() if key not in drop}
        event["args"] |= {key: value.format(index) for key, value in add.items()}
    return json.dumps(events)


def test_nodes_without_names_are_told_apart_by_their_index_or_refused_for_that() -> None:
    golden = read_log(GOLDEN / "onnxruntime_profile.json")[0]
    for text in (nameless(), nameless("node_index", exec_plan_index="{}"), nameless("node_index", graph_index="{}")):
        found = understood(text)
        assert [(row.type, row.mean_ms) for row in found.operators] == [
            (row.type, row.mean_ms) for row in golden.operators
        ]
    assert "its nodes have no names and no index; give every node of the model a name" in reason(nameless("node_index"))


def test_a_unit_under_the_wrong_heading_is_named() -> None:
    lines = FILES["executorch_inspector.tsv"].decode().splitlines()
    # As in issue 4504 of executorch: what the delegate says of itself is in the clock's unit.
    ticks = [line if "\tTrue\t" not in line else scaled(line, 1e6) for line in lines]
    said = reason("\n".join(ticks) + "\n")
    assert "they are in nanoseconds" in said and "delegate_time_scale_converter" in said
    raw = [line if not line[:1].isdigit() else scaled(line, 1e6, raw_alone=True) for line in lines]
    assert "the raw times are in nanoseconds and avg in ms" in reason("\n".join(raw) + "\n")
    whole = "\n".join(lines).replace("(ms)", "(ns)") + "\n"
    assert "'p10 (ns)' is not in milliseconds; save it with target_time_scale=TimeScale.MS" in reason(whole)


def scaled(line: str, factor: float, *, raw_alone: bool = False) -> str:
    """A row whose times are in another unit."""
    cells = line.split("\t")
    cells[3] = str([float(value) * factor for value in json.loads(cells[3])])
    if not raw_alone:
        cells[4:10] = [str(float(cell) * factor) for cell in cells[4:10]]
    return "\t".join(cells)


@pytest.mark.parametrize("status", [48, -1, 16.0])
def test_a_model_that_was_not_loaded_has_no_latency(status: float) -> None:
    values = json.loads(FILES["executorch_minibench.json"])
    next(value for value in values if value["metric"] == "load_status")["actualValue"] = status
    assert f"was not loaded (load_status {status:g})" in reason(json.dumps(values))
    # Newer apps leave the latency out.
    values = [value for value in values if "latency" not in value["metric"]]
    assert f"was not loaded (load_status {status:g})" in reason(json.dumps(values))


PERF_TEST = FILES["perf_test_issue_17313.txt"].decode(), FILES["perf_test_new.txt"].decode()


@pytest.mark.parametrize("text", PERF_TEST)
def test_perf_test_says_its_threads_and_its_provider(text: str) -> None:
    assert (understood(text).threads, understood(text).delegate) == (None, None)
    found = understood("using SpaceMITExecutionProvider \nSetting intra_op_num_threads to 4\n" + text)
    assert (found.threads, found.delegate) == (4, "spacemit")
    # 0 leaves the number to the runtime, which does not say it.
    found = understood("using CPUExecutionProvider\nSetting intra_op_num_threads to 0\n" + text)
    assert (found.threads, found.delegate) == (None, "cpu")
    assert "threads: 4 here, 2 there" in reason(
        "Setting intra_op_num_threads to 4\nSetting intra_op_num_threads to 2\n" + text
    )


def test_requests_at_the_same_time_are_refused_and_those_one_after_another_are_not() -> None:
    text = (CASES / "c13-perf-test-parallel.txt").read_text()
    assert understood(text.replace("run time: 2.01 s", "run time: 8.00001 s")).mean_ms == 20
    assert "ran at the same time" in reason(text.replace("run time: 2.01 s", "run time: 7.9 s"))


FAILED = (CASES / "c09-failed-run.txt").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FAILED.replace("ERROR: Benchmarking failed.\n", ""), "Node number 12 (BATCH_MATMUL) failed to prepare."),
        ("INFO: STARTING!\nERROR: Benchmarking failed.\n", "Benchmarking failed."),
        ("INFO: STARTING!\nFATAL: Inputs mismatch\n", "Inputs mismatch"),
    ],
)
def test_a_failed_run_is_refused_with_its_own_error(text: str, said: str) -> None:
    assert f"benchmark_model failed: {said!r}; mend that" in reason(text)


def test_a_cut_log_is_not_said_to_have_failed() -> None:
    partly = "ERROR: Following operations are not supported by GPU delegate:\n"
    started = f"INFO: STARTING!\nINFO: Graph: [m.tflite]\n{partly}"
    assert "the log ends here without the line 'Inference timings in us'" in reason(started)


def test_six_digits_are_six_digits_in_every_line() -> None:
    text = (CASES / "c01-count1-percentiles.txt").read_text()
    for old, new in (
        ("Warmup (avg): 1.4014e+06", "Warmup (avg): 1.4015e+06"),
        ("Inference (avg): 1.31444e+06", "Inference (avg): 1.31445e+06"),
        ("curr=1401403 p5=1401403 median=1401403", "curr=1401403 p5=1401403 median=1401404"),
        ("count=1 curr=1401403 p5=1401403", "count=1 curr=1401403(all same) p5=1401403"),
        (" p5=1302002", ""),
    ):
        assert old in text
        reason(text.replace(old, new))
    # Of memory, too: 12.5 GB.
    peak = "INFO: Overall peak memory footprint (MB) via periodic monitoring: 1.25e+04\n"
    assert understood(text + peak).peak_memory_bytes == 12500 * 2**20
