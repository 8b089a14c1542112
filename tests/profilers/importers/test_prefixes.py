"""Whatever stands before the lines of a log: what is read is what the tool wrote, and nothing that it did not write."""

from __future__ import annotations

import pytest

from profilers.importers import make_log
from profilers.importers import read
from profilers.importers import read_log
from subdit.core.errors import ImportLogError
from tests.profilers.importers import mutators
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN

# Of every program one, and one with tables, whose rows begin with tabs.
NAMES = ["tflite_new.txt", "tflite_issue_42507.txt", "litert_cpp.txt", "perf_test_new.txt", "ncnn_cpu.txt"]
NAMES += ["mnn_issue_2907.txt", "mnn_profile_issue_2433.txt", "qnn_viewer.txt"]
THREADTIME = "06-01 12:00:00.123  1234  1240 {} {}: "


def prefixed(name: str, before: str, *, strip: bool = False, after: str = "") -> bytes:
    """The golden file with this before each line; with `strip`, without the blanks that it leaves on empty lines."""
    lines = [before + line + (after if line else "") for line in FILES[name].decode().splitlines()]
    return "\n".join(line.rstrip() if strip and line.startswith(before.rstrip()) else line for line in lines).encode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", mutators.PREFIXES)
def test_a_prefix_changes_nothing(kind: str, name: str) -> None:
    before = mutators.PREFIXES[kind]
    assert read(make_log(prefixed(name, before) + b"\n", name)) == read_log(GOLDEN / name)
    # Editors and mail programs take the blanks off the ends of lines.
    assert read(make_log(prefixed(name, before, strip=True) + b"\n", name)) == read_log(GOLDEN / name)


@pytest.mark.parametrize("name", NAMES)
def test_prefixes_that_no_list_foresees_are_found_by_what_follows_them(name: str) -> None:
    for before in ("[runner 7 of 12] ", "remote: ", "pixel-8$ ", "\xa0\xa0\xa0", "* bench * ", "12 |\t"):
        assert read(make_log(prefixed(name, before) + b"\n", name)) == read_log(GOLDEN / name), before
    counted = "".join(f"{at:5d}  #3 {at / 7:.2f} {line}\n" for at, line in enumerate(FILES[name].decode().splitlines()))
    assert read(make_log(counted.encode(), name)) == read_log(GOLDEN / name)


def test_the_process_and_long_formats_of_logcat_tell_the_tag_elsewhere() -> None:
    name = "tflite_issue_42507.txt"
    assert read(make_log(prefixed(name, "I( 1234) ", after="  (tflite)") + b"\n", name)) == read_log(GOLDEN / name)
    header = "[ 06-01 12:00:00.123  1234: 1240 I/tflite   ]\n"
    other = "[ 06-01 12:00:00.123   777:  778 E/camera   ]\nERROR: Benchmarking failed.\n\n"
    text = "".join(f"{header}{line}\n\n" for line in FILES[name].decode().splitlines())
    assert read(make_log((other + text + other).encode(), name)) == read_log(GOLDEN / name)


def test_a_log_may_stand_in_a_letter() -> None:
    text = FILES["tflite_new.txt"].decode()
    pasted = "I ran it on my phone:\n\n```\n$ ./benchmark_model --graph=m.tflite\n" + text + "```\n"
    assert read(make_log(pasted.encode(), "x")) == read_log(GOLDEN / "tflite_new.txt")
    indented = "Log:\n\n$ ./benchmark_model --graph=m.tflite\n" + "".join(f"    {line}\n" for line in text.splitlines())
    assert read(make_log(indented.encode(), "x")) == read_log(GOLDEN / "tflite_new.txt")


