"""`profile`: measure a kit on this machine and write the device profile."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device_profiles import MIN_WHOLE
from device_profiles import MIN_WHOLE_ROWS
from device_profiles import Calibration
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import Noise
from device_profiles import WholeLatency
from device_profiles import fit_calibration
from device_profiles import fit_whole_model
from device_profiles import profile_path
from device_profiles import save_profile
from profilers._conditions import cpu_model
from profilers._conditions import device_name
from profilers._conditions import read_conditions
from profilers._kit import Kit
from profilers._kit import open_kit
from profilers._models import Measurement
from profilers._models import measurements_of
from profilers._reference import reference_inputs
from profilers._rounds import REFERENCE
from profilers._rounds import TimingLog
from profilers._rounds import Timings
from profilers._rounds import measure_rounds
from profilers._runtimes import Runtime
from profilers._runtimes import Session
from profilers._runtimes import get_runtime
from profilers._selection import check_pipeline
from profilers._selection import choose_whole
from profilers._selection import drawn_inputs
from profilers._statistics import is_noisy
from profilers._statistics import latencies
from profilers._statistics import noise_of
from profilers._statistics import within
from subdit.errors import KitError
from subdit.errors import ProfileError
from subdit.errors import RunError
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from supernet.space import all_components
from supernet.space import component_counts
from supernet.space import get_space

ATTEMPTS = 3
"""Too noisy a machine is measured twice more; the quietest attempt is kept."""

TOLERANCE = 1e-4
"""How far a component's output may be from torch's, over the larger of 1 and its largest value."""

WHOLE_CI = 0.0075
"""Measuring goes on until the whole sub-DiTs' intervals are as narrow as this, or the budget is used up."""

_MIN_ROUNDS = 20


def profile(
    kit_dir: Path,
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    device: str | None = None,
    out: Path | None = None,
    budget_s: float = 60.0,
    calibrate: int | None = None,
    whole: int | None = None,
    also: Mapping[str, Path] | None = None,
    progress: ProgressCallback = no_progress,
    force: bool = False,
) -> DeviceProfile:
    """Measure a kit here, calibrate, and save the profile; goes on where it was when it was killed.

    Raw timings are kept in the kit's folder `timings`.

    Args:
        kit_dir: folder of the kit.
        runtime: what runs the components.
        threads: how many threads it may use.
        device: name of the device, by default made from the system's and the processor's.
        out: file to write, by default in the user's registry.
        budget_s: seconds per attempt; there are up to three where the machine is noisy.
        calibrate: calibrate the table on so many of the kit's whole sub-DiTs; with fewer than 6 there is no
            calibration. Where neither this nor `whole` is given, all of them are measured, and predict the way that
            predicts those left out better.
        whole: measure so many of the kit's whole sub-DiTs and predict all others from them, with the parts as what is
            expected where the kit has any; by default only where it has none.
        also: what else a picture takes, models in the kit's format by "text_encoder" or "decoder", measured in the
            same rounds.
        progress: reports seconds.
        force: replace the profile that is there, and measure anew.

    Returns:
        The profile, as saved.

    Raises:
        KitError: the kit is missing or damaged, has too few whole sub-DiTs, or computes something else than torch on
            this machine.
        ProfileError: no such runtime, an impossible device name, too few whole sub-DiTs asked for, or no such part of
            a pipeline.
        RunError: there is such a profile already and `force` is not given.
    """
    return profile_beside(
        kit_dir,
        {},
        runtime=runtime,
        threads=threads,
        device=device,
        out=out,
        budget_s=budget_s,
        calibrate=calibrate,
        whole=whole,
        also=also,
        progress=progress,
        force=force,
    )[0]


