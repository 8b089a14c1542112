"""Whether a device profile can be true: its table has no gaps, latency grows with what has to be computed, and so on.

Each finding is a sentence with the names and numbers that disagree, so that the author of the profile can look them up,
and a program can judge a profile that it has never seen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np

from device_profiles._finding import Finding
from device_profiles._finding import ms
from device_profiles._finding import percent
from device_profiles._finding import span
from device_profiles._plausibility_calibration import calibration_findings
from device_profiles._plausibility_calibration import report_findings
from device_profiles._plausibility_fields import all_whole
from device_profiles._plausibility_fields import identity_findings
from device_profiles._plausibility_fields import pipeline_findings
from device_profiles._plausibility_fields import whole_findings
from device_profiles._profile import NOISE_LIMIT
from device_profiles._profile import DeviceProfile
from device_profiles._profile import Latency
from device_profiles._profile import WholeLatency
from device_profiles._statistics import Z_95
from subdit.core.errors import SpaceError
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import all_components
from subdit.space import components_up_to
from subdit.space import known_dimensions

# A good profile is refused for an order of latencies by chance in at most this fraction of cases, over all its pairs.
_FALSE_ALARMS = 0.01
# Kernels prefer some sizes: a larger piece may truly be faster than a smaller one by this fraction.
_SIZE_EFFECT = 0.05
# The largest limit on noise, and the widest interval of a component, that mean anything.
_LARGEST_LIMIT = 0.10
_WIDEST_INTERVAL = 0.25
# The median interval that a profile states may differ by this much from that of its components.
_STATED = 0.005


def _growing() -> dict[str, str]:
    """What takes no less to compute where it is larger, and its noun; the radius up to where strips need no cut."""
    return {"grid": "number of tokens per side"} | {
        name: dimension.grows for name, dimension in known_dimensions().items() if dimension.grows
    }


def check_plausibility(profile: DeviceProfile) -> tuple[Finding, ...]:
    """Everything that is wrong with a profile which the schema allows, the most basic first."""
    try:
        space = profile.search_space
    except SpaceError:
        return (Finding("space", f"The space {profile.space!r} is not known here, so its table cannot be judged."),)
    gaps = tuple(_gaps(profile, space))
    found = [*identity_findings(profile), *gaps, *_intervals(profile), *pipeline_findings(profile, space)]
    found += [*_order(profile), *_growth(profile), *_noise(profile), *report_findings(profile)]
    if not gaps:
        found += [*calibration_findings(profile, space), *whole_findings(profile, space)]
    return tuple(found)


def _gaps(profile: DeviceProfile, space: SearchSpace) -> Iterator[Finding]:
    expected = {component.name for component in components_up_to(space, profile.max_params)}
    if not expected:
        yield Finding("gap", f"No sub-DiT of {space.name!r} is as small as the profile's {profile.max_params:,}.")
    for name in sorted(expected - set(profile.components)) if profile.components else ():
        yield Finding("gap", f"{name} is missing; the space {space.name!r} needs its latency.", (name,))
    known = {component.name for component in all_components(space)}
    for name in sorted(set(profile.components) - known):
        yield Finding("gap", f"{name} is no component of the space {space.name!r}.", (name,))


def _intervals(profile: DeviceProfile) -> Iterator[Finding]:
    whole = all_whole(profile)
    named = [*profile.components.items(), *((f"whole sub-DiT {entry.spec.hash}", entry.latency) for entry in whole)]
    named += profile.pipeline.items()
    for name, latency in named:
        if not latency.low_ms <= latency.latency_ms <= latency.high_ms:
            yield Finding(
                "interval",
                f"The latency of {name}, {ms(latency.latency_ms)}, is outside its own interval, {span(latency)}.",
                (name,),
            )
        elif latency.relative_ci > _WIDEST_INTERVAL:
            yield Finding(
                "noise",
                f"The interval of {name}, {span(latency)}, is +-{percent(latency.relative_ci)} of its latency; at "
                f"most {percent(_WIDEST_INTERVAL)} says something.",
                (name,),
            )


def _order(profile: DeviceProfile) -> Iterator[Finding]:
    known = {component.name: component for component in all_components(profile.search_space)}
    present = [(known[name], latency) for name, latency in profile.components.items() if name in known]
    pairs = []
    growing = _growing()
    for dimension in growing:
        alike: dict[Any, list[tuple[int, str, Latency]]] = {}
        for component, latency in present:
            values = {"grid": component.grid, **component.values}
            whole = dimension == "bna_radius" and _leaves_strips_whole(component.bna_blocks, component.bna_radius)
            if dimension in values and not whole:
                size = values.pop(dimension)
                alike.setdefault((component.kind, *values.items()), []).append((size, component.name, latency))
        for group in alike.values():
            pairs += [(dimension, *pair) for pair in itertools.combinations(sorted(group, key=lambda one: one[0]), 2)]
    for dimension, (small, small_name, faster), (large, large_name, slower) in pairs:
        allowed = _tolerance(profile, faster, slower, len(pairs))
        missing = faster.latency_ms - slower.latency_ms
        if missing > allowed:
            yield Finding(
                "order",
                f"{large_name} takes {ms(slower.latency_ms)}, less than {small_name} with {ms(faster.latency_ms)}, "
                f"although its {growing[dimension]} is {large} against {small}; noise explains {ms(allowed)} of "
                f"{ms(missing)}.",
                (small_name, large_name),
            )
    yield from _whole_order(profile)


def _whole_order(profile: DeviceProfile) -> Iterator[Finding]:
    """Whole sub-DiTs: none is faster than one that it contains."""
    whole = all_whole(profile)
    pairs = [(small, large) for small, large in itertools.permutations(whole, 2) if _contains(large, small)]
    for small, large in pairs:
        allowed = _tolerance(profile, small.latency, large.latency, len(pairs))
        missing = small.latency.latency_ms - large.latency.latency_ms
        if missing > allowed:
            yield Finding(
                "order",
                f"The whole sub-DiT '{large.spec}' takes {ms(large.latency.latency_ms)}, less than "
                f"'{small.spec}', than which nothing of it is smaller, with {ms(small.latency.latency_ms)}; noise "
                f"explains {ms(allowed)} of {ms(missing)}.",
            )


def _contains(large: WholeLatency, small: WholeLatency) -> bool:
    a, b = large.spec, small.spec
    # The same strips, cut in the same way.
    same = all(
        more == less or not _leaves_strips_whole(blocks, more)
        for blocks, more, less in zip(a.bna_blocks, a.bna_radius, b.bna_radius, strict=True)
    )
    for name, dimension in known_dimensions().items():
        if name in a.values:
            pairs = zip(dimension.split(a.values[name]), dimension.split(b.values[name]), strict=True)
            same &= all(more >= less if dimension.grows else more == less for more, less in pairs)
    return same and a != b


def _leaves_strips_whole(blocks: int, radius: int) -> bool:
    """Whether some strip sees all others.

    It needs no cut, so with a larger radius a runtime has fewer operators: with 4 strips, radius 2 leaves two of them
    whole, and LiteRT in int8 takes 6 % less for it than for radius 1.
    """
    return 2 * radius >= blocks - 1


def _tolerance(profile: DeviceProfile, first: Latency, second: Latency, pairs: int) -> float:
    """Milliseconds by which `first` may exceed `second`, which should be slower, as one of a number of pairs."""
    halves = [(one.high_ms - one.low_ms) / 2 for one in (first, second)]
    split = profile.noise.split if profile.noise else 0.0
    again = [split * one.latency_ms for one in (first, second)]
    error = math.hypot(math.hypot(*halves) / Z_95, *again)
    return NormalDist().inv_cdf(1 - _FALSE_ALARMS / pairs) * error + _SIZE_EFFECT * second.latency_ms


def _growth(profile: DeviceProfile) -> Iterator[Finding]:
    """All components of the largest width together must take longer than those of the smallest."""
    by_width: dict[int, dict[Component, Latency]] = {}
    for component in all_components(profile.search_space):
        if component.width and component.name in profile.components:
            found = by_width.setdefault(component.width, {})
            found[replace(component, width=0)] = profile.components[component.name]
    if len(by_width) < 2:
        return
    small, large = min(by_width), max(by_width)
    # A table of small sub-DiTs does not have every component at its largest width.
    both = by_width[small].keys() & by_width[large].keys()
    sums = []
    for width in (small, large):
        taken = [by_width[width][component] for component in both]
        half = float(np.sqrt(sum(((one.high_ms - one.low_ms) / 2) ** 2 for one in taken)))
        sums.append((sum(one.latency_ms for one in taken), half))
    (few, few_half), (many, many_half) = sums
    if many <= few + float(np.hypot(few_half, many_half)):
        yield Finding(
            "growth",
            f"All components of width {large} together take {ms(many)} and those of width {small} {ms(few)}; latency "
            f"must grow by more than their noise, {ms(float(np.hypot(few_half, many_half)))}.",
        )


def _noise(profile: DeviceProfile) -> Iterator[Finding]:
    noise = profile.noise
    if profile.noisy and noise is None and profile.source:
        yield Finding(
            "noise",
            "The profile says of itself that its spread is too wide or not known; import logs of a machine at rest, "
            "which tell their spread.",
        )
    elif profile.noisy:
        yield Finding("noise", "The profile says of itself that the machine was too noisy; measure it again at rest.")
    if noise is None:
        if profile.provenance == "measured" and not profile.source:
            yield Finding("noise", "The profile is measured but states no noise; measure it with 'subdit profile'.")
        elif profile.provenance == "measured" and not profile.noisy:
            yield from _noise_of_another_tool(profile)
        return
    if noise.limit > _LARGEST_LIMIT:
        yield Finding(
            "noise",
            f"The limit on noise is {percent(noise.limit)}; above {percent(_LARGEST_LIMIT)} it is none.",
        )
    for label, value in (("component_ci", noise.component_ci), ("whole_ci", noise.whole_ci), ("split", noise.split)):
        if value > noise.limit and not profile.noisy:
            yield Finding("noise", f"The noise {label} is {percent(value)}, above its limit {percent(noise.limit)}.")
    stated = {
        "component_ci": ("components", [latency for latency in profile.components.values()], noise.component_ci),
        "whole_ci": ("whole sub-DiTs", [entry.latency for entry in all_whole(profile)], noise.whole_ci),
    }
    for label, (what, latencies, value) in stated.items():
        actual = float(np.median([latency.relative_ci for latency in latencies])) if latencies else 0.0
        if profile.provenance == "measured" and actual > value + _STATED:
            yield Finding(
                "noise",
                f"The median interval of the {what} is +-{percent(actual)}, but the profile states {label} as "
                f"{percent(value)}.",
            )


def _noise_of_another_tool(profile: DeviceProfile) -> Iterator[Finding]:
    """Other tools know nothing of rounds and halves, so intervals are all that can show that the machine was quiet."""
    named = list(profile.components.items())
    named = named or [(f"the whole sub-DiT '{entry.spec}'", entry.latency) for entry in all_whole(profile)]
    if not named:
        return
    if silent := [name for name, latency in named if latency.low_ms == latency.high_ms]:
        yield Finding(
            "noise",
            f"{len(silent)} of {len(named)} intervals have no width, such as that of {silent[0]}; a profile whose "
            "spread is not known is marked noisy.",
        )
    median = float(np.median([latency.relative_ci for _, latency in named]))
    if median > NOISE_LIMIT:
        yield Finding(
            "noise",
            f"The median interval is +-{percent(median)}, above the usual limit {percent(NOISE_LIMIT)}, and the "
            "profile is not marked noisy; measure it again at rest.",
        )
