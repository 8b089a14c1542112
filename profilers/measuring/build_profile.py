"""`build_profile`: raw timings of a kit to a device profile, wherever they were taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from device_profiles import MIN_WHOLE
from device_profiles import MIN_WHOLE_ROWS
from device_profiles import Calibration
from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import WholeLatency
from device_profiles import fit_calibration
from device_profiles import fit_whole_model
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from profilers.measuring.statistics import is_noisy
from profilers.measuring.statistics import latencies
from profilers.measuring.statistics import noise_of
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import Timings
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_params
from subdit.space import components_up_to


def empty_profile(
    kit: Kit, *, device: str, runtime: str, threads: int, conditions: Conditions, **identity: Any
) -> DeviceProfile:
    """The profile of a kit without latencies; `identity` are further fields, such as `delegate`."""
    return DeviceProfile(
        device=device,
        runtime=runtime,
        precision=kit.precision,
        threads=threads,
        space=kit.space,
        space_hash=kit.space_hash,
        space_definition=kit.space_definition,
        kit_hash=kit.hash,
        provenance="measured",
        noisy=True,
        components={},
        conditions=conditions,
        max_params=kit.max_params,
        **identity,
    )


def build_profile(
    kit: Kit,
    empty: DeviceProfile,
    timings: Timings,
    *,
    attempts: int = 1,
    by_whole: bool | None = None,
    pipeline: Sequence[str] = (),
) -> DeviceProfile:
    """The profile of a kit with latencies, noise and calibration from raw timings.

    Args:
        kit: whose components and whole sub-DiTs were timed, under their names, and the reference kernel as `REFERENCE`.
        empty: the profile but for these; its conditions get the reference kernel's latency.
        timings: all of them; of another machine, `cpu_ms` may be `wall_ms`.
        attempts: how often everything was measured.
        by_whole: True predicts from the whole sub-DiTs, with the table as the expectation; False by a calibrated table;
            None by whichever predicts left-out sub-DiTs better, and from the whole sub-DiTs for a kit without parts.
        pipeline: names of other parts of a pipeline that were timed.
    """
    found = latencies(timings)
    noise = noise_of(timings, kit.component_names, kit.whole_names, attempts=attempts)
    calibration = None if by_whole else calibrate(kit, kit.whole, found, split=noise.split)
    if by_whole is None:
        by_whole = not kit.components or (calibration is not None and _is_whole_better(kit, found, calibration))
    return dataclasses.replace(
        empty,
        noisy=is_noisy(noise),
        components={entry.name: found[entry.name] for entry in kit.components},
        conditions=dataclasses.replace(empty.conditions, reference_ms=found[REFERENCE].latency_ms),
        noise=noise,
        calibration=None if by_whole else calibration,
        pipeline={name: found[name] for name in pipeline},
        whole=whole_latencies(kit.whole, found) if by_whole else (),
    )


def calibrate(
    kit: Kit, entries: Sequence[KitEntry], found: Mapping[str, Latency], *, split: float = 0.0
) -> Calibration | None:
    """The calibration on some of a kit's whole sub-DiTs; None where they are too few or the kit has no parts."""
    if not kit.components or len(entries) < MIN_WHOLE:
        return None
    space = kit.search_space
    components = components_up_to(space, kit.max_params)
    whole = whole_latencies(entries, found)
    counts = component_counts(space, space.encode([entry.spec for entry in whole])).astype(np.float64)
    # Of all components of the space, those that a kit of small sub-DiTs has.
    measured = set(components)
    counts = counts[:, [component in measured for component in all_components(space)]]
    latency_ms = np.asarray([found[component.name].latency_ms for component in components])
    params = np.asarray([component_params(space, component) for component in components], dtype=np.float64)
    return fit_calibration(components, latency_ms, counts, whole, params=params, split=split)


def _is_whole_better(kit: Kit, found: Mapping[str, Latency], calibration: Calibration) -> bool:
    """Whether a fit to the whole sub-DiTs predicts those left out of it better than a calibrated table does."""
    whole = whole_latencies(kit.whole, found)
    if len(whole) < MIN_WHOLE_ROWS:
        return False
    space = kit.search_space
    parts_ms = np.asarray(
        [found[one.name].latency_ms if one.name in found else 0.0 for one in all_components(space)], dtype=np.float64
    )
    return fit_whole_model(space, whole, parts_ms=parts_ms).error.mean < calibration.error.mean


def whole_latencies(entries: Sequence[KitEntry], found: Mapping[str, Latency]) -> tuple[WholeLatency, ...]:
    """Whole sub-DiTs with their latencies, out of latencies by name."""
    return tuple(WholeLatency(entry.spec, found[entry.name]) for entry in entries if entry.spec is not None)