def profile_beside(
    kit_dir: Path,
    models: Mapping[str, Path],
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    device: str | None = None,
    out: Path | None = None,
    budget_s: float = 60.0,
    calibrate: int | None = None,
    whole: int | None = None,
    also: Mapping[str, Path] | None = None,
    inputs: Mapping[str, Mapping[str, npt.NDArray[Any]]] | None = None,
    relative_ci: float = WHOLE_CI,
    progress: ProgressCallback = no_progress,
    force: bool = False,
) -> tuple[DeviceProfile, dict[str, Measurement]]:
    """`profile`, and other models measured in the same interleaved rounds; the profile learns nothing from those.

    What is measured minutes apart on a shared machine is measured on two machines: its memory may have become slower
    and its cores not, which no reference kernel tells apart. So a prediction is judged within the same rounds.

    Args:
        models: files of the kit's format by name; none may have the name of an entry of the kit.
        inputs: per model its inputs by name; where they are not given, drawn for the shapes in the file.
        relative_ci: half the 95 % interval over the latency at which measuring stops, for every whole model.

    Returns:
        The profile, as saved, and the measurements by name.

    Raises:
        KitError, ProfileError, RunError: as `profile`; `KitError` also for a model that cannot be loaded.
    """
    kit = open_kit(kit_dir)
    chosen = get_runtime(runtime)
    if (kit.runtime, kit.precision) != (chosen.name, chosen.precision):
        raise KitError(f"The kit {kit_dir} was made for {kit.runtime} {kit.precision}, not {runtime}; make another.")
    name = device_name() if device is None else device
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise ProfileError(f"{name!r} cannot name a device; use lower-case letters, digits, '.', '_' and '-'.")
    if threads < 1:
        raise ProfileError(f"A runtime cannot use {threads} threads; pass at least 1.")
    measured = choose_whole(kit, calibrate=calibrate, whole=whole)
    # By default, what predicts sub-DiTs left out better.
    by_whole = True if whole is not None or not kit.components else None if calibrate is None else False
    kit = dataclasses.replace(kit, whole=measured)
    parts = check_pipeline(also or {})
    space = get_space(kit.space)
    if [entry.name for entry in kit.components] != [component.name for component in all_components(space)]:
        raise KitError(
            f"The kit {kit_dir} was made for another version of space {kit.space!r}; make it again with --force."
        )

    empty = DeviceProfile(
        device=name,
        runtime=chosen.name,
        precision=chosen.precision,
        threads=threads,
        space=kit.space,
        kit_hash=kit.hash,
        provenance="measured",
        noisy=True,
        components={},
        conditions=read_conditions(chosen.version, reference_ms=None),
    )
    target = profile_path(empty) if out is None else out
    if target.exists() and not force:
        raise RunError(f"There is a profile at {target} already; name another device or file, or pass --force.")

    beside = {**models, **parts}
    like = (kit.whole or kit.components)[0].model
    drawn = {name: (inputs or {}).get(name) or drawn_inputs(path, like) for name, path in beside.items()}
    timings, attempts = _measure(
        kit, beside, drawn, chosen, empty, budget_s=budget_s, relative_ci=relative_ci, progress=progress
    )
    # Read again: when it ended, and how busy the machine was.
    ended = dataclasses.replace(empty, conditions=read_conditions(chosen.version, reference_ms=None))
    made = profile_from_timings(kit, ended, timings, attempts=attempts, by_whole=by_whole, pipeline=tuple(parts))
    save_profile(made, target, force=force)
    return made, measurements_of(timings, list(models))


def profile_from_timings(
    kit: Kit,
    empty: DeviceProfile,
    timings: Timings,
    *,
    attempts: int = 1,
    by_whole: bool | None = None,
    pipeline: Sequence[str] = (),
) -> DeviceProfile:
    """The profile that raw timings of a kit make, wherever they were taken: latencies, noise, calibration.

    Args:
        kit: whose components and whole sub-DiTs were timed, under their names, and the reference kernel as `REFERENCE`.
        empty: the profile but for these; its conditions get the reference kernel's latency.
        timings: all of them; of another machine, `cpu_ms` may be `wall_ms`.
        attempts: how often everything was measured.
        by_whole: latencies are to be predicted from the whole sub-DiTs, with the table as what is expected, instead of
            by a calibrated table; None for the one of both that predicts sub-DiTs left out of it better.
        pipeline: what else of a pipeline was timed, under these names.
    """
    found = latencies(timings)
    noise = noise_of(
        timings, [entry.name for entry in kit.components], [entry.name for entry in kit.whole], attempts=attempts
    )
    calibration = None if by_whole else _calibrate(kit, found, split=noise.split)
    if by_whole is None:
        by_whole = calibration is not None and _is_whole_better(kit, found, calibration)
    return dataclasses.replace(
        empty,
        noisy=is_noisy(noise),
        components={entry.name: found[entry.name] for entry in kit.components},
        conditions=dataclasses.replace(empty.conditions, reference_ms=found[REFERENCE].latency_ms),
        noise=noise,
        calibration=None if by_whole else calibration,
        pipeline={name: found[name] for name in pipeline},
        whole=_whole_latencies(kit, found) if by_whole else (),
    )


