"""Measures a kit's models in interleaved rounds, again where the machine was noisy, and keeps every raw timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from profilers._affinity import temperature_c
from profilers._conditions import cpu_model
from profilers._kit import Kit
from profilers._kit import KitEntry
from profilers._kit import digest_of
from profilers._parity import limit_of
from profilers._parity import require_parity
from profilers._reference_kernel import reference_inputs
from profilers._rounds import FULL_ROUNDS
from profilers._rounds import TimingLog
from profilers._rounds import Timings
from profilers._rounds import measure_rounds
from profilers._rounds import pooled
from profilers._sessions import SessionPool
from profilers._statistics import is_noisy
from profilers._statistics import noise_of
from profilers._statistics import within
from profilers.runtimes import Runtime
from profilers.runtimes import Session
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

ATTEMPTS = 3
"""Too noisy a machine is measured twice more, unless that takes far more than the budget. The quietest one is kept, or
all together where that is quieter: a noise that goes up and down averages out."""

OVERDRAWN = 1.5
"""An attempt that took so many budgets is not made again."""

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
    entries = kit.components + kit.whole
    loaders = {entry.name: partial(_load, entry, runtime, threads) for entry in entries}
    sizes = {entry.name: _stored_bytes(entry.model) for entry in entries}
    pool = SessionPool(loaders, sizes, limit_bytes=limit_bytes)
    limit = limit_of(kit.precision)
    for done, entry in enumerate(entries):
        progress(done, len(entries), f"comparing {entry.name} with torch")
        # Loading ran it once.
        require_parity(entry.name, pool[entry.name].output(), entry.arrays()[1], runtime, limit)
    return pool


def _stored_bytes(model: Path) -> int:
    """Of a model, with the weights beside it where it is larger than an ONNX file may be."""
    beside = model.with_name(f"{model.name}.data")
    return model.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def _load(entry: KitEntry, runtime: Runtime, threads: int) -> Session:
    return runtime.load(entry.model, entry.arrays()[0], threads=threads)


@dataclass(frozen=True)
class Measured:
    """What was measured of a `Plan`.

    Attributes:
        timings: of the quietest attempt, or of all.
        attempts: how many there were, up to `ATTEMPTS`.
        hottest_c: the highest temperature seen.
        log: of all attempts, closed; to be finished when the profile is saved, for until then a next call goes on here.
    """

    timings: Timings
    attempts: int
    hottest_c: float | None
    log: TimingLog


def measure_kit(plan: Plan, *, budget_s: float, relative_ci: float, progress: ProgressCallback) -> Measured:
    """Measure in up to `ATTEMPTS` attempts, and go on with those that the kit's `timings` has."""
    components, whole = [entry.name for entry in plan.kit.components], [entry.name for entry in plan.kit.whole]
    identity = plan.profile.id
    header: Mapping[str, Any] = {
        "subdit_timings": 3,
        "kit": plan.kit.hash,
        "whole": whole,
        # By content: another decoder is another measurement.
        "beside": {name: digest_of(model)[:16] for name, model in plan.beside.items()},
        "id": identity,
        "cpu": plan.profile.conditions.cpu or cpu_model(),
        "cpus": plan.cpus,
        "runtime_version": plan.runtime.version,
    }
    path = plan.kit.folder / "timings" / f"{identity.replace('/', '--')}.jsonl"
    reference = plan.runtime.load(plan.kit.reference, reference_inputs(), threads=1)
    log = TimingLog(path, header)
    if log.finished:
        # The last measurement ended; this is a new one.
        log.close()
        log = TimingLog(path, header, restart=True)
    hottest_c = temperature_c()
    tried: list[Timings] = []
    try:
        for attempt in range(ATTEMPTS):
            note = f"attempt {attempt + 1} of {ATTEMPTS}, the machine was noisy, " if attempt else ""

            def report(done: float, total: float, text: str, *, at: int = attempt, note: str = note) -> None:
                nonlocal hottest_c
                if (now_c := temperature_c()) is not None:
                    hottest_c = max(now_c, hottest_c or now_c)
                progress(at * total + done, (at + 1) * total, note + text)

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
            worst = [max(noise.component_ci, noise.whole_ci, noise.split) for noise in noises]
            quietest = worst.index(min(worst))
            # Where 20 rounds take longer than the budget, another attempt would not end in any reasonable time.
            if not is_noisy(noises[quietest]) or timings.seconds > OVERDRAWN * budget_s:
                break
    finally:
        log.close()
    return Measured(chosen[quietest], len(tried), hottest_c, log)
