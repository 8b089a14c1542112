"""Which program a file is, what it is told, and what is understood of what it says."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from profilers.adb.adb import ShellResult
from profilers.adb.benchmark_model import BenchmarkModel
from profilers.adb.benchmark_model import Setting
from profilers.adb.benchmark_model import command_line
from profilers.adb.benchmark_model import identify_program
from profilers.adb.benchmark_model import read_result
from profilers.adb.benchmark_model import require_abi
from profilers.importers import delegated_share
from profilers.importers import make_log
from subdit.core.errors import DeviceError
from tests.profilers.adb.stand_in import FLAGS

GOLDEN = Path(__file__).parents[2] / "golden"
PLAIN = Setting(threads=2, delegate=None, fp16=False, mask="f0")
GPU = Setting(threads=1, delegate="gpu", fp16=False, mask="")


def program(runtime: str) -> BenchmarkModel:
    return BenchmarkModel(runtime, "/data/local/tmp/subdit/bin/1/benchmark_model", frozenset(FLAGS[runtime]), "ab12")


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine) + bytes(40)


def usage(*flags: str) -> ShellResult:
    """Flags::Usage of command_line_flags.cc, as it comes with --help: on stderr, with exit code 1."""
    lines = "".join(f"\t--{flag}=0        \tint32\toptional\twhat --{flag} does\n" for flag in flags)
    return ShellResult(
        1, "INFO: STARTING!\n", f"ERROR: usage: x <flags>\nFlags:\n{lines}\nERROR: Benchmarking failed.\n"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (elf(62), "is built for x86_64 and the phone runs arm64-v8a, armeabi-v7a; give the android_aarch64 build"),
        (elf(243), "is built for machine 243"),
        (b"PK\x03\x04" + bytes(60), "is no program for Android; give the android_aarch64 build"),
        (b"\x7fELF", "is no program for Android"),
        (b"", "is no program for Android"),
    ],
)
def test_a_program_for_another_processor_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "benchmark_model"
    file.write_bytes(content)
    with pytest.raises(DeviceError, match=said):
        require_abi(file, ("arm64-v8a", "armeabi-v7a"))


@pytest.mark.parametrize("content", [elf(183), elf(40), b"#!/system/bin/sh\n"])
def test_a_program_for_this_processor_is_taken(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "benchmark_model"
    file.write_bytes(content)
    require_abi(file, ("arm64-v8a", "armeabi-v7a"))


def test_the_two_programs_are_told_apart_by_their_flags() -> None:
    for runtime, flags in FLAGS.items():
        found = identify_program(usage(*flags), "p", "d", Path("x"))
        assert (found.runtime, found.flags) == (runtime, frozenset(flags))
    assert identify_program(usage(*FLAGS["tflite"]), "p", "d", Path("x")).writes_outputs
    assert not identify_program(usage(*FLAGS["litert"]), "p", "d", Path("x")).writes_outputs
    # An old build that cannot write outputs.
    old = identify_program(usage("graph", "num_runs", "use_xnnpack"), "p", "d", Path("x"))
    assert old.runtime == "tflite" and not old.writes_outputs


@pytest.mark.parametrize(
    ("helped", "said"),
    [
        (
            ShellResult(126, "", "sh: x: not executable: 64-bit ELF file\n"),
            r"not executable: 64-bit ELF file\); give the And",
        ),
        (ShellResult(127, "", ""), "exit code 127"),
        (usage("graph"), "does not run as benchmark_model"),
        (usage("graph", "num_runs"), "the flags of neither"),
        (usage("graph", "num_runs", "use_cpu", "use_xnnpack"), "the flags of neither"),
    ],
)
def test_what_is_neither_is_refused(helped: ShellResult, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        identify_program(helped, "p", "d", Path("x"))


def test_what_each_program_is_told() -> None:
    plain = command_line(program("tflite"), "/data/local/tmp/subdit/m.tflite", PLAIN, runs=40, max_s=60.0)
    assert plain[:3] == ["taskset", "f0", "/data/local/tmp/subdit/bin/1/benchmark_model"]
    assert {"--num_threads=2", "--num_runs=40", "--min_secs=0", "--max_secs=60", "--use_xnnpack=true"} < set(plain)
    assert "--use_gpu=true" not in plain
    gpu = command_line(program("tflite"), "m", GPU, runs=3, max_s=60.0)
    assert {"--use_gpu=true", "--gpu_precision_loss_allowed=false", "--require_full_delegation=false"} < set(gpu)
    assert gpu[0] != "taskset"
    plain = command_line(program("litert"), "m", PLAIN, runs=3, max_s=60.0)
    assert "--use_cpu=true" in plain and not any("xnnpack" in word for word in plain)
    gpu = command_line(program("litert"), "m", Setting(1, "gpu", True, ""), runs=3, max_s=60.0)
    assert {"--use_gpu=true", "--use_cpu=true", "--allow_fp16=true"} < set(gpu)
    lacking = BenchmarkModel("litert", "p", frozenset(FLAGS["litert"]) - {"allow_fp16"}, "d")
    with pytest.raises(DeviceError, match="has no flag --allow_fp16; give a newer build"):
        command_line(lacking, "m", GPU, runs=3, max_s=60.0)


def litert(count: str) -> ShellResult:
    """Both streams of LiteRT's program, with this line of its run loop."""
    warm = "INFO: count=1 curr=98760\n"
    block = (GOLDEN / "litert_cpp.txt").read_text()
    return ShellResult(0, f"INFO: STARTING!\nINFO: Running benchmark for ...\n{warm}\nINFO: {count}\n", block)