def load_checked(kit: Kit, runtime: Runtime, *, threads: int) -> dict[str, Session]:
    """Sessions of every model of a kit; raises `KitError` where one does not compute what torch computes."""
    sessions: dict[str, Session] = {}
    for entry in kit.components + kit.whole:
        inputs, expected = entry.arrays()
        session = runtime.load(entry.model, inputs, threads=threads)
        session.run()
        off = float(np.abs(session.output() - expected).max())
        # Written so that a NaN is refused too.
        if not off <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise KitError(
                f"{entry.name} of the kit {kit.folder} differs from torch by {off:.2g} in {runtime.name} "
                f"{runtime.version}; make the kit again, or use another version of the runtime."
            )
        sessions[entry.name] = session
    return sessions


def _measure(
    kit: Kit,
    models: Mapping[str, Path],
    inputs: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    runtime: Runtime,
    empty: DeviceProfile,
    *,
    budget_s: float,
    relative_ci: float,
    progress: ProgressCallback,
) -> tuple[Timings, int]:
    """The quietest of up to `ATTEMPTS` attempts, and how many there were."""
    components, whole = [entry.name for entry in kit.components], [entry.name for entry in kit.whole]
    beside = sorted(models)
    header: Mapping[str, Any] = {
        "subdit_timings": 1,
        "kit": kit.hash,
        "whole": whole,
        "beside": beside,
        "id": empty.id,
        "cpu": cpu_model(),
        "runtime_version": runtime.version,
    }
    path = kit.folder / "timings" / f"{empty.id.replace('/', '--')}.jsonl"
    sessions = load_checked(kit, runtime, threads=empty.threads)
    for name in beside:
        sessions[name] = runtime.load(models[name], inputs[name], threads=empty.threads)
    reference = runtime.load(kit.reference, reference_inputs(), threads=1)
    log = TimingLog(path, header)
    if log.finished:
        # The last measurement ended; this is a new one.
        log.close()
        log = TimingLog(path, header, restart=True)
    tried: list[tuple[Timings, Noise]] = []
    for attempt in range(ATTEMPTS):
        note = f"attempt {attempt + 1} of {ATTEMPTS}, the machine was noisy, " if attempt else ""

        def report(done: float, total: float, text: str, *, at: int = attempt, note: str = note) -> None:
            progress(at * total + done, (at + 1) * total, note + text)

        timings = measure_rounds(
            sessions,
            reference,
            is_enough=within([*whole, *beside] or components, relative_ci),
            budget_s=budget_s,
            min_rounds=_MIN_ROUNDS,
            timings=log.attempt(attempt),
            log=log,
            attempt=attempt,
            progress=report,
        )
        tried.append((timings, noise_of(timings, components, whole, attempts=attempt + 1)))
        if not is_noisy(tried[-1][1]):
            break
    log.finish()
    timings, _ = min(tried, key=lambda one: max(one[1].component_ci, one[1].whole_ci, one[1].split))
    return timings, len(tried)


def _calibrate(kit: Kit, found: Mapping[str, Latency], *, split: float) -> Calibration | None:
    if len(kit.whole) < MIN_WHOLE:
        return None
    space = get_space(kit.space)
    components = all_components(space)
    whole = _whole_latencies(kit, found)
    counts = component_counts(space, space.encode([entry.spec for entry in whole])).astype(np.float64)
    latency_ms = np.asarray([found[component.name].latency_ms for component in components])
    return fit_calibration(components, latency_ms, counts, whole, split=split)


def _is_whole_better(kit: Kit, found: Mapping[str, Latency], calibration: Calibration) -> bool:
    """Whether a fit to the whole sub-DiTs predicts those left out of it better than a calibrated table does."""
    whole = _whole_latencies(kit, found)
    if len(whole) < MIN_WHOLE_ROWS:
        return False
    space = get_space(kit.space)
    parts_ms = np.asarray(
        [found[one.name].latency_ms if one.name in found else 0.0 for one in all_components(space)], dtype=np.float64
    )
    return fit_whole_model(space, whole, parts_ms=parts_ms).error.mean < calibration.error.mean


def _whole_latencies(kit: Kit, found: Mapping[str, Latency]) -> tuple[WholeLatency, ...]:
    return tuple(WholeLatency(entry.spec, found[entry.name]) for entry in kit.whole if entry.spec is not None)
