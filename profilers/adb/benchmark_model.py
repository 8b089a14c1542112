"""The two programs called `benchmark_model`: how they are told apart, their command lines, and what they print.

TensorFlow Lite's runs an interpreter and can write outputs; LiteRT's runs a CompiledModel and cannot. Both share flags
for runs and threads, and the loop whose last `count=` line tells the times. Sources: tflite/tools/benchmark and
litert/tools of google-ai-edge/LiteRT.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profilers.adb.adb import Phone
from profilers.adb.adb import ShellResult
from profilers.importers import delegated_share
from profilers.importers import make_log
from profilers.importers import read
from profilers.runtimes import Runtime
from profilers.runtimes import runtime_class
from subdit.core.errors import DeviceError
from subdit.core.errors import ImportLogError

DELEGATES = ("gpu",)
"""What can be asked for besides the processor."""

WARM_UP_RUNS = 2

_COARSE_MS = 0.2
_MAX_CALL_S = 60.0
_MACHINES = {3: "x86", 40: "armeabi-v7a", 62: "x86_64", 183: "arm64-v8a"}
_BUILDS = {"arm64-v8a": "android_aarch64", "armeabi-v7a": "android_arm"}
_USAGE = re.compile(r"^\s*--([A-Za-z][A-Za-z0-9_-]*)=", re.MULTILINE)
_ONLY_TFLITE = {"use_xnnpack", "enable_op_profiling"}
_ONLY_LITERT = {"use_cpu", "use_npu"}


@dataclass(frozen=True)
class BenchmarkModel:
    """The program on the phone.

    Attributes:
        runtime: "tflite" or "litert".
        path: on the phone.
        flags: that its help names.
        digest: first 16 digits of the file's SHA-256; neither program tells a version.
    """

    runtime: str
    path: str
    flags: frozenset[str]
    digest: str

    @property
    def runtime_class(self) -> type[Runtime]:
        """The runtime on this machine, which tells tolerances and the numbers that products are computed in."""
        return runtime_class(self.runtime)

    @property
    def name(self) -> str:
        return f"{'TensorFlow Lite' if self.runtime == 'tflite' else 'LiteRT'} benchmark_model"

    @property
    def writes_outputs(self) -> bool:
        """Whether it can be given inputs and asked for outputs."""
        return {"input_layer", "input_layer_shape", "input_layer_value_files", "output_filepath"} <= self.flags


@dataclass(frozen=True)
class Setting:
    """How every model is run.

    Attributes:
        delegate: None for the processor.
        fp16: whether the accelerator may compute in float16.
        mask: of the cores, as `taskset` takes it; empty for none.
    """

    threads: int
    delegate: str | None
    fp16: bool
    mask: str


@dataclass(frozen=True)
class BenchmarkResult:
    """What one call printed.

    Attributes:
        mean_ms, median_ms, quickest_ms: of its timed runs; older builds print no median.
        delegated_share: of the operators, on the accelerator; None where the call does not tell.
    """

    mean_ms: float
    median_ms: float | None
    quickest_ms: float
    delegated_share: float | None

    @property
    def wants_mean(self) -> bool:
        """Whether whole microseconds, as a median has, are too coarse for this model; a mean has six digits."""
        return self.quickest_ms < _COARSE_MS

    def sample_ms(self, *, mean: bool) -> float:
        """One sample of the latency: the median, which a short interruption does not move, or the mean."""
        return self.mean_ms if mean or self.median_ms is None else self.median_ms


@dataclass(frozen=True)
class Job:
    """One model on the phone.

    Attributes:
        model: its path there.
        setting: how it is run.
        runs: timed ones per call.
        mean: whether their mean is the sample, and not their median; the same for all calls.
        delegated_share: see `BenchmarkResult`.
    """

    name: str
    model: str
    setting: Setting
    runs: int
    mean: bool = False
    delegated_share: float | None = None


def require_abi(file: Path, abis: Sequence[str]) -> None:
    """Raise `DeviceError` where the file is no program, or one for another processor than the phone's."""
    try:
        with file.open("rb") as opened:
            head = opened.read(20)
    except OSError as error:
        raise DeviceError(f"There is no benchmark_model at {file} ({error.strerror}); name the file of it.") from None
    wanted = _BUILDS.get(abis[0] if abis else "", "android_aarch64")
    if head.startswith(b"#!"):
        return
    if not head.startswith(b"\x7fELF") or len(head) < 20:
        raise DeviceError(f"{file} is no program for Android; give the {wanted} build of benchmark_model.")
    (machine,) = struct.unpack("<H", head[18:20])
    built_for = _MACHINES.get(machine, f"machine {machine}")
    if built_for not in abis:
        raise DeviceError(
            f"{file} is built for {built_for} and the phone runs {', '.join(abis)}; give the {wanted} build of "
            "benchmark_model."
        )


