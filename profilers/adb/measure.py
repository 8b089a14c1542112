"""The measurement protocol on a phone: interleaved rounds of calls of benchmark_model, the reference kernel in between.

A call costs 50 to 100 ms besides its runs, so it has many of them, about `CALL_MS` together, and makes one timing.
Rounds go on until the intervals are narrow or the budget is used up; pauses for cooling do not count.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from profilers.adb.accuracy_check import run_checked
from profilers.adb.adb import PHONE_FOLDER
from profilers.adb.adb import Phone
from profilers.adb.adb import device_path
from profilers.adb.benchmark_model import BenchmarkModel
from profilers.adb.benchmark_model import Job
from profilers.adb.benchmark_model import Setting
from profilers.adb.benchmark_model import call
from profilers.adb.guard import Guard
from profilers.adb.store import push_missing
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import TimingLog
from profilers.measuring.timings import Timings
from profilers.runtimes import Timing
from subdit.core.progress import ProgressCallback

CALL_MS = 100.0
"""Runs of one call take about this long together."""

MIN_RUNS = 3
MAX_RUNS = 500
MIN_ROUNDS = 8
REFERENCE_EVERY = 4
"""Calls of others between two of the reference kernel."""

_TRIAL_RUNS = 5
_CHECK_EVERY = 2


def place_kit(phone: Phone, kit: Kit, beside: Mapping[str, Path], *, progress: ProgressCallback) -> str:
    """Copy the kit's models, and others by name; returns the folder on the phone."""
    folder = device_path(f"{PHONE_FOLDER}/kits/{kit.hash}")
    for name, file in beside.items():
        # One at a time and under its new name: what it is called here may be in the kit.
        with tempfile.TemporaryDirectory(prefix="subdit-") as scratch:
            copied = shutil.copyfile(file, Path(scratch) / f"{name}{kit.reference.suffix}")
            push_missing(phone, f"{folder}-beside", [copied], progress=progress)
    push_missing(phone, folder, [kit.reference, *(entry.model for entry in kit.entries)], progress=progress)
    return folder


def try_models(
    phone: Phone,
    kit: Kit,
    program: BenchmarkModel,
    setting: Setting,
    folder: str,
    *,
    beside: Sequence[str] = (),
    progress: ProgressCallback,
) -> dict[str, Job]:
    """Run every model once, the reference kernel first: how long it takes, where it runs, whether it is right.

    The reference kernel, under `REFERENCE`, runs where the models do, on one thread. Outputs of the kit's models are
    compared with torch's where the program can write them (`BenchmarkModel.writes_outputs`).

    Args:
        beside: names of the models that `place_kit` copied beside the kit.

    Raises:
        DeviceError: a model cannot be run, or computes something else.
    """
    # An accelerator that computes in float16 is further off than its weights; nobody has measured how far.
    tolerance = program.runtime_class.tolerances["int8" if setting.fp16 else kit.precision]
    # The reference kernel says how fast what runs the models is just now.
    alone = dataclasses.replace(setting, threads=1)
    suffix = kit.reference.suffix
    tried: list[tuple[Job, KitEntry | None]] = [
        (Job(REFERENCE, f"{folder}/{kit.reference.name}", alone, _TRIAL_RUNS), None),
        *((Job(one.name, f"{folder}/{one.model.name}", setting, _TRIAL_RUNS), one) for one in kit.entries),
        *((Job(name, f"{folder}-beside/{name}{suffix}", setting, _TRIAL_RUNS), None) for name in beside),
    ]
    jobs: dict[str, Job] = {}
    for done, (job, entry) in enumerate(tried):
        progress(done, len(tried), f"trying {job.name}")
        if entry is not None and program.writes_outputs:
            run = run_checked(phone, program, job, entry, precision=kit.precision, tolerance=tolerance)
        else:
            run = call(phone, program, job)
        runs = int(np.clip(math.ceil(CALL_MS / max(run.quickest_ms, 1e-3)), MIN_RUNS, MAX_RUNS))
        jobs[job.name] = dataclasses.replace(job, runs=runs, mean=run.wants_mean, delegated_share=run.delegated_share)
    return jobs


def measure(
    phone: Phone,
    program: BenchmarkModel,
    jobs: Mapping[str, Job],
    guard: Guard,
    *,
    log: TimingLog,
    is_enough: Callable[[Timings], bool],
    budget_s: float,
    progress: ProgressCallback,
) -> Timings:
    """Time everything in interleaved rounds until `is_enough`, or until the budget is used up.

    Args:
        jobs: by name, the reference kernel's too.
        log: keeps every timing as it is taken, and has the earlier ones, which count.
        is_enough: asked every few rounds, after `MIN_ROUNDS`.
        budget_s: seconds, those of earlier, broken measurements included, pauses not; at least `MIN_ROUNDS` are made.
        progress: reports seconds of the budget.

    Raises:
        DeviceError: a call failed, the phone is too hot or its battery too low.
        DeviceLostError: the connection broke.
    """
    timings = log.attempt(0)
    names = [name for name in jobs if name != REFERENCE]

    def take(name: str) -> None:
        while why := guard.look():
            cool(why)
        began = time.monotonic()
        run = call(phone, program, jobs[name])
        timings.seconds += time.monotonic() - began
        sample_ms = run.sample_ms(mean=jobs[name].mean)
        timing = Timing(wall_ms=sample_ms, cpu_ms=sample_ms)
        timings.add(name, timing)
        log.write(0, timings, name, timing)

    def cool(why: str) -> None:
        progress(min(timings.seconds, budget_s), budget_s, f"cooling, for {why}")
        guard.cool(why)

    def take_reference() -> None:
        take(REFERENCE)
        while guard.is_slow(timings):
            cool("it slows down")
            take(REFERENCE)

    check = True
    while timings.rounds < MIN_ROUNDS or timings.seconds < budget_s:
        if check and timings.rounds >= MIN_ROUNDS and is_enough(timings):
            break
        timings.rounds += 1
        for done, index in enumerate(np.random.default_rng([0, timings.rounds]).permutation(len(names))):
            if done % REFERENCE_EVERY == 0:
                take_reference()
            take(names[index])
            progress(min(timings.seconds, budget_s), budget_s, f"round {timings.rounds}, {names[index]}")
        take_reference()
        check = timings.rounds % _CHECK_EVERY == 0
    return timings