def test_other_processes_of_a_logcat_are_left_out() -> None:
    name = "tflite_issue_42507.txt"
    before = THREADTIME.format("I", "tflite  ")
    noise = "06-01 12:00:00.123   777   778 E camera  : Failed to apply settings\n"
    noise += "06-01 12:00:00.124   777   778 I other   : Num threads: [9]\n--------- beginning of main\n"
    lines = [f"{before}{line}\n" for line in FILES[name].decode().splitlines()]
    assert read(make_log((noise + noise.join(lines) + noise).encode(), name)) == read_log(GOLDEN / name)
    # Two runs in one logcat are two runs.
    second = [line.replace(" 1234 ", " 4321 ") for line in lines]
    with pytest.raises(ImportLogError, match="a second run's results"):
        read(make_log("".join(lines + second).encode(), name))


def logcat(name: str, pid: int, *, tag: str = "tflite  ") -> list[str]:
    """The golden file as one process logs it."""
    lines = FILES[name].decode().splitlines()
    return [f"06-01 12:00:00.{at % 1000:03d} {pid:5d} {pid:5d} I {tag}: {line}\n" for at, line in enumerate(lines)]


def announced(name: str, pid: int) -> list[str]:
    return [f"06-01 12:00:00.000 {pid:5d} {pid:5d} I tflite  : STARTING!\n", *logcat(name, pid)]


DRY_RUN = """INFO: STARTING!
INFO: [benchmark_litert_model.cc:271] Loading model from: /data/local/tmp/litert-cli/m.tflite
INFO: Running benchmark for at least 0 iterations and at least -1 seconds but terminate if exceeding 150 seconds.
INFO: count=0
INFO: Running benchmark for at least 0 iterations and at least -1 seconds but terminate if exceeding 150 seconds.
INFO: count=0
INFO: ========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:94] Model initialization: 97.45 ms
INFO: [benchmark_litert_model.h:100] Inference (avg):      0.00 ms (0 runs)
INFO: No inference runs were performed.
INFO: ======================================
"""


def dry_run(pid: int) -> list[str]:
    return [f"06-01 12:00:00.000 {pid:5d} {pid:5d} I tflite  : {line[6:]}\n" for line in DRY_RUN.splitlines()]


@pytest.mark.parametrize("name", ["tflite_issue_42507.txt", "litert_cpp.txt"])
def test_the_process_that_announces_itself_is_kept_among_others_that_speak_alike(name: str) -> None:
    # An app of the phone runs models, too, and logs what the tool logs, before, between and after.
    app = [
        "06-01 12:00:00.100  2222  2230 I tflite  : Replacing 3 out of 4 node(s) with delegate (TfLiteGpuDelegateV2)\n",
        "06-01 12:00:00.100  2222  2230 I litert  : [compiled_model.h:94] Model initialization: 7.10 ms\n",
        "06-01 12:00:00.100  2222  2230 I app     : Inference timings in us: Init: 1, Inference: 2\n",
        "06-01 12:00:00.100  2222  2230 E tflite  : Failed to apply the default TensorFlow Lite delegate\n",
    ]
    own = announced(name, 1234)
    mixed = [line for at, one in enumerate(own) for line in (*app[: at % 5], one)]
    (plain,) = read(make_log("".join(own).encode(), name))
    assert read(make_log("".join([*app, *mixed, *app]).encode(), name)) == (plain,)
    assert plain == read_log(GOLDEN / name)[0]


def test_a_dry_run_and_a_failed_run_before_the_measured_one_are_left_out() -> None:
    measured = announced("litert_cpp.txt", 19416)
    failed = ["06-01 12:00:00.000 19400 19400 I tflite  : STARTING!\n"]
    failed.append("06-01 12:00:00.000 19400 19400 E tflite  : Benchmarking failed.\n")
    golden = read_log(GOLDEN / "litert_cpp.txt")
    for before in (dry_run(19410), failed, [*failed, *dry_run(19410)]):
        assert read(make_log("".join(before + measured).encode(), "x")) == golden
        assert read(make_log("".join(measured + before).encode(), "x")) == golden
    with pytest.raises(ImportLogError, match="no inference was timed"):
        read(make_log("".join(dry_run(19410)).encode(), "x"))
    with pytest.raises(ImportLogError, match="benchmark_model failed: 'Benchmarking failed"):
        read(make_log("".join(failed).encode(), "x"))


