"""The stand-in prints what benchmark_model prints: its lines against published logs, and every form read back."""

from __future__ import annotations

import numpy as np
import pytest

from profilers.adb.adb import ShellResult
from profilers.adb.benchmark_model import BenchmarkModel
from profilers.adb.benchmark_model import BenchmarkResult
from profilers.adb.benchmark_model import Setting
from profilers.adb.benchmark_model import read_result
from profilers.importers import delegated_share
from profilers.importers import make_log
from subdit.core.errors import DeviceError
from tests.profilers.adb import stand_in

PLAIN = Setting(2, None, False, "")
# Times, the line that real programs printed of them, and the mean in the summary of the same log. Of logs with more
# than two times these are not known. The last line is one that somebody's test of a parser of these lines has.
PUBLISHED = [
    ([3512391], False, "count=1 curr=3512391", "3.51239e+06"),
    ([1041765], False, "count=1 curr=1041765", "1.04176e+06"),
    ([11403859], False, "count=1 curr=11403859", "1.14039e+07"),
    ([637079], False, "count=1 curr=637079", "637079"),
    (
        [328140, 309932],
        True,
        "count=2 first=328140 curr=309932 min=309932 max=328140 avg=319036 std=9104 p5=309932 median=328140 p95=328140",
        "319036",
    ),
    ([30] * 10, True, "count=10 curr=30(all same) p5=30 median=30 p95=30", "30"),
]


@pytest.mark.parametrize(("taken_us", "percentiles", "line", "mean"), PUBLISHED)
def test_lines_of_published_logs(taken_us: list[int], percentiles: bool, line: str, mean: str) -> None:
    assert stand_in.counted(taken_us, percentiles=percentiles) == line
    assert stand_in.timings(7, taken_us, [1]).endswith(f"Warmup (avg): {mean}, Inference (avg): 1")


def test_forms_that_the_source_has_and_no_published_log() -> None:
    assert stand_in.counted([], percentiles=False) == "count=0"
    assert stand_in.counted([], percentiles=True) == "count=0 p5=0 median=0 p95=0"
    assert stand_in.counted([7], percentiles=True) == "count=1 curr=7 p5=7 median=7 p95=7"
    assert stand_in.counted([7, 7], percentiles=False) == "count=2 curr=7(all same)"
    # Variance 2.25 of whole microseconds is 2, whose root is 1; of 100 values the 96th from below is p95.
    assert " avg=2.5 std=1" in stand_in.counted([1, 4], percentiles=False)
    assert stand_in.counted(list(range(100, 0, -1)), percentiles=True).endswith("p5=6 median=51 p95=96")
    assert "avg=1.5e+06 " in stand_in.counted([1_000_000, 2_000_000], percentiles=True)
    assert stand_in.timings(7, [], []) == (
        "Inference timings in us: Init: 7, First inference: 0, Warmup (avg): 0, Inference (avg): 0"
    )


def printed(layout: str, warm: list[int], timed: list[int], *, percentiles: bool) -> ShellResult:
    """Both streams of a program that took these times."""
    bounds = "at least 1 iterations and at least 0 seconds but terminate if exceeding 9 seconds."
    running = f"INFO: Running benchmark for {bounds}"
    out = ["INFO: STARTING!"]
    for taken in (warm, timed):
        out += [running, f"INFO: {stand_in.counted(taken, percentiles=percentiles)}", ""]
    if layout == "tflite":
        return ShellResult(0, "\n".join([*out, f"INFO: {stand_in.timings(7, warm, timed)}", ""]), "")
    err = "".join(f"INFO: [benchmark_litert_model.h:9] {line}\n" for line in stand_in.results(7, warm, timed))
    return ShellResult(0, "\n".join([*out, ""]), err)


def understood(layout: str, ran: ShellResult) -> BenchmarkResult:
    return read_result(ran, BenchmarkModel(layout, "p", frozenset(), "d"), PLAIN, "x")


@pytest.mark.parametrize("percentiles", [False, True])
@pytest.mark.parametrize("layout", ["tflite", "litert"])
def test_every_run_that_a_phone_may_print_is_read(layout: str, percentiles: bool) -> None:
    rng = np.random.default_rng(5)
    for trial in range(400):
        # From a microsecond to some minutes, from one run to some, equal ones among them; warm-up may be left out.
        scale = 10 ** rng.uniform(0, 8.3)
        spread = 1 if trial % 3 == 0 else 1 + rng.uniform(0, 0.3)
        warm, timed = (
            [max(1, int(scale * rng.uniform(1, spread))) for _ in range(count)]
            for count in (int(rng.integers(0, 3)), int(rng.integers(1, 9)))
        )
        run = understood(layout, printed(layout, warm, timed, percentiles=percentiles))
        exact = sum(timed) / len(timed) / 1e3
        assert run.mean_ms == pytest.approx(exact, rel=6e-6, abs=1e-9 if layout == "tflite" else 0.0051)
        if percentiles or len(set(timed)) == 1:
            assert run.median_ms == sorted(timed)[len(timed) // 2] / 1e3 or len(set(timed)) == 1
        assert run.quickest_ms == pytest.approx(min(timed) / 1e3, abs=0.0051)


@pytest.mark.parametrize("percentiles", [False, True])
@pytest.mark.parametrize("layout", ["tflite", "litert"])
def test_a_run_that_timed_nothing_is_refused(layout: str, percentiles: bool) -> None:
    with pytest.raises(DeviceError, match="times nothing|no inference was timed"):
        understood(layout, printed(layout, [5], [], percentiles=percentiles))


@pytest.mark.parametrize(("taken", "share"), [(0, 0.0), (1, None), (2, 1.0)])
def test_what_became_of_a_delegate(taken: int, share: float | None) -> None:
    line = stand_in.delegated("GPU", taken, 1)
    assert delegated_share(make_log(line.encode(), "x")) == share
    # A delegate that says "31 out of 31", and then that it does nothing, does nothing.
    before = "VERBOSE: Replacing 31 out of 31 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partition.\n"
    assert delegated_share(make_log((before + line).encode(), "x")) == (1.0 if taken else 0.0)
