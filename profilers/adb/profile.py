"""`profile_over_adb`: device profiles of Android phones, several at once, each from its own thread."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from device_profiles import DeviceProfile
from device_profiles import profile_path
from device_profiles import save_profile
from profilers.adb.adb import Phone
from profilers.adb.adb import choose_phones
from profilers.adb.adb import find_adb
from profilers.adb.benchmark_model import DELEGATES
from profilers.adb.benchmark_model import Setting
from profilers.adb.guard import Guard
from profilers.adb.identity import Plan
from profilers.adb.identity import delegated_share
from profilers.adb.identity import empty_profile
from profilers.adb.identity import timings_header
from profilers.adb.measure import measure
from profilers.adb.measure import place_kit
from profilers.adb.measure import try_models
from profilers.adb.phone import PhoneFacts
from profilers.adb.phone import choose_mask
from profilers.adb.phone import fixed_performance
from profilers.adb.store import install
from profilers.adb.workers import Worker
from profilers.adb.workers import distinct_names
from profilers.adb.workers import run_all
from profilers.kits.kit import open_kit
from profilers.measuring.build_profile import build_profile
from profilers.measuring.conditions import remote_conditions
from profilers.measuring.kit_selection import check_device
from profilers.measuring.kit_selection import check_pipeline
from profilers.measuring.kit_selection import require_new
from profilers.measuring.kit_selection import select_models
from profilers.measuring.measure_kit import WHOLE_CI
from profilers.measuring.statistics import within
from profilers.measuring.timings import TimingLog
from profilers.measuring.timings import log_path
from profilers.runtimes import runtime_class
from subdit.core.errors import DeviceError
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

BUDGET_S = 600.0
"""Seconds of measuring that a phone gets where nothing else is asked for."""

COOLING_S = 30.0
"""Length of a pause for cooling."""

# How far the bar is when the kit is on the phone, and when every model has been tried.
_PLACED, _TRIED = 0.05, 0.2


@dataclass(frozen=True)
class PhoneResult:
    """The profile of one phone, or the sentence that says why there is none."""

    serial: str
    profile: DeviceProfile | None
    problem: str = ""


def profile_over_adb(
    kit_dir: Path,
    serials: Sequence[str] = (),
    *,
    benchmark_model: Path,
    precision: str | None = None,
    threads: int = 1,
    device: str | None = None,
    delegate: str | None = None,
    cores: str = "auto",
    cooling_s: float = COOLING_S,
    out: Path | None = None,
    budget_s: float = BUDGET_S,
    calibrate: int | None = None,
    whole: int | None = None,
    also: Mapping[str, Path] | None = None,
    progress: ProgressCallback = no_progress,
    force: bool = False,
    allow_fallback: bool = False,
) -> tuple[PhoneResult, ...]:
    """Measure a kit of .tflite files on Android phones, and save a profile of each; goes on where it was.

    Raw timings are kept in the kit's folder `timings`, one file per phone and setting.

    Args:
        kit_dir: folder of the kit.
        serials: of the phones, as `adb devices` lists them; by default the only one there is.
        benchmark_model: TensorFlow Lite's or LiteRT's program of that name, built for Android.
        precision: None, or that of the weights which the kit must have.
        threads: how many it may use.
        device: name of the device, by default made from the phone's model; for one phone only.
        delegate: None for the processor, or "gpu".
        cores: "auto" for the fastest, or a hexadecimal mask for taskset.
        cooling_s: seconds of a pause where the phone is warm, see `Guard`.
        out: file to write, by default in the user's registry; for one phone only.
        budget_s: seconds of measuring per phone.
        calibrate: number of the kit's whole sub-DiTs to calibrate on. Where neither this nor `whole` is given, all of
            them are measured, and the way of predicting is the one that predicts left-out sub-DiTs better.
        whole: number of the kit's whole sub-DiTs to measure and predict all others from.
        also: what else a picture takes, .tflite files by "text_encoder" or "decoder", measured in the same rounds.
        progress: reports seconds, of all phones together.
        force: replace profiles that are there, as `profile` does.
        allow_fallback: measure also where the accelerator takes less than all operators.

    Returns:
        One per phone, in the order of the serials. Where one of several phones fails, the others' profiles are saved.

    Raises:
        DeviceError: there is no such phone or program, or the only phone failed.
        KitError: the kit is missing or damaged, or has no .tflite files.
        ProfileError: an impossible name, delegate or number of threads.
        RunError: there is such a profile already and `force` is not given.
        MissingExtraError: adb is not installed.
    """
    kit = open_kit(kit_dir)
    if kit.format != runtime_class("litert").format:
        raise KitError(f"The kit {kit_dir} has no .tflite files for a phone; make one with --runtime litert.")
    kit, by_whole = select_models(kit, precision=precision, calibrate=calibrate, whole=whole)
    check_device(device, threads)
    if delegate is not None and delegate not in DELEGATES:
        raise ProfileError(f"There is no delegate {delegate!r} over adb; there is {', '.join(DELEGATES)}, or none.")
    if not benchmark_model.is_file():
        raise DeviceError(f"There is no benchmark_model at {benchmark_model}; download the Android build and name it.")
    stop = threading.Event()
    phones = choose_phones(find_adb(stop), serials)
    if len(phones) > 1 and (device is not None or out is not None):
        raise ProfileError("A device's name and a file are for one phone; leave them out, or name one phone.")
    parts = check_pipeline(also or {})
    for file in parts.values():
        runtime_class(kit.runtime).count_operators(file)
    plan = Plan(
        kit,
        benchmark_model,
        threads,
        device,
        delegate,
        cores,
        cooling_s,
        out,
        budget_s,
        force,
        by_whole,
        parts,
        allow_fallback,
    )
    workers = [Worker(phone, partial(_profile_phone, plan), device) for phone in phones]
    names = distinct_names([(worker.device, worker.phone.serial) for worker in workers])
    for worker, name in zip(workers, names, strict=True):
        worker.device = name
    run_all(workers, stop, progress)
    if len(workers) == 1 and workers[0].problem is not None:
        raise workers[0].problem
    return tuple(PhoneResult(one.phone.serial, one.profile, str(one.problem or "")) for one in workers)


def _profile_phone(
    plan: Plan, phone: Phone, facts: PhoneFacts, device: str, progress: ProgressCallback
) -> DeviceProfile:
    kit = plan.kit
    program = install(phone, plan.benchmark_model, facts.abis)
    mask = choose_mask(phone, facts, plan.cores, plan.threads)
    # The accelerator computes in the numbers of the weights; for weights of int8, in float16.
    fp16 = plan.delegate is not None and kit.precision != "fp32"
    setting = Setting(plan.threads, plan.delegate, fp16, mask)
    empty = empty_profile(plan, facts, device, program, setting)
    require_new(plan.out or profile_path(empty), force=plan.force)
    guard = Guard(phone, plan.cooling_s)
    while why := guard.look():
        progress(0.0, 1.0, f"cooling, for {why}")
        guard.cool(why)
    folder = place_kit(phone, kit, plan.also, progress=_part(progress, 0.0, _PLACED))
    with fixed_performance(phone) as fixed:
        jobs = try_models(
            phone, kit, program, setting, folder, beside=tuple(plan.also), progress=_part(progress, _PLACED, _TRIED)
        )
        empty = dataclasses.replace(empty, delegated_share=delegated_share(kit, jobs) if plan.delegate else None)
        _refuse_fallback(plan, phone, empty.delegated_share)
        require_new(plan.out or profile_path(empty), force=plan.force)
        header = timings_header(plan, empty, facts, program, setting, fixed)
        log = TimingLog(log_path(kit, empty, re.sub(r"[^A-Za-z0-9._-]+", "_", phone.serial)), header)
        names = (kit.whole_names or kit.component_names) + list(plan.also)
        try:
            timings = measure(
                phone,
                program,
                jobs,
                guard,
                log=log,
                is_enough=within(names, WHOLE_CI),
                budget_s=plan.budget_s,
                progress=_part(progress, _TRIED, 1.0),
            )
        finally:
            log.close()
    conditions = dataclasses.replace(
        empty.conditions,
        governor=", ".join(filter(None, (facts.governor, "fixed performance mode" if fixed else ""))),
        temperature_c=guard.hottest_c,
        battery_percent=guard.lowest_percent,
        measured_at=remote_conditions("").measured_at,
    )
    ended = dataclasses.replace(empty, conditions=conditions)
    made = build_profile(kit, ended, timings, by_whole=plan.by_whole, pipeline=tuple(plan.also))
    save_profile(made, plan.out or profile_path(made), force=plan.force)
    # Not before: where the profile could not be made or written, the same command has all timings.
    log.finish()
    return made


def _refuse_fallback(plan: Plan, phone: Phone, share: float | None) -> None:
    """Raise `DeviceError` where the accelerator takes less than it was asked for; of nothing there is no profile."""
    if share is None or share == 1 or (share > 0 and plan.allow_fallback):
        return
    if share == 0:
        raise DeviceError(
            f"The {plan.delegate} of the phone {phone.serial} took no operator of any model, so all ran on the "
            "processor; measure that, without --delegate, or give another build of benchmark_model."
        )
    raise DeviceError(
        f"The {plan.delegate} of the phone {phone.serial} takes {100 * share:.1f} % of the operators only, and the "
        "processor runs the rest; pass --allow-fallback to measure this mixture, or leave --delegate out."
    )


def _part(progress: ProgressCallback, begin: float, end: float) -> ProgressCallback:
    """Report the progress of one step as a fraction of the whole."""

    def report(done: float, total: float, note: str) -> None:
        progress(begin + (end - begin) * done / max(total, 1e-9), 1.0, note)

    return report
