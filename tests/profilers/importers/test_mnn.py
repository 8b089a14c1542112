"""MNN's benchmark.out, of one backend or of several in one file, and its timeProfile.out."""

from __future__ import annotations

import pytest

from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.reading import reason
from tests.profilers.importers.reading import understood

ONE, TWO = FILES["mnn_issue_2907.txt"].decode(), FILES["mnn_two_runs.txt"].decode()
PROFILE = FILES["mnn_profile_issue_2433.txt"].decode()
# As the documentation shows it, without the rows that it leaves out.
NAMES = """1 3 224 224
Set ThreadNumber = 1
Use extra forward type: 0
Open Model models/m.mnn
Sort by node name !
Node Name              \tOp Type              \tAvg(ms)  \t%        \tFlops Rate \t
conv 1                 \tConvolution          \t0.750000 \t75.000000 \t99.000000   \t
output_raster_0        \tRaster               \t0.250000 \t25.000000 \t1.000000   \t
Print <=20 slowest Op for Convolution, larger than 3.00
conv 1 -  16.396393 GFlops, 75.00 rate

Sort by time cost !
Node Type            \tAvg(ms)  \t%         \tCalled times \tFlops Rate \t
Raster               \t0.250000 \t25.000000  \t1.000000     \t1.000000   \t
Convolution          \t0.750000 \t75.000000 \t1.000000    \t99.000000  \t
total time : 1.000000 ms, total mflops : 300.983246
main, 138, cost time: 111.161003 ms
"""


def test_a_new_log_with_times_that_its_poster_marked() -> None:
    (log,) = understood(ONE)
    assert (log.model_file, log.count, log.threads, log.delegate) == ("onnxsim.mnn", 15, 4, "cpu")
    assert (log.min_ms, log.mean_ms, log.max_ms) == (294.566, 296.252, 297.433)
    assert understood(ONE.replace("_**", "").replace("**_", "")) == (log,)


def test_a_file_of_two_backends() -> None:
    logs = understood(TWO)
    assert [log.delegate for log in logs] == ["cpu"] * 6 + ["vulkan"] * 6
    assert (logs[6].label, logs[6].mean_ms, logs[6].threads) == ("resnet-v2-50.mnn, Vulkan", 127.788, None)
    assert all("fell back to the processor" in log.warnings[0] for log in logs[6:])
    # A cut in the second run would not show, did it not lack a model.
    assert "inception-v3.mnn is in one alone" in reason(TWO[: TWO.rindex("[ - ]")])
    assert "a second run on CPU" in reason(TWO.replace("Vulkan** ", "CPU** "))
    assert {log.delegate for log in understood(TWO.replace("**Vulkan**", "**N/A**"))} == {"cpu", None}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("loop = 15", "loop = ", "line 4: '--------> Benchmarking... loop = , warmup = 5' is cut or changed"),
        ("Forward type: CPU thread=4", "Forward type CPU thread=4", "is cut or changed"),
        ("avg =  296.252 ms", "avg =  299.252 ms", "above max"),
        ("avg =  296.252 ms", "avg =  296.25 ms", "is cut or changed"),
        ("avg =  296.252 ms", "avg =  296.252 us", "is cut or changed"),
        ("loop = 15", "loop = 0", "no inference was timed"),
        ("MNN benchmark\nForward", "MNN benchmark\nMNN benchmark\nForward", "the run before this line has no times"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, said: str) -> None:
    assert old in ONE
    assert said in reason(ONE.replace(old, new))


def test_settings_stand_before_times() -> None:
    lines = ONE.splitlines(keepends=True)
    assert "no settings of the run before this line" in reason("".join([lines[-1], *lines[:-1]]))
    assert "no settings of the run" in reason("".join(lines[:3] + lines[4:]))
    assert "no 'Forward type' before this line" in reason("".join(lines[:2] + lines[3:]))
    assert "without a line of times" in reason("".join(lines[:-1]))


def test_a_profile_by_kinds_of_operators() -> None:
    (log,) = understood(PROFILE)
    assert log.mean_ms == 67.653885 and len(log.operators) == 7
    assert {row.type: row.times_called for row in log.operators}["Convolution"] == 57
    assert log.delegate is None and "not the latency of the model" in log.warnings[0]


def test_a_profile_by_names() -> None:
    (log,) = understood(NAMES)
    assert [(row.name, row.type, row.mean_ms) for row in log.operators] == [
        ("conv 1", "Convolution", 0.75),
        ("output_raster_0", "Raster", 0.25),
    ]
    assert (log.model_file, log.threads, log.delegate) == ("m.mnn", 1, "cpu")
    assert understood(NAMES.replace("\t", "  ")) == (log,)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "Reduction   \t0.021170  \t0.031292  \t1.000000     \t0.000032   \t\n",
            "",
            "67.6539 ms here, 67.6331 ms in sum",
        ),
        ("0.285560", "0.385560", "0.38556 ms here, 0.42209 % of 67.6539 ms there"),
        ("14.000000", "14.500000", "14.5 calls in an inference"),
        ("total time : 67.653885 ms, total mflops : 6120.963867 \n", "", "without the line 'total time'"),
        ("Avg(ms)   \t%         ", "%         \tAvg(ms)   ", "0.031292 ms here, 0.02117 % of 67.6539 ms there"),
        ("Avg(ms)", "Avg(us)", "the headings under 'Sort by time cost !' are not the tool's"),
    ],
)
def test_a_profile_that_lacks_rows_is_refused(old: str, new: str, said: str) -> None:
    assert old in PROFILE
    assert said in reason(PROFILE.replace(old, new))


def test_rows_that_were_left_out_by_hand_are_missed() -> None:
    assert "1 cells under 5 headings" in reason(NAMES.replace("output_raster_0", "...\noutput_raster_0"))
    assert "a second run's total time" in reason(PROFILE + PROFILE)