def sample_ms(ran: ShellResult, runtime: str) -> float:
    run = read_result(ran, program(runtime), PLAIN, "x")
    return run.sample_ms(mean=run.wants_mean)


def test_samples_are_medians_or_finer_means() -> None:
    assert sample_ms(ShellResult(0, (GOLDEN / "tflite_gpu.txt").read_text(), ""), "tflite") == 2.012
    times = "first=90000 curr=84000 min=83100 max=120440 avg=85230 std=9920"
    # The block has hundredths of a millisecond and no median; the loop's line has both.
    assert sample_ms(litert(f"count=50 {times} p5=83200 median=84900 p95=101000"), "litert") == 84.9
    # An older build.
    assert sample_ms(litert(f"count=50 {times}"), "litert") == 85.23
    tiny = ShellResult(
        0, log_of(counts=(20, "first=31 curr=20 min=19 max=31 avg=20.4375 std=1 p5=19 median=20 p95=30")), ""
    )
    # Whole microseconds are too coarse for what takes twenty of them.
    assert sample_ms(tiny, "tflite") == 0.0204375


def log_of(counts: tuple[int, str]) -> str:
    """What the TensorFlow Lite program prints of a run."""
    running = (
        "INFO: Running benchmark for at least 1 iterations and at least 0 seconds but terminate if exceeding 9 seconds."
    )
    mean = counts[1].partition("avg=")[2].split()[0]
    warm = "INFO: count=1 curr=40"
    summary = (
        f"INFO: Inference timings in us: Init: 100, First inference: 40, Warmup (avg): 40, Inference (avg): {mean}"
    )
    return "\n".join([running, warm, running, f"INFO: count={counts[0]} {counts[1]}", summary, ""])


@pytest.mark.parametrize(
    ("ran", "setting", "said"),
    [
        (
            ShellResult(1, "INFO: STARTING!\n", "ERROR: Failed to load model m\n"),
            PLAIN,
            "exit code 1: ERROR: Failed to load",
        ),
        (
            ShellResult(1, "", "ERROR: Failed to apply GPU delegate.\n"),
            GPU,
            "measure the processor, without --delegate",
        ),
        (ShellResult(139, "INFO: STARTING!\n", ""), PLAIN, "exit code 139: INFO: STARTING!"),
        (ShellResult(0, "hello\n", ""), PLAIN, "no log of a known format"),
        (litert("count=50 curr=85230(all same)"), PLAIN, ""),
        (litert("count=49 curr=85230(all same)"), PLAIN, "count= and Inference"),
    ],
)
def test_runs_that_fail_or_contradict_themselves(ran: ShellResult, setting: Setting, said: str) -> None:
    if not said:
        assert sample_ms(ran, "litert") == 85.23
        return
    with pytest.raises(DeviceError, match=said):
        read_result(ran, program("tflite"), setting, "x")


GPU_SPLIT = "82 operations will run on the GPU, and the remaining 55 operations will run on the CPU."
REPLACED = "VERBOSE: Replacing {} out of {} node(s) with delegate ({}) node, yielding 2 partitions for the whole graph."
EXPLICIT = "INFO: Explicitly applied GPU delegate, and the model graph will be {} executed by the delegate."


@pytest.mark.parametrize(
    ("lines", "share"),
    [
        ([GPU_SPLIT], 82 / 137),
        (["First 65 operations will run on the GPU, and the remaining 3 on the CPU.TfLiteGpuDelegate"], 65 / 68),
        ([REPLACED.format(31, 31, "TfLiteXNNPackDelegate")], None),
        ([REPLACED.format(6, 8, "TfLiteGpuDelegateV2"), REPLACED.format(2, 3, "TfLiteXNNPackDelegate")], 6 / 8),
        ([GPU_SPLIT, EXPLICIT.format("partially")], 82 / 137),
        ([EXPLICIT.format("completely")], 1.0),
        (["INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate."], 0),
        ([EXPLICIT.format("partially")], None),
        ([EXPLICIT.format("completely").replace("GPU", "XNNPACK")], None),
    ],
)
def test_the_share_of_an_accelerator(lines: list[str], share: float | None) -> None:
    assert delegated_share(make_log("\n".join(lines).encode(), "x")) == share
