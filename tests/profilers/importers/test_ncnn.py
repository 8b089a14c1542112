"""ncnn's benchncnn: what it says of each model, and of a GPU that was asked for."""

from __future__ import annotations

import pytest

from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.reading import reason
from tests.profilers.importers.reading import understood

CPU, VULKAN = FILES["ncnn_cpu.txt"].decode(), FILES["ncnn_vulkan.txt"].decode()


def test_every_model_is_a_measurement() -> None:
    logs = understood(CPU)
    assert len(logs) == CPU.count("avg = ")
    first = logs[0]
    assert (first.model_file, first.count, first.threads, first.delegate) == ("squeezenet", 4, 8, "cpu")
    assert (first.min_ms, first.max_ms, first.mean_ms) == (4.53, 6.34, 5.48)
    assert {log.delegate for log in understood(VULKAN)} == {"vulkan"}


def test_a_file_of_ones_own_model_is_named_by_it() -> None:
    head = CPU[: CPU.index("          squeezenet")]
    (log,) = understood(head + "/data/local/tmp/ffn-w64-g16-f3.param  min =   12.02  max =   12.51  avg =   12.16\n")
    assert (log.model_file, log.label) == ("ffn-w64-g16-f3.param", None)


def test_settings_of_old_versions_are_fewer() -> None:
    old = "loop_count = 4\nnum_threads = 2\n  squeezenet  min =  4.53  max =  6.34  avg =  5.48\n"
    (log,) = understood(old)
    assert (log.count, log.threads, log.delegate) == (4, 2, None)


def test_a_gpu_that_no_line_names_may_not_have_run_anything() -> None:
    silent = VULKAN[VULKAN.index("loop_count") :]
    assert {log.delegate for log in understood(silent)} == {None}
    assert all("a build without Vulkan runs on the processor" in log.warnings[0] for log in understood(silent))
    assert "a GPU here, gpu_device = -1 there" in reason(VULKAN.replace("gpu_device = 0", "gpu_device = -1"))
    # Older versions open the GPU, and name it, also where they do not use it.
    opened = "[0 Mali-G72]  queueC=0[2]  queueG=0[2]  queueT=0[2]\n" + CPU
    assert {log.delegate for log in understood(opened)} == {"cpu"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("loop_count = 4\n", "", "'loop_count = ' is missing"),
        ("num_threads = 8\n", "", "'num_threads = ' is missing"),
        ("loop_count = 4", "loop_count = 0", "no inference was timed"),
        ("num_threads = 8", "num_threads = 0", "num_threads is 0"),
        ("gpu_device = -1", "gpu_device = --1", "line 4: 'gpu_device = --1' is cut or changed"),
        ("avg =    5.48", "avg =    5.4", "is cut or changed"),
        ("avg =    5.48", "avg =    7.48", "above max"),
        ("min =    4.53", "min =   14.53", "above"),
        ("     squeezenet_int8", "          squeezenet", "a second line of squeezenet"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, said: str) -> None:
    assert old in CPU
    assert said in reason(CPU.replace(old, new))


def test_a_log_is_of_one_run_and_whole_in_its_last_line() -> None:
    assert "loop_count of a second run" in reason(CPU + VULKAN)
    assert "without a line of times" in reason(CPU[: CPU.index("          squeezenet")])
    cut = CPU.index("shufflenet_v2")
    for end in range(cut + 1, CPU.index("\n", cut)):
        if "avg" not in CPU[cut:end] or CPU[end - 3] != ".":
            reason(CPU[:end])