def test_two_measured_runs_of_one_logcat_are_refused_also_where_one_of_them_was_cut() -> None:
    first, second = announced("litert_cpp.txt", 100), announced("litert_cpp.txt", 200)
    for text in (first + second, first + second[:6], second[:6] + first):
        with pytest.raises(ImportLogError):
            read(make_log("".join(text).encode(), "x"))


def test_other_processes_may_log_what_is_no_text() -> None:
    name = "tflite_issue_42507.txt"
    noise = b"06-01 12:00:00.123   777   778 I vendor  : \x00\x07 \xff\xfe\n"
    own = [line.encode() for line in announced(name, 1234)]
    assert read(make_log(noise + noise.join(own) + noise, name)) == read_log(GOLDEN / name)
    with pytest.raises(ImportLogError, match="line 1: here are bytes that are no text"):
        read(make_log(noise, name))
    with pytest.raises(ImportLogError, match="line 3: here are bytes that are no text"):
        read(make_log(noise + own[0] + own[1].replace(b"tflite  : ", b"tflite  : \x00") + b"".join(own[2:]), name))


def test_lines_that_logd_left_out_are_no_lines_of_the_tool() -> None:
    own = logcat("litert_cpp.txt", 1234)
    left_out = "06-01 12:00:00.000  1234  1234 I chatty  : uid=2000(shell) benchmark_model identical 3 lines\n"
    assert read(make_log(left_out.join(own).encode(), "x")) == read_log(GOLDEN / "litert_cpp.txt")


def test_in_the_tag_format_other_tags_are_left_out() -> None:
    own = [f"I/tflite  : {line}\n" for line in FILES["tflite_issue_42507.txt"].decode().splitlines()]
    noise = "E/camera  : Failed to apply settings\nI/app: Num threads: [9]\n"
    assert read(make_log(noise.join(own).encode(), "x")) == read_log(GOLDEN / "tflite_issue_42507.txt")


def test_an_error_in_a_logcat_is_told_by_its_level() -> None:
    said = [("I", "STARTING!"), ("I", "Graph: [m.tflite]"), ("E", "Failed to allocate tensors!")]
    said.append(("E", "Benchmarking failed."))
    for before in (THREADTIME, "{}/{}( 1234): ", "06-01 12:00:00.123 1234-1240/org.x {}/{}: "):
        text = "".join(f"{before.format(level, 'tflite')}{line}\n" for level, line in said)
        with pytest.raises(ImportLogError, match="line 3: benchmark_model failed: 'Failed to allocate tensors!'"):
            read(make_log(text.encode(), "x"))


def test_a_prefix_hides_no_edit() -> None:
    text = FILES["tflite_new.txt"].decode()
    for old, new in (("avg=14290.9", "avg=14390.9"), ("6 nodes observed", "5 nodes observed"), ("median=14190 ", "")):
        assert old in text
        for before in mutators.PREFIXES.values():
            edited = "".join(f"{before}{line}\n" for line in text.replace(old, new).splitlines())
            with pytest.raises(ImportLogError):
                read(make_log(edited.encode(), "x"))
    # A text before one line alone is no prefix.
    with pytest.raises(ImportLogError):
        read(make_log(text.replace("INFO: count=70", "then INFO: count=70").encode(), "x"))


@pytest.mark.parametrize(
    "text", ["> " * 200_000, "06-01 12:00:00.123 " * 20_000, "\t" * 400_000 + "x", "^[[" * 100_000]
)
def test_long_prefixes_are_refused_at_once(text: str) -> None:
    with pytest.raises(ImportLogError):
        read(make_log((text + "\nINFO: STARTING!\n" + text + "\n").encode(), "x"))
