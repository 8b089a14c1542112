"""`profile`: measure a kit on this machine and write the device profile."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from device_profiles import DeviceProfile
from device_profiles import profile_path
from device_profiles import save_profile
from profilers._affinity import cpus_text
from profilers._affinity import pinned
from profilers._conditions import device_name
from profilers._conditions import read_conditions
from profilers._from_timings import profile_from_timings
from profilers._kit import FORMATS
from profilers._kit import Kit
from profilers._kit import open_kit
from profilers._measure_kit import WHOLE_CI
from profilers._measure_kit import Plan
from profilers._measure_kit import load_checked
from profilers._measure_kit import measure_kit
from profilers._models import Measurement
from profilers._models import measurements_of
from profilers._selection import check_pipeline
from profilers._selection import choose_whole
from profilers._selection import drawn_inputs
from profilers._selection import is_by_whole
from profilers.runtimes import Array
from profilers.runtimes import Runtime
from profilers.runtimes import get_runtime
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import components_up_to
from subdit.space import get_space


def profile(
    kit_dir: Path,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int = 1,
    device: str | None = None,
    out: Path | None = None,
    budget_s: float = 60.0,
    calibrate: int | None = None,
    whole: int | None = None,
    also: Mapping[str, Path] | None = None,
    pin: tuple[int, ...] | None = None,
    progress: ProgressCallback = no_progress,
    force: bool = False,
) -> DeviceProfile:
    """Measure a kit here, calibrate, and save the profile; goes on where it was when it was killed.

    Raw timings are kept in the kit's folder `timings`.

    Args:
        kit_dir: folder of the kit.
        runtime: what runs the components, by default the one that the kit was made for.
        precision: that the kit must have; by default whatever it has.
        threads: how many threads the runtime may use.
        device: name of the device, by default made from the system's and the processor's.
        out: file to write, by default in the user's registry.
        budget_s: seconds per attempt, but there are at least 20 rounds; up to three attempts where the machine is noisy
            and a budget holds the rounds.
        calibrate: calibrate the table on so many of the kit's whole sub-DiTs; with fewer than 6 there is no
            calibration. Where neither this nor `whole` is given, all of them are measured, and predict the way that
            predicts those left out better.
        whole: measure so many of the kit's whole sub-DiTs and predict all others from them, with the parts as what is
            expected where the kit has any; by default only where it has none.
        also: what else a picture takes, models in the kit's format by "text_encoder" or "decoder", measured in the
            same rounds.
        pin: numbers of the cores to run on, by default any.
        progress: reports seconds.
        force: replace the profile that is there. A measurement that was interrupted is gone on with all the same;
            delete the kit's `timings` to begin it anew.

    Returns:
        The profile, as saved.

    Raises:
        KitError: the kit is missing or damaged, has too few whole sub-DiTs, or the runtime computes something else than
            torch on this machine.
        ProfileError: no such runtime, an impossible device name, cores that are not there, too few whole sub-DiTs asked
            for, or no such part of a pipeline.
        RunError: there is such a profile already and `force` is not given.
    """
    return profile_beside(
        kit_dir,
        {},
        runtime=runtime,
        precision=precision,
        threads=threads,
        device=device,
        out=out,
        budget_s=budget_s,
        calibrate=calibrate,
        whole=whole,
        also=also,
        pin=pin,
        progress=progress,
        force=force,
    )[0]


def profile_beside(
    kit_dir: Path,
    models: Mapping[str, Path],
    *,
    inputs: Mapping[str, Mapping[str, Array]] | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int = 1,
    device: str | None = None,
    out: Path | None = None,
    budget_s: float = 60.0,
    calibrate: int | None = None,
    whole: int | None = None,
    also: Mapping[str, Path] | None = None,
    relative_ci: float = WHOLE_CI,
    pin: tuple[int, ...] | None = None,
    progress: ProgressCallback = no_progress,
    force: bool = False,
) -> tuple[DeviceProfile, dict[str, Measurement]]:
    """`profile`, and other models measured in the same interleaved rounds; the profile learns nothing from those.

    What is measured minutes apart on a shared machine is measured on two machines: its memory may have become slower
    and its cores not, which no reference kernel tells apart. So a prediction is judged within the same rounds.

    Args:
        models: files by name, of the kit's format; none may have the name of an entry of the kit.
        inputs: per model its inputs by name; for ONNX files they need not be given.
        relative_ci: half the 95 % interval over the latency at which measuring stops, for every whole model.

    Returns:
        The profile, as saved, and the measurements by name.

    Raises:
        KitError, ProfileError, RunError: as `profile`; `KitError` also for a model that cannot be loaded.
    """
    kit, chosen = _open(kit_dir, runtime, precision)
    name = device_name() if device is None else device
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise ProfileError(f"{name!r} cannot name a device; use lower-case letters, digits, '.', '_' and '-'.")
    if threads < 1:
        raise ProfileError(f"A runtime cannot use {threads} threads; pass at least 1.")
    kit = dataclasses.replace(kit, whole=choose_whole(kit, calibrate=calibrate, whole=whole))
    by_whole = is_by_whole(kit, calibrate=calibrate, whole=whole)
    parts = check_pipeline(also or {})
    beside = {**models, **parts}
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
        delegate=chosen.delegate,
        compute_precision=chosen.compute_precision,
        max_params=kit.max_params,
    )
    with pinned(pin):
        # Where a delegate takes a share of the operators, that is known when they are loaded, and part of the id.
        pool = load_checked(kit, chosen, threads=threads, progress=partial(_comparing, progress, budget_s))
        empty = dataclasses.replace(empty, delegated_share=chosen.delegated_share)
        target = profile_path(empty) if out is None else out
        if target.exists() and not force:
            raise RunError(f"There is a profile at {target} already; name another device or file, or pass --force.")
        like = (kit.whole or kit.components)[0].model
        for label in sorted(beside):
            given = (inputs or {}).get(label) or drawn_inputs(beside[label], like)
            pool.add(label, partial(chosen.load, beside[label], given, threads=threads))
            _ = pool[label]
        plan = Plan(kit, chosen, empty, pool, beside, cpus=cpus_text(pin))
        measured = measure_kit(plan, budget_s=budget_s, relative_ci=relative_ci, progress=progress)
    # Read again: when it ended, and how busy the machine was.
    conditions = read_conditions(chosen.version, reference_ms=None)
    conditions = dataclasses.replace(conditions, affinity=plan.cpus, temperature_c=measured.hottest_c)
    ended = dataclasses.replace(empty, conditions=conditions)
    timings, attempts = measured.timings, measured.attempts
    made = profile_from_timings(kit, ended, timings, attempts=attempts, by_whole=by_whole, pipeline=tuple(parts))
    save_profile(made, target, force=force)
    measured.log.finish()
    return made, measurements_of(timings, list(models))


def _comparing(progress: ProgressCallback, budget_s: float, done: float, total: float, note: str) -> None:
    """Of the budget's seconds none is used up yet."""
    progress(0.0, budget_s, f"{note}, {done + 1:.0f} of {total:.0f}")


def _open(kit_dir: Path, runtime: str | None, precision: str | None) -> tuple[Kit, Runtime]:
    """The kit, and the runtime that is to measure it; raises `KitError` where they do not fit."""
    kit = open_kit(kit_dir)
    if precision not in (None, kit.precision):
        raise KitError(
            f"The kit {kit_dir} was made in {kit.precision}, not in {precision}; make another with --precision "
            f"{precision}."
        )
    name = kit.runtime if runtime is None else runtime
    chosen = get_runtime(name, precision=kit.precision)
    if kit.format != FORMATS[chosen.model_suffix]:
        raise KitError(
            f"The kit {kit_dir} was made for {kit.runtime} and holds {kit.format} models, which {name} does not load; "
            f"make another with --runtime {name}."
        )
    expected = [component.name for component in components_up_to(get_space(kit.space), kit.max_params)]
    if kit.components and [entry.name for entry in kit.components] != expected:
        raise KitError(
            f"The kit {kit_dir} was made for another version of space {kit.space!r}; make it again with --force."
        )
    return kit, chosen
