"""`profile`: measure a kit on this machine and write the device profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from device_profiles import DeviceProfile
from device_profiles import profile_path
from device_profiles import save_profile
from profilers.kits.kit import open_kit
from profilers.kits.kit_estimate import DEFAULT_BUDGET_S
from profilers.measuring.affinity import cpus_text
from profilers.measuring.affinity import pinned
from profilers.measuring.build_profile import build_profile
from profilers.measuring.build_profile import empty_profile
from profilers.measuring.conditions import device_name
from profilers.measuring.conditions import read_conditions
from profilers.measuring.kit_selection import check_device
from profilers.measuring.kit_selection import check_pipeline
from profilers.measuring.kit_selection import require_new
from profilers.measuring.kit_selection import select_models
from profilers.measuring.measure_kit import WHOLE_CI
from profilers.measuring.measure_kit import Plan
from profilers.measuring.measure_kit import load_checked
from profilers.measuring.measure_kit import measure_kit
from profilers.measuring.measure_models import Measurement
from profilers.measuring.measure_models import measurements_of
from profilers.runtimes import Array
from profilers.runtimes import get_runtime
from subdit.core.errors import KitError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress


def profile(
    kit_dir: Path,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int = 1,
    device: str | None = None,
    out: Path | None = None,
    budget_s: float = DEFAULT_BUDGET_S,
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
        calibrate: number of the kit's whole sub-DiTs to calibrate the table on; with fewer than 6 there is no
            calibration. Where neither this nor `whole` is given, all of them are measured, and the way of predicting is
            the one that predicts left-out sub-DiTs better.
        whole: number of the kit's whole sub-DiTs to measure and predict all others from, with the parts as the
            expectation where the kit has any; by default only where it has none.
        also: what else a picture takes, models in the kit's format by "text_encoder" or "decoder", measured in the
            same rounds.
        pin: numbers of the cores to run on, by default any.
        progress: reports seconds.
        force: replace the profile that is there. An interrupted measurement still goes on; delete the kit's
            folder `timings` to begin again.

    Returns:
        The profile, as saved.

    Raises:
        KitError: the kit is missing or damaged, has too few whole sub-DiTs, or the runtime computes other values than
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
    budget_s: float = DEFAULT_BUDGET_S,
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
        inputs: per model its inputs by name; those not given are drawn for the shapes in the file.
        relative_ci: half the 95 % interval over the latency at which measuring stops, for every whole model.

    Returns:
        The profile, as saved, and the measurements by name.

    Raises:
        KitError, ProfileError, RunError: as `profile`; `KitError` also for a model that cannot be loaded.
    """
    kit, by_whole = select_models(open_kit(kit_dir), precision=precision, calibrate=calibrate, whole=whole)
    chosen = get_runtime(kit.runtime if runtime is None else runtime, precision=kit.precision)
    if kit.format != chosen.format:
        raise KitError(
            f"The kit {kit_dir} was made for {kit.runtime} and holds {kit.format} models, which {runtime} does not "
            f"load; make another with --runtime {runtime}."
        )
    check_device(device, threads)
    parts = check_pipeline(also or {})
    beside = {**models, **parts}
    empty = empty_profile(
        kit,
        device=device or device_name(),
        runtime=chosen.name,
        threads=threads,
        conditions=read_conditions(**chosen.conditions()),
        delegate=chosen.delegate,
        compute_precision=chosen.compute_precision,
    )
    with pinned(pin):
        # The fraction of the operators that a delegate takes is known when they are loaded, and part of the id.
        pool = load_checked(kit, chosen, threads=threads, progress=partial(_comparing, progress, budget_s))
        empty = dataclasses.replace(empty, delegated_share=chosen.delegated_share)
        target = out or profile_path(empty)
        require_new(target, force=force)
        for label in sorted(beside):
            model = beside[label]
            if model.suffix != chosen.suffix:
                raise KitError(
                    f"The model {model} is no {chosen.suffix} file as those of the kit are; export it as one."
                )
            given = (inputs or {}).get(label) or chosen.draw_inputs(model)
            pool.add(label, partial(chosen.load, model, given, threads=threads))
            _ = pool[label]
        plan = Plan(kit, chosen, empty, pool, beside, cpus=cpus_text(pin))
        measured = measure_kit(plan, budget_s=budget_s, relative_ci=relative_ci, progress=progress)
    # Read again: when it ended, and how busy the machine was.
    conditions = read_conditions(affinity=plan.cpus, temperature_c=measured.hottest_c, **chosen.conditions())
    ended = dataclasses.replace(empty, conditions=conditions)
    timings, attempts = measured.timings, measured.attempts
    made = build_profile(kit, ended, timings, attempts=attempts, by_whole=by_whole, pipeline=tuple(parts))
    save_profile(made, target, force=force)
    measured.log.finish()
    return made, measurements_of(timings, list(models))


def _comparing(progress: ProgressCallback, budget_s: float, done: float, total: float, note: str) -> None:
    """Of the budget's seconds none is used up yet."""
    progress(0.0, budget_s, f"{note}, {done + 1:.0f} of {total:.0f}")
