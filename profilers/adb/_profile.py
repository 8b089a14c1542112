"""`profile_over_adb`: device profiles of Android phones, several at once, each from its own thread."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_profiles import DeviceProfile
from device_profiles import profile_path
from device_profiles import save_profile
from profilers._conditions import read_conditions
from profilers._from_timings import profile_from_timings
from profilers._kit import open_kit
from profilers._operators import count_operators
from profilers._rounds import TimingLog
from profilers._selection import check_pipeline
from profilers._selection import choose_whole
from profilers._selection import is_by_whole
from profilers._statistics import within
from profilers.adb._adb import Phone
from profilers.adb._adb import StoppedError
from profilers.adb._adb import choose_phones
from profilers.adb._adb import find_adb
from profilers.adb._benchmark_model import DELEGATES
from profilers.adb._benchmark_model import Setting
from profilers.adb._guard import Guard
from profilers.adb._identity import Plan
from profilers.adb._identity import empty_profile
from profilers.adb._identity import share_of
from profilers.adb._identity import timings_header
from profilers.adb._measure import measure
from profilers.adb._measure import place_kit
from profilers.adb._measure import try_models
from profilers.adb._phone import Facts
from profilers.adb._phone import choose_mask
from profilers.adb._phone import fixed_performance
from profilers.adb._phone import read_facts
from profilers.adb._store import install
from subdit.core.errors import DeviceError
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.core.errors import SubditError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import components_up_to
from subdit.space import get_space

BUDGET_S = 600.0
"""Seconds of measuring that a phone gets where nothing else is asked for."""

COOLING_S = 30.0
"""Length of a pause for cooling."""

WHOLE_CI = 0.0075
"""Measuring goes on until the whole sub-DiTs' intervals are as narrow as this, or the budget is used up."""

_POLL_S = 0.1
# How far the bar is when the kit is on the phone, and when every model has been tried.
_PLACED, _TRIED = 0.05, 0.2


@dataclass(frozen=True)
class PhoneResult:
    """What became of one phone: a profile, or the sentence that says why there is none."""

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
        calibrate: how many of the kit's whole sub-DiTs to calibrate on. Where neither this nor `whole` is given, all of
            them are measured, and predict the way that predicts those left out better.
        whole: measure so many of the kit's whole sub-DiTs and predict all others from them.
        also: what else a picture takes, .tflite files by "text_encoder" or "decoder", measured in the same rounds.
        progress: reports seconds, of all phones together.
        force: replace profiles that are there, as `profile` does.

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
    if kit.format != "tflite":
        raise KitError(f"The kit {kit_dir} has no .tflite files for a phone; make one with --runtime litert.")
    if precision not in (None, kit.precision):
        raise KitError(
            f"The kit {kit_dir} is of {kit.precision}, not {precision}; make one with --precision {precision}."
        )
    if device is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", device):
        raise ProfileError(f"{device!r} cannot name a device; use lower-case letters, digits, '.', '_' and '-'.")
    if delegate is not None and delegate not in DELEGATES:
        raise ProfileError(f"There is no delegate {delegate!r} over adb; there is {', '.join(DELEGATES)}, or none.")
    if threads < 1:
        raise ProfileError(f"A runtime cannot use {threads} threads; pass at least 1.")
    if not benchmark_model.is_file():
        raise DeviceError(f"There is no benchmark_model at {benchmark_model}; download the Android build and name it.")
    stop = threading.Event()
    phones = choose_phones(find_adb(stop), serials)
    if len(phones) > 1 and (device is not None or out is not None):
        raise ProfileError("A device's name and a file are for one phone; leave them out, or name one phone.")
    kit = dataclasses.replace(kit, whole=choose_whole(kit, calibrate=calibrate, whole=whole))
    expected = [component.name for component in components_up_to(get_space(kit.space), kit.max_params)]
    if kit.components and [entry.name for entry in kit.components] != expected:
        raise KitError(
            f"The kit {kit_dir} has other components than space {kit.space!r}; make it again with all parts."
        )
    by_whole = is_by_whole(kit, calibrate=calibrate, whole=whole)
    parts = check_pipeline(also or {})
    for file in parts.values():
        count_operators(file)
    plan = Plan(
        kit, benchmark_model, threads, device, delegate, cores, cooling_s, out, budget_s, force, by_whole, parts
    )
    workers = [_Worker(phone, plan) for phone in phones]
    names = names_apart([(worker.device, worker.phone.serial) for worker in workers])
    for worker, name in zip(workers, names, strict=True):
        worker.device = name
    _run_all(workers, stop, progress)
    if len(workers) == 1 and workers[0].problem is not None:
        raise workers[0].problem
    return tuple(PhoneResult(one.phone.serial, one.made, str(one.problem or "")) for one in workers)


