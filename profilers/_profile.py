"""`profile`: measure a kit on this machine and write the device profile."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from device_profiles import MIN_WHOLE
from device_profiles import Calibration
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import WholeLatency
from device_profiles import fit_calibration
from device_profiles import profile_path
from device_profiles import save_profile
from profilers._affinity import cpus_text
from profilers._affinity import pinned
from profilers._conditions import device_name
from profilers._conditions import read_conditions
from profilers._kit import FORMATS
from profilers._kit import Kit
from profilers._kit import open_kit
from profilers._measure_kit import WHOLE_CI
from profilers._measure_kit import Plan
from profilers._measure_kit import load_checked
from profilers._measure_kit import measure_kit
from profilers._models import Measurement
from profilers._models import measurements_of
from profilers._models import read_static_inputs
from profilers._rounds import REFERENCE
from profilers._rounds import Timings
from profilers._runtimes import Array
from profilers._runtimes import Runtime
from profilers._runtimes import get_runtime
from profilers._statistics import is_noisy
from profilers._statistics import latencies
from profilers._statistics import noise_of
from subdit.errors import KitError
from subdit.errors import ProfileError
from subdit.errors import RunError
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from supernet.space import all_components
from supernet.space import component_counts
from supernet.space import components_up_to
from supernet.space import get_space


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
        calibrate: how many of the kit's whole sub-DiTs to calibrate on, by default all; with fewer than 6 there is no
            calibration.
        pin: numbers of the cores to run on, by default any.
        progress: reports seconds.
        force: replace the profile that is there, and measure anew.

    Returns:
        The profile, as saved.

    Raises:
        KitError: the kit is missing or damaged, or the runtime computes something else than torch on this machine.
        ProfileError: no such runtime, or an impossible device name, or cores that are not there.
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
    kit = dataclasses.replace(kit, whole=kit.whole[: len(kit.whole) if calibrate is None else calibrate])
    if not kit.components and not kit.whole:
        raise KitError(f"The kit {kit_dir} has nothing to measure; make it again with parts or whole sub-DiTs.")
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
        pool = load_checked(kit, chosen, threads=threads, progress=progress)
        empty = dataclasses.replace(empty, delegated_share=chosen.delegated_share)
        target = profile_path(empty) if out is None else out
        if target.exists() and not force:
            raise RunError(f"There is a profile at {target} already; name another device or file, or pass --force.")
        for label in sorted(models):
            given = inputs[label] if inputs and label in inputs else read_static_inputs(models[label])
            pool.add(label, partial(chosen.load, models[label], given, threads=threads))
            _ = pool[label]
        plan = Plan(kit, chosen, empty, pool, tuple(sorted(models)), cpus=cpus_text(pin))
        timings, attempts, hottest_c = measure_kit(plan, budget_s=budget_s, relative_ci=relative_ci, progress=progress)
    # Read again: when it ended, and how busy the machine was.
    conditions = read_conditions(chosen.version, reference_ms=None)
    conditions = dataclasses.replace(conditions, affinity=plan.cpus, temperature_c=hottest_c)
    made = profile_from_timings(kit, dataclasses.replace(empty, conditions=conditions), timings, attempts=attempts)
    save_profile(made, target, force=force)
    return made, measurements_of(timings, list(models))


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


def profile_from_timings(kit: Kit, empty: DeviceProfile, timings: Timings, *, attempts: int = 1) -> DeviceProfile:
    """The profile that raw timings of a kit make, wherever they were taken: latencies, noise, calibration.

    Args:
        kit: whose components and whole sub-DiTs were timed, under their names, and the reference kernel as `REFERENCE`.
        empty: the profile but for these; its conditions get the reference kernel's latency.
        timings: all of them; of another machine, `cpu_ms` may be `wall_ms`.
        attempts: how often everything was measured.
    """
    found = latencies(timings)
    noise = noise_of(
        timings, [entry.name for entry in kit.components], [entry.name for entry in kit.whole], attempts=attempts
    )
    return dataclasses.replace(
        empty,
        noisy=is_noisy(noise),
        components={entry.name: found[entry.name] for entry in kit.components},
        conditions=dataclasses.replace(empty.conditions, reference_ms=found[REFERENCE].latency_ms),
        noise=noise,
        calibration=_calibrate(kit, found),
    )


def _calibrate(kit: Kit, found: Mapping[str, Latency]) -> Calibration | None:
    if not kit.components or len(kit.whole) < MIN_WHOLE:
        return None
    space = get_space(kit.space)
    components = components_up_to(space, kit.max_params)
    whole = [WholeLatency(entry.spec, found[entry.name]) for entry in kit.whole if entry.spec is not None]
    counts = component_counts(space, space.encode([entry.spec for entry in whole])).astype(np.float64)
    # Of all components of the space, those that a kit of small sub-DiTs has.
    measured = set(components)
    counts = counts[:, [component in measured for component in all_components(space)]]
    latency_ms = np.asarray([found[component.name].latency_ms for component in components])
    return fit_calibration(components, latency_ms, counts, whole)