def identify_program(usage: ShellResult, path: str, digest: str, file: Path) -> BenchmarkModel:
    """The program, known by the flags that its help names; raises `DeviceError` where it is neither of the two."""
    text = usage.out + usage.err
    flags = frozenset(_USAGE.findall(text))
    if not {"graph", "num_runs"} <= flags:
        reason = next((line.strip() for line in text.splitlines() if line.strip()), f"exit code {usage.code}")
        raise DeviceError(
            f"{file} does not run as benchmark_model on the phone ({reason[:160]}); give the Android build of "
            "TensorFlow Lite's or LiteRT's benchmark_model."
        )
    kinds = [kind for kind, own in (("tflite", _ONLY_TFLITE), ("litert", _ONLY_LITERT)) if own & flags]
    if len(kinds) != 1:
        raise DeviceError(
            f"{file} has the flags of neither TensorFlow Lite's nor LiteRT's benchmark_model; give one of their builds."
        )
    return BenchmarkModel(kinds[0], path, flags, digest)


def command_line(
    program: BenchmarkModel,
    model: str,
    setting: Setting,
    *,
    runs: int,
    max_s: float,
    extra: Mapping[str, str] | None = None,
) -> list[str]:
    """The command on the phone.

    Args:
        model: its path there.
        runs: timed ones.
        max_s: seconds after which no further run begins.
        extra: more flags.

    Raises:
        DeviceError: the program lacks a flag for the setting.
    """
    flags = {"graph": model, "num_threads": str(setting.threads), "num_runs": str(runs), "min_secs": "0"}
    flags |= {"max_secs": f"{max_s:g}", "warmup_runs": str(WARM_UP_RUNS), "warmup_min_secs": "0"}
    if setting.delegate is None:
        flags |= {"use_xnnpack": "true"} if program.runtime == "tflite" else {"use_cpu": "true"}
    else:
        # Operators that the accelerator cannot run go to the processor; how many, becomes part of the profile's id.
        precision = {"tflite": "gpu_precision_loss_allowed", "litert": "allow_fp16"}[program.runtime]
        flags |= {"use_gpu": "true", precision: "true" if setting.fp16 else "false", "require_full_delegation": "false"}
        flags |= {"use_cpu": "true"} if program.runtime == "litert" else {}
    flags |= extra or {}
    if missing := sorted(set(flags) - program.flags):
        raise DeviceError(f"This {program.name} has no flag --{missing[0]}; give a newer build of it.")
    pinned = ["taskset", setting.mask] if setting.mask else []
    return [*pinned, program.path, *(f"--{name}={value}" for name, value in flags.items())]


def call(phone: Phone, program: BenchmarkModel, job: Job, extra: Mapping[str, str] | None = None) -> BenchmarkResult:
    """Run benchmark_model once; raises `DeviceError` where it fails, `DeviceLostError` where the connection broke."""
    command = command_line(program, job.model, job.setting, runs=job.runs, max_s=_MAX_CALL_S, extra=extra)
    return read_result(phone.shell(command, timeout_s=60.0 + 4 * _MAX_CALL_S), program, job.setting, job.name)


def read_result(ran: ShellResult, program: BenchmarkModel, setting: Setting, name: str) -> BenchmarkResult:
    """The result of a run, read by the importers; raises `DeviceError` where it failed or cannot be understood."""
    text = f"{ran.out}\n{ran.err}\n"
    if ran.code != 0:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith(("ERROR", "FATAL"))] or lines or ["nothing"]
        remedy = "measure the processor, without --delegate" if setting.delegate else "give another build of it"
        raise DeviceError(
            f"{program.name} cannot run {name} (exit code {ran.code}: {telling[0][:160]}); {remedy}, or make the kit "
            "again."
        )
    try:
        log = make_log(text.encode(), f"what benchmark_model said of {name}")
        (found,) = read(log)
    except ImportLogError as error:
        raise DeviceError(str(error)) from error
    mean_ms, min_ms = found.mean_ms, found.min_ms
    if mean_ms is None or min_ms is None:
        raise DeviceError(f"{program.name} timed nothing of {name}; give another build of it.")
    return BenchmarkResult(mean_ms, found.median_ms, min_ms, delegated_share(log) if setting.delegate else None)