class _Worker:
    """Measures one phone, in a thread of its own.

    `done` is waited for and not the thread: Python 3.11 takes a thread for ended whose `join` Ctrl-C interrupts.
    """

    def __init__(self, phone: Phone, plan: Plan) -> None:
        self.phone = phone
        self.done = threading.Event()
        self.plan = plan
        self.made: DeviceProfile | None = None
        self.problem: SubditError | None = None
        self.fault: BaseException | None = None
        self.at = (0.0, 1.0, "")
        self.facts: Facts | None = None
        self.device = ""
        try:
            self.facts = read_facts(phone)
            self.device = plan.device or self.facts.device
        except SubditError as error:
            self.problem = error

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"adb-{self.phone.serial}", daemon=True).start()

    def _run(self) -> None:
        try:
            if self.facts is not None:
                self.made = _profile_phone(self.phone, self.plan, self.facts, self.device, self._report)
        except SubditError as error:
            self.problem = error
        except StoppedError:
            pass
        except BaseException as error:  # Our mistake, raised again where it is seen.
            self.fault = error
        finally:
            self.done.set()

    def _report(self, done: float, total: float, note: str) -> None:
        self.at = (done, total, note)


def names_apart(phones: Sequence[tuple[str, str]]) -> list[str]:
    """Names of devices out of (name, serial); phones of one model get the begin of their serial's SHA-256 to them.

    The serial itself stays here: profiles are for passing on.
    """
    names = [name for name, _ in phones]
    return [
        f"{name}-{hashlib.sha256(serial.encode()).hexdigest()[:6]}" if names.count(name) > 1 else name
        for name, serial in phones
    ]


def _run_all(workers: Sequence[_Worker], stop: threading.Event, progress: ProgressCallback) -> None:
    """Run all to their end; whatever ends this process in between lets them put their phones back first."""
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            while not worker.done.wait(_POLL_S):
                progress(*_together(workers))
    finally:
        stop.set()
        for worker in workers:
            worker.done.wait()
    for worker in workers:
        if worker.fault is not None:
            raise worker.fault


def _together(workers: Sequence[_Worker]) -> tuple[float, float, str]:
    """What all have done, as parts of one whole per phone, with what the slowest does."""
    parts = [1.0 if worker.done.is_set() else min(worker.at[0] / max(worker.at[1], 1e-9), 1.0) for worker in workers]
    slowest = workers[min(range(len(workers)), key=lambda at: parts[at])]
    note = slowest.at[2] if len(workers) == 1 else f"{slowest.phone.serial}: {slowest.at[2]}"
    return sum(parts), float(len(workers)), note


def _profile_phone(phone: Phone, plan: Plan, facts: Facts, device: str, progress: ProgressCallback) -> DeviceProfile:
    kit = plan.kit
    program = install(phone, plan.benchmark_model, facts.abis)
    mask = choose_mask(phone, facts, plan.cores, plan.threads)
    # The accelerator computes in the numbers of the weights; for weights of int8, in float16.
    fp16 = plan.delegate is not None and kit.precision != "fp32"
    setting = Setting(plan.threads, plan.delegate, fp16, mask)
    empty = empty_profile(plan, facts, device, program, setting)
    _require_new(empty, plan)
    guard = Guard(phone, plan.cooling_s)
    while why := guard.look():
        progress(0.0, 1.0, f"cooling, for {why}")
        guard.cool(why)
    folder = place_kit(phone, kit, plan.also, progress=_part(progress, 0.0, _PLACED))
    path = kit.folder / "timings" / f"{empty.id.replace('/', '--')}--{_safe(phone.serial)}.jsonl"
    with fixed_performance(phone) as fixed:
        jobs = try_models(
            phone, kit, program, setting, folder, beside=tuple(plan.also), progress=_part(progress, _PLACED, _TRIED)
        )
        empty = dataclasses.replace(empty, delegated_share=share_of(kit, jobs) if plan.delegate else None)
        if empty.delegated_share == 0:
            raise DeviceError(
                f"The {plan.delegate} of the phone {phone.serial} took no operator of any model, so all ran on the "
                "processor; measure that, without --delegate, or give another build of benchmark_model."
            )
        _require_new(empty, plan)
        log = _open_log(path, timings_header(plan, empty, facts, program, setting, fixed))
        names = [entry.name for entry in kit.whole] or [entry.name for entry in kit.components]
        names += plan.also
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
        measured_at=read_conditions("", reference_ms=None).measured_at,
    )
    ended = dataclasses.replace(empty, conditions=conditions)
    made = profile_from_timings(kit, ended, timings, by_whole=plan.by_whole, pipeline=tuple(plan.also))
    save_profile(made, plan.out or profile_path(made), force=plan.force)
    # Not before: where the profile could not be made or written, the same command has all timings.
    log.finish()
    return made


def _open_log(path: Path, header: Mapping[str, object]) -> TimingLog:
    """Timings to go on with; anew where the last measurement ended."""
    log = TimingLog(path, header)
    if not log.finished:
        return log
    log.close()
    return TimingLog(path, header, restart=True)


def _require_new(empty: DeviceProfile, plan: Plan) -> None:
    target = plan.out or profile_path(empty)
    if target.exists() and not plan.force:
        raise RunError(f"There is a profile at {target} already; name another device or file, or pass --force.")


def _part(progress: ProgressCallback, begin: float, end: float) -> ProgressCallback:
    """What reports one of the steps, as a part of the whole."""

    def report(done: float, total: float, note: str) -> None:
        progress(begin + (end - begin) * done / max(total, 1e-9), 1.0, note)

    return report


def _safe(serial: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", serial)
