"""The traps that logs of other tools hold, one test or more for each, on the golden files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from profilers.importers import IMPORTERS
from profilers.importers import MAX_BYTES
from profilers.importers import ImportedLog
from profilers.importers import ReadOptions
from profilers.importers import make_log
from profilers.importers import read
from profilers.importers import read_log
from subdit.cli import group
from subdit.core.errors import ImportLogError
from tests.profilers.importers import mutators
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN


def golden(name: str) -> ImportedLog:
    """What is understood of a golden file that holds one measurement."""
    (log,) = mutators.golden(name)
    return log


def edited(name: str, *changes: tuple[str, str], **options: Any) -> ImportedLog:
    """What is understood after each old text, which must be there, became the new one."""
    text = FILES[name].decode()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (log,) = read(make_log(text.encode(), name), ReadOptions(**options))
    return log


def refusal(name: str, *changes: tuple[str, str], **options: Any) -> str:
    with pytest.raises(ImportLogError) as caught:
        edited(name, *changes, **options)
    return str(caught.value)


def test_every_golden_file_has_its_source_and_every_format_a_file() -> None:
    listed = [line.split("`")[1] for line in (GOLDEN / "SOURCES.md").read_text().splitlines() if line.startswith("| `")]
    assert listed == sorted(FILES)
    assert {log.format for name in FILES for log in mutators.golden(name)} == {one.name for one in IMPORTERS}


def test_a_format_without_a_real_sample_says_so() -> None:
    rows = [line for line in (GOLDEN / "SOURCES.md").read_text().splitlines() if line.startswith("| `")]
    real = {row.split("`")[1] for row in rows if "| layout" not in row}
    confirmed = {log.format for name in real for log in mutators.golden(name)}
    for name in FILES:
        for log in mutators.golden(name):
            if log.confirmed:
                assert log.format in confirmed
            else:
                assert any("unconfirmed format" in warning for warning in log.warnings)


def test_columns_are_bound_by_their_headings() -> None:
    old, new = golden("tflite_old.txt"), golden("tflite_new.txt")
    assert [row.mean_ms for row in old.operators] == [4.269, 2.150, 6.112, 0.101, 0.031]
    assert new.operators[1].mean_ms == 0.407
    assert "those of a known table" in refusal("tflite_new.txt", ("[avg ms]", "[avg us]"))
    # Headings alone in another order: the shares and the sum do not fit any more.
    assert "15.067 ms here" in refusal("tflite_new.txt", ("  [first]\t [avg ms]", " [avg ms]\t  [first]"))


def test_a_time_is_per_call_and_zero_calls_are_one() -> None:
    rows = {row.name: row for row in golden("tflite_new.txt").operators}
    called = rows["Delegate/Convolution (NHWC, QC8) DWConv:1"]
    assert (called.times_called, called.mean_ms) == (13, pytest.approx(13 * 0.051))
    assert called.share == pytest.approx(0.044, abs=1e-4)
    assert {row.times_called for row in golden("tflite_old.txt").operators} == {1}


def test_initialisation_comes_first_under_the_same_headings() -> None:
    text = FILES["tflite_new.txt"].decode()
    assert text.index("ModifyGraphWithDelegate") < text.index("QUANTIZE")
    assert "ModifyGraphWithDelegate" not in [row.type for row in golden("tflite_new.txt").operators]
    title = "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
    assert "title" in refusal("tflite_new.txt", (title, "")) or "runs" in refusal("tflite_new.txt", (title, "")).lower()


def test_warm_up_comes_before_the_measurement() -> None:
    log = golden("tflite_new.txt")
    assert (log.count, log.mean_ms, log.median_ms, log.min_ms, log.max_ms) == (70, 14.2909, 14.19, 13.99, 16.012)
    first, second = "count=35 first=19105 curr=13909 min=13585 max=19105 avg=14452.5 std=1240", "count=70 first=14150"
    text = FILES["tflite_new.txt"].decode()
    measured = text[text.index(second) :].split("\n", 1)[0]
    swapped = text.replace(first, "@").replace(measured, first).replace("@", measured)
    with pytest.raises(ImportLogError, match=r"14290\.9 us here, 14452\.5 us"):
        read(make_log(swapped.encode(), "x"))


@pytest.mark.parametrize("name", ["tflite_new.txt", "tflite_gpu.txt", "litert_cpp.txt", "perf_test_new.txt"])
def test_prefixes_colours_and_line_ends_change_nothing(name: str) -> None:
    text = FILES[name].decode()
    logcat = "".join(f"06-01 12:00:00.123  1234  1234 I tflite  : {line}\n" for line in text.splitlines())
    coloured = "\x1b[32m" + text.replace("\n", "\x1b[0m\r\n")
    for variant in (logcat, coloured, text.replace("\t", "    ")):
        assert read(make_log(variant.encode(), name)) == read_log(GOLDEN / name)


def test_what_a_delegate_did_is_counted_once() -> None:
    log = golden("tflite_gpu.txt")
    assert [(row.type, row.mean_ms) for row in log.operators] == [("TfLiteGpuDelegateV2", 1.981)]
    assert log.delegate == "gpu"
    assert any("left out" in warning for warning in log.warnings)
    assert any("hides its operators" in warning for warning in log.warnings)


def test_a_delegate_that_runs_a_part_or_fails_is_told() -> None:
    part = edited(
        "tflite_gpu.txt",
        ("completely executed by the delegate", "partially executed by the delegate w/ 1 delegate kernels"),
        (
            "INFO: Initialized session",
            "ERROR: Following operations are not supported by GPU delegate:\nINFO: Initialized session",
        ),
    )
    assert part.delegate == "gpu"
    assert any("only a part" in warning for warning in part.warnings)
    assert any("not supported by GPU delegate" in warning for warning in part.warnings)
    failed = ("INFO: Initialized session", "ERROR: Failed to apply GPU delegate.\nINFO: Initialized session")
    assert "line 13: benchmark_model failed: 'Failed to apply" in refusal("tflite_gpu.txt", failed)


# What each golden file says that ran; None where it does not say.
RAN = {name: "cpu" for name in ("litert.json", "litert_python.txt", "onnxruntime_profile.json")}
RAN |= {"tflite_old.txt": "cpu", "tflite_issue_42507.txt": "cpu", "tflite_new.txt": "xnnpack", "tflite_gpu.txt": "gpu"}
RAN |= {"aihub_profile.json": "npu", "aihub_perf.yaml": "npu", "coreml_report.csv": "coreml"}
RAN |= {"coreml_table.csv": "coreml"}
RAN |= {"coreml_report.txt": "coreml", "executorch_inspector.tsv": "xnnpack", "executorch_minibench.json": "xnnpack"}
RAN |= {"runtime_info.pb": "xnnpack", "qnn_profile.csv": "qnn", "ncnn_cpu.txt": "cpu", "ncnn_vulkan.txt": "vulkan"}
RAN |= {"executorch_table.txt": "xnnpack", "executorch_markdown.txt": "xnnpack"}
RAN |= {"mnn_issue_2907.txt": "cpu", "qnn_viewer.txt": "htp"}


@pytest.mark.parametrize("name", FILES)
def test_a_log_says_what_ran_or_that_it_does_not(name: str) -> None:
    several = {"mnn_two_runs.txt": {"cpu", "vulkan"}, "rne_markdown.txt": {"coreml", "xnnpack"}}
    assert {log.delegate for log in mutators.golden(name)} == several.get(name, {RAN.get(name)})


@pytest.mark.parametrize(
    ("name", "change", "ran"),
    [
        ("litert_python.txt", ("Accelerators:    CPU", "Accelerators:    GPU | CPU"), "gpu"),
        ("litert_python.txt", ("Accelerators:    CPU", "Accelerators:    NPU | GPU"), "npu+gpu"),
        ("litert.json", ('"CPU"', '"NPU", "CPU"'), "npu"),
        ("litert.json", ('"CPU"', ""), None),
        ("litert_cpp.txt", ("94] ========== B", "94]\nUse gpu: [1]\n========== B"), "gpu"),
        ("litert_cpp.txt", ("94] ========== B", "94]\nUse xnnpack: [1]\n========== B"), None),
        ("tflite_new.txt", ("XNNPACK delegate for CPU.", "delegate for NNAPI."), "nnapi"),
        ("tflite_gpu.txt", ("Use gpu: [1]", "Use gpu: [0]"), "gpu"),
        ("coreml_report.txt", ("Compute units: All", "Compute units: CPU Only"), "cpu"),
        ("aihub_profile.json", ('"NPU"', '"CPU"'), "cpu"),
        ("aihub_profile.json", ('"NPU"', '"UNSPECIFIED"'), None),
        ("executorch_minibench.json", ('"xnnpack"', '"portable"'), "cpu"),
        ("executorch_minibench.json", ('"xnnpack"', '""'), None),
    ],
)
def test_accelerators_are_told_from_the_processor(name: str, change: tuple[str, str], ran: str | None) -> None:
    assert edited(name, change).delegate == ran


def test_a_delegate_that_no_one_knows_is_no_plain_run() -> None:
    changes = (("Use gpu: [1]", "Use gpu: [0]"), ("GPU delegate", "X delegate"), ("delegate for GPU", "delegate"))
    assert edited("tflite_gpu.txt", *changes).delegate == "x"


def test_failed_jobs_of_a_perf_yaml_are_left_out() -> None:
    text = FILES["aihub_perf.yaml"].decode().replace("job_status: Passed", "job_status: Failed", 1)
    found = read(make_log(text.encode(), "perf.yaml"))
    assert found == read_log(GOLDEN / "aihub_perf.yaml")[1:]


def test_samples_that_are_all_the_same_and_a_single_one() -> None:
    log = golden("tflite_gpu.txt")
    assert (log.count, log.mean_ms, log.min_ms, log.max_ms, log.std_ms) == (50, 2.012, 2.012, 2.012, 0.0)
    single = edited("tflite_gpu.txt", ("count=50 curr=2012(all same)", "count=1 curr=2012"))
    assert (single.count, single.mean_ms, single.std_ms) == (1, 2.012, None)
    assert "times nothing" in refusal("tflite_gpu.txt", ("count=50 curr=2012(all same)", "count=0"))


def test_csv_has_two_sections_and_tabs_for_commas() -> None:
    log = golden("tflite_ops.csv")
    text = golden("tflite_new.txt")
    assert [(row.name, row.type) for row in log.operators] == [(row.name, row.type) for row in text.operators]
    assert [row.mean_ms for row in log.operators] == pytest.approx([row.mean_ms for row in text.operators])
    assert log.mean_ms is None


def test_proto_says_what_the_text_says() -> None:
    log, text = golden("tflite_ops.pb"), golden("tflite_new.txt")
    assert [row.mean_ms for row in log.operators] == pytest.approx([row.mean_ms for row in text.operators])
    result = golden("tflite_result.pb")
    assert [result.mean_ms, result.median_ms, result.std_ms] == pytest.approx([14.2909, 14.19, 0.355])
    assert result.count == 70


@pytest.mark.parametrize(
    ("name", "mean_ms", "memory"),
    [
        ("tflite_issue_42507.txt", 33.2094, round(12.8672 * 2**20)),
        ("litert_cpp.txt", 85.23, round(40.10 * 2**20)),
        ("litert.json", 507.32, None),
        ("litert_python.txt", 507.32, None),
        ("perf_test_new.txt", 9.8123, 123456789),
        ("perf_test_issue_17313.txt", 58.8053, None),
        ("perf_test_issue_850.txt", 144.871, 158171136),
        ("aihub_profile.json", 7.104, 166711296),
        ("executorch_minibench.json", 23.1, None),
    ],
)
def test_units_become_milliseconds_and_bytes(name: str, mean_ms: float, memory: int | None) -> None:
    log = golden(name)
    assert (log.mean_ms, log.peak_memory_bytes) == (pytest.approx(mean_ms), memory)


def test_seconds_and_milliseconds_stand_in_one_block() -> None:
    log = golden("perf_test_new.txt")
    assert (log.median_ms, log.max_ms) == (pytest.approx(9.7), pytest.approx(14.2))
    assert "'ms'" in refusal("perf_test_new.txt", ("cost: 9.8123 ms", "cost: 9.8123 s"))
    assert golden("litert_cpp.txt").std_ms == 9.92
    assert [log.estimated_ms for log in read_log(GOLDEN / "aihub_perf.yaml")][0] == 0.556


def test_a_missing_metric_is_not_zero() -> None:
    values = json.loads(FILES["aihub_profile.json"])
    values["execution_summary"]["estimated_inference_peak_memory"] = None
    (log,) = read(make_log(json.dumps(values).encode(), "x"))
    assert log.peak_memory_bytes is None
    assert golden("aihub_profile.json").operators[2].mean_ms is None
    assert sum(row.mean_ms or 0 for row in log.operators) < (log.min_ms or 0)
    assert any("do not add up" in warning for warning in log.warnings)


def trace(change: Any) -> bytes:
    events = json.loads(FILES["onnxruntime_profile.json"])
    change(events)
    return json.dumps(events).encode()


def test_warm_up_of_an_onnxruntime_profile_is_dropped_by_its_runs() -> None:
    log = golden("onnxruntime_profile.json")
    events = json.loads(FILES["onnxruntime_profile.json"])
    runs = [event["dur"] for event in events if event["name"] == "model_run"]
    assert log.count == len(runs) - 1
    assert log.mean_ms == pytest.approx(sum(runs[1:]) / len(runs[1:]) / 1000)
    assert edited("onnxruntime_profile.json", warmup_runs=3).count == len(runs) - 3
    softmax = [event["dur"] for event in events if event["name"] == "/Softmax_kernel_time"][1:]
    (row,) = [row for row in log.operators if row.type == "Softmax"]
    assert (row.mean_ms, row.node) == (pytest.approx(sum(softmax) / len(softmax) / 1000), 3)


def test_device_kernels_are_not_counted_again() -> None:
    def add_kernels(events: list[dict[str, Any]]) -> None:
        events += [{**event, "cat": "Kernel"} for event in events if event["cat"] == "Node"]

    (log,) = read(make_log(trace(add_kernels), "x"))
    assert log.operators == golden("onnxruntime_profile.json").operators


def test_control_flow_contains_its_nodes() -> None:
    def wrap(events: list[dict[str, Any]]) -> None:
        for event in [event for event in events if event["name"] == "/act/Relu_kernel_time"]:
            inner = {**event, "name": "inner_kernel_time", "args": {**event["args"], "node_index": "0"}}
            event["args"] = {**event["args"], "op_name": "If"}
            events.insert(events.index(event) + 1, inner)

    (log,) = read(make_log(trace(wrap), "x"))
    assert "inner" not in [row.name for row in log.operators]


@pytest.mark.parametrize("tail", ["\n]\n", "}\n]\n", "\n"])
def test_a_killed_profile_is_refused(tail: str) -> None:
    text = FILES["onnxruntime_profile.json"].decode()
    # Without the bracket, with a comma at the end, and within an event.
    cut = {"\n]\n": text[:-2], "}\n]\n": text[:-3] + ",\n]\n", "\n": text[: len(text) // 2]}[tail]
    with pytest.raises(ImportLogError, match=r"line \d+: this is not whole JSON"):
        read(make_log(cut.encode(), "x"))


def test_a_capped_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilers.importers.ort_profile.EVENT_CAP", 30)
    assert "cap of 30 events" in refusal("onnxruntime_profile.json")


def test_core_ml_operators_are_estimates() -> None:
    assert all(row.estimated for row in golden("coreml_report.csv").operators)
    assert golden("coreml_report.txt").median_ms == 1.23


@pytest.mark.parametrize(
    ("name", "before", "said"),
    [
        (
            "tflite_new.txt",
            "Inference timings",
            r"line 18: the log ends here without the line 'Inference timings in us'",
        ),
        ("tflite_new.txt", "Operator-wise", r"without the table under 'Operator-wise"),
        ("litert_cpp.txt", "Throughput", r"line 9: the log ends here without the line of '='"),
        ("perf_test_new.txt", "Min Latency", r"run it with -s"),
        ("perf_result.csv", "\nMin Latency", r"run the tool with -s"),
        ("executorch_inspector.tsv", "7\tExecute", r"without the row 'Method::execute'"),
        ("coreml_report.txt", "End of", r"add it after the last number"),
    ],
)
def test_an_interrupted_log_is_refused_with_its_line_and_the_remedy(name: str, before: str, said: str) -> None:
    text = FILES[name].decode()
    with pytest.raises(ImportLogError, match=said):
        read(make_log(text[: text.index(before)].encode(), name))


def test_a_decimal_comma_is_refused() -> None:
    assert "with a point for its decimals" in refusal("tflite_new.txt", ("    0.203", "    0,203"))


def test_means_above_a_second_come_in_scientific_notation() -> None:
    log = edited(
        "tflite_issue_42507.txt",
        (
            "first=32891 curr=33978 min=32641 max=34005 avg=33209.4",
            "first=1045290 curr=1045291 min=1045289 max=1045301 avg=1.04529e+06",
        ),
        ("(avg): 33209.4", "(avg): 1.04529e+06"),
        ("std=450", "std=4"),
    )
    assert (log.mean_ms, log.min_ms) == (1045.29, 1045.289)


@pytest.mark.parametrize(
    ("name", "change", "numbers"),
    [
        ("tflite_new.txt", ("Inference (avg): 14290.9", "Inference (avg): 14390.9"), ("14390.9", "14290.9")),
        ("tflite_new.txt", ("First inference: 19105", "First inference: 19106"), ("19106", "19105")),
        ("tflite_new.txt", ("Loaded model /data/local/tmp/assa", "Loaded model /data/local/tmp/ffn"), ("assa", "ffn")),
        ("tflite_new.txt", ("for CPU inference: [4]", "for CPU inference: [2]"), ("4", "2")),
        ("tflite_new.txt", ("6 nodes observed", "7 nodes observed"), ("7", "6 rows")),
        (
            "tflite_new.txt",
            ("first=15107 curr=15056 min=14972 max=15377 avg=15067", "curr=25067"),
            ("25.067", "15.067"),
        ),
        ("litert_cpp.txt", ("(min):      83.10", "(min):      93.10"), ("93.1", "85.23")),
        ("litert.json", ('"p95_ms": 560.79', '"p95_ms": 60.79'), ("504.23", "60.79")),
        ("perf_test_new.txt", ("Runs:1000", "Runs:999"), ("1000", "999")),
        ("perf_test_new.txt", ("requests: 1000", "requests: 500"), ("9.8123", "19.6246")),
        ("perf_result.csv", ("Max Latency: 0.0101664", "Max Latency: 0.0121664"), ("12.1664", "10.1664")),
        ("aihub_perf.yaml", ("total: 104", "total: 105"), ("105", "104")),
        ("coreml_report.csv", ("Prediction,1.23", "Prediction,2.23"), ("2.23", "1.23")),
    ],
)
def test_a_fact_stated_twice_must_agree(name: str, change: tuple[str, str], numbers: tuple[str, str]) -> None:
    message = refusal(name, change)
    assert all(number in message for number in numbers)


def test_content_decides_and_two_claims_are_refused() -> None:
    for name, data in FILES.items():
        assert read(make_log(data, "anything.bin"), mutators.OPTIONS.get(name)) == mutators.golden(name)
    both = FILES["tflite_issue_42507.txt"] + FILES["perf_test_issue_850.txt"]
    with pytest.raises(ImportLogError, match="this may be .* and .*; give one log per file"):
        read(make_log(both, "both.txt"))
    with pytest.raises(ImportLogError, match="no log of a known format; known are"):
        read(make_log(b"hello\n", "letter.txt"))
    with pytest.raises(ImportLogError, match="line 2: here are bytes that are no text"):
        read(make_log(b"a\n\x00\xff\n", "noise"))


def test_a_result_file_without_end_mark_needs_its_number_of_runs() -> None:
    text = FILES["perf_result.csv"].decode()
    rows = text[: text.index("\n\n") + 1].encode()
    (log,) = read(make_log(rows, "x.csv"), ReadOptions(runs=40))
    assert (log.count, log.mean_ms) == (40, golden("perf_result.csv").mean_ms)
    with pytest.raises(ImportLogError, match="40 rows here, 41 there"):
        read(make_log(rows, "x.csv"), ReadOptions(runs=41))


def test_too_large_or_empty_or_missing_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportLogError, match="There is no log"):
        read_log(tmp_path / "nowhere")
    (tmp_path / "empty").write_bytes(b"\n \n")
    with pytest.raises(ImportLogError, match="is empty"):
        read_log(tmp_path / "empty")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImportLogError, match="above the limit"):
        read_log(tmp_path / "large")


@pytest.mark.parametrize("bad", ["\\ud800", "\\u001b[31m", "\\u0085", "\\n", "\\u202e"])
@pytest.mark.parametrize(
    ("name", "old", "what"),
    [
        ("litert.json", '"graph', "model_file"),
        ("litert.json", '"CPU', "delegate"),
        ("executorch_minibench.json", '"ffn', "model_file"),
        ("aihub_profile.json", '"model/', "the name of an operator"),
        ("onnxruntime_profile.json", '"/up/', "the name of an operator"),
        ("aihub_perf.yaml", "Example Phone A:", "label"),
    ],
)
def test_a_name_that_is_no_text_is_refused_by_its_field(
    name: str, old: str, what: str, bad: str, tmp_path: Path
) -> None:
    text = FILES[name].decode()
    new = f'"{bad}Phone A":' if old.endswith(":") else old + bad
    assert old in text
    (tmp_path / "log").write_text(text.replace(old, new))
    result = CliRunner().invoke(group, ["import", str(tmp_path / "log"), "--show"])
    # A quoted scalar of YAML cannot be a lone surrogate.
    assert result.exit_code == 2 and ("is not whole YAML" in result.output or f"log: {what} is '" in result.output)
    assert result.output.count("\n") == 1 and result.output.removesuffix("\n").isprintable()


def test_a_name_in_a_protocol_buffer_or_a_line_that_is_no_text_is_refused() -> None:
    data = FILES["tflite_ops.pb"]
    assert b"Softmax" in data
    with pytest.raises(ImportLogError, match=r"the name of an operator is .*Soft\\x1bax"):
        read(make_log(data.replace(b"Softmax", b"Soft\x1bax"), "x"))
    for bad in ("\x1b]0;title", "\x1b7", "\x9b31m", "\x7f"):
        text = FILES["tflite_new.txt"].decode().replace("STARTING!", f"STARTING!\nhello{bad}")
        with pytest.raises(ImportLogError, match="line 2: here are bytes that are no text"):
            read(make_log(text.encode(), "x"))
    # What programs colour, clear and hide with is taken off.
    coloured = "\x1b[?25l\x1b[2K\x1b[38;5;9m" + FILES["tflite_new.txt"].decode() + "\x1b[?25h\n"
    assert read(make_log(coloured.encode(), "x")) == read_log(GOLDEN / "tflite_new.txt")


def test_a_message_shows_what_it_quotes() -> None:
    values = json.loads(FILES["aihub_profile.json"])
    del values["execution_detail"][0]["compute_unit"]
    values["execution_detail"][0]["name"] = "\ud800\x1b[2J"
    with pytest.raises(ImportLogError, match="has no known compute unit") as caught:
        read(make_log(json.dumps(values).encode(), "\x1b[31mlog"))
    assert str(caught.value).isprintable()


LONG = 200_000


@pytest.mark.parametrize(
    "text",
    [
        "I x" + " " * LONG + "\ncount=1",
        "count=" + "1 " * LONG,
        "===== Run Order =====\n\t[node type]" + "\t[%]" * LONG,
        FILES["tflite_new.txt"].decode().replace("\t", " ").replace("Softmax (", "1 0.1 9% 9% 0 1 " * 9_000),
        "Core ML performance report\n" + '"' + "a," * LONG + "\nEnd of report",
        "m,0.1,1,1,0\n" + ",".join("1" * LONG),
        "INFO: [" + "a" * LONG + "\nBENCHMARK RESULTS\n" + "A" * LONG + ": 1",
        "\tevent_block_name\tevent_name\traw" + "\t(ms)" * LONG,
        "\n" * 2_100_000 + "x",
        "{" + '"model":1,"latency":{},' * 1000,
        "precisions:\n" + "  a: [b, c]\n" * 60_000,
    ],
)
def test_long_input_is_refused_at_once(text: str) -> None:
    with pytest.raises(ImportLogError) as caught:
        read(make_log((text + "\n").encode(), "x"))
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"cat":"ph","dur":' + "1" * 5000, "precisions:\n" + " [" * 5000])
def test_hostile_input_is_refused(text: str) -> None:
    with pytest.raises(ImportLogError):
        read(make_log((text + "\n").encode(), "x"))


def test_aliases_are_refused() -> None:
    assert "aliases" in refusal("aihub_perf.yaml", ("job_id: jfloatA1", "job_id: &a x\n              other: *a"))


def test_a_runtime_in_the_place_of_a_device_is_refused() -> None:
    lines = FILES["aihub_perf.yaml"].decode().splitlines(keepends=True)
    at = [at for at, line in enumerate(lines) if line == "          tflite:\n"]
    # Of the assets, moved below the metrics of the first runtime.
    moved = [*lines[: at[0]], *lines[at[0] + 1 : 33], lines[at[0]], *lines[33:]]
    with pytest.raises(ImportLogError, match="'tflite' is a device in one place and a runtime in another"):
        read(make_log("".join(moved).encode(), "perf.yaml"))
