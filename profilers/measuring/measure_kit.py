"""Measures a kit's models in interleaved rounds, again where the machine was noisy, and keeps every raw timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from device_profiles import DeviceProfile
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from profilers.kits.kit import digest_of
from profilers.measuring.accuracy_check import require_accuracy
from profilers.measuring.affinity import temperature_c
from profilers.measuring.conditions import cpu_model
from profilers.measuring.rounds import measure_rounds
from profilers.measuring.session_pool import SessionPool
from profilers.measuring.statistics import is_noisy
from profilers.measuring.statistics import largest_noise
from profilers.measuring.statistics import noise_of
from profilers.measuring.statistics import within
from profilers.measuring.timings import TimingLog
from profilers.measuring.timings import Timings
from profilers.measuring.timings import log_path
from profilers.measuring.timings import pooled
from profilers.measuring.timings import timings_header
from profilers.runtimes import Runtime
from profilers.runtimes import Session
from profilers.runtimes import reference_inputs
from profilers.runtimes.timing import FULL_ROUNDS
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

ATTEMPTS = 3
"""A machine that is too noisy is measured twice more, unless that takes far more than the budget. The quietest attempt
is kept, or all together where they are quieter: a noise that goes up and down averages out."""

OVERDRAWN = 1.5
"""An attempt that took this number of budgets is not made again."""

WHOLE_CI = 0.0075
"""Measuring goes on until the whole sub-DiTs' intervals are as narrow as this, or the budget is used up."""


@dataclass(frozen=True)
class Plan:
    """What is measured: a kit by a runtime, and other models beside it, by name, on some cores (empty: on any)."""

    kit: Kit
    runtime: Runtime
    profile: DeviceProfile
    sessions: SessionPool
    beside: Mapping[str, Path]
    cpus: str = ""


def load_checked(
    kit: Kit,
    runtime: Runtime,
    *,
    threads: int,
    limit_bytes: int | None = None,
    progress: ProgressCallback = no_progress,
) -> SessionPool:
    """Sessions of every model of a kit; raises `KitError` where one does not compute what torch computes.

    Every one is loaded and compared here; as many as fit into memory stay.
    """
    loaders = {entry.name: partial(_load, entry, runtime, threads) for entry in kit.entries}
    sizes = {entry.name: _stored_bytes(entry.model) for entry in kit.entries}
    pool = SessionPool(loaders, sizes, limit_bytes=limit_bytes)
    for done, entry in enumerate(kit.entries):
        progress(done, len(kit.entries), f"comparing {entry.name} with torch")
        # Loading ran it once.
        require_accuracy(entry.name, pool[entry.name].output(), entry.arrays()[1], runtime)
    return pool


def _stored_bytes(model: Path) -> int:
    """Bytes of a model, with the weights beside it where it is larger than an ONNX file may be."""
    beside = model.with_name(f"{model.name}.data")
    return model.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def _load(entry: KitEntry, runtime: Runtime, threads: int) -> Session:
    return runtime.load(entry.model, entry.arrays()[0], threads=threads)


@dataclass(frozen=True)
class KitTimings:
    """What was measured of a `Plan`.

    Attributes:
        timings: of the quietest attempt, or of all.
        attempts: how many there were, up to `ATTEMPTS`.
        hottest_c: the highest temperature seen.
        log: of all attempts, closed. Finish it when the profile is saved; until then the next call goes on with it.
    """

    timings: Timings
    attempts: int
    hottest_c: float | None
    log: TimingLog


def measure_kit(plan: Plan, *, budget_s: float, relative_ci: float, progress: ProgressCallback) -> KitTimings:
    """Measure in up to `ATTEMPTS` attempts, and go on with those that the kit's folder `timings` has."""
    components, whole = plan.kit.component_names, plan.kit.whole_names
    header = timings_header(
        plan.kit,
        plan.profile,
        3,
        whole=whole,
        # By content: another decoder is another measurement.
        beside={name: digest_of(model)[:16] for name, model in plan.beside.items()},
        cpu=plan.profile.conditions.cpu or cpu_model(),
        cpus=plan.cpus,
        runtime_version=plan.runtime.version,
    )
    reference = plan.runtime.load(plan.kit.reference, reference_inputs(), threads=1)
    log = TimingLog(log_path(plan.kit, plan.profile), header)
    hottest_c = temperature_c()
    tried: list[Timings] = []
    try:
        for attempt in range(ATTEMPTS):
            note = f"attempt {attempt + 1} of {ATTEMPTS}, the machine was noisy, " if attempt else ""

            def report(done: float, total: float, text: str, *, attempt: int = attempt, note: str = note) -> None:
                nonlocal hottest_c
                if (now_c := temperature_c()) is not None:
                    hottest_c = max(now_c, hottest_c or now_c)
                progress(attempt * total + done, (attempt + 1) * total, note + text)

            timings = measure_rounds(
                plan.sessions,
                reference,
                is_enough=within([*whole, *plan.beside] or components, relative_ci),
                budget_s=budget_s,
                min_rounds=FULL_ROUNDS,
                timings=log.attempt(attempt),
                log=log,
                attempt=attempt,
                progress=report,
            )
            tried.append(timings)
            chosen = [*tried, pooled(tried)] if attempt else tried
            noises = [noise_of(one, components, whole, attempts=attempt + 1) for one in chosen]
            quietest = int(np.argmin([largest_noise(noise) for noise in noises]))
            # Where 20 rounds take longer than the budget, another attempt would not end in any reasonable time.
            if not is_noisy(noises[quietest]) or timings.seconds > OVERDRAWN * budget_s:
                break
    finally:
        log.close()
    return KitTimings(chosen[quietest], len(tried), hottest_c, log)
