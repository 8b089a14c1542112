"""Comparison of two device profiles of one space: the ratio of latencies by kind, and where it is unusual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_profiles._profile import DeviceProfile
from device_profiles._statistics import kendall_tau
from device_profiles._statistics import spearman_rho
from subdit.core.errors import ProfileError
from subdit.space import Component

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KindRatio:
    """Latencies of one kind in the second profile over those in the first.

    Attributes:
        components: how many both profiles have.
        ratio: geometric mean.
        smallest: the smallest of them.
        largest: the largest of them.
    """

    kind: str
    components: int
    ratio: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class Disagreement:
    """A component whose ratio is far from what is usual between the two profiles.

    Attributes:
        ratio: latency in the second profile over that in the first.
        unusual: that ratio over the median ratio of all components.
        significant: whether the intervals of both latencies leave room for the usual ratio no more.
    """

    component: str
    first_ms: float
    second_ms: float
    ratio: float
    unusual: float
    significant: bool


@dataclass(frozen=True)
class Comparison:
    """Both profiles over the components that both have.

    Attributes:
        ratio: median over components of the second latency over the first.
        spearman: rank correlation of the latencies by Spearman, 1 for the same order.
        kendall_tau: the same by Kendall.
        kinds: slowest against the first profile first.
        disagreements: all components, the most unusual first.
    """

    components: int
    only_first: int
    only_second: int
    ratio: float
    spearman: float
    kendall_tau: float
    kinds: tuple[KindRatio, ...]
    disagreements: tuple[Disagreement, ...]


def compare_profiles(first: DeviceProfile, second: DeviceProfile) -> Comparison:
    """Compare two profiles; raises `ProfileError` where they are of two spaces or share fewer than two components."""
    if first.space_id != second.space_id:
        raise ProfileError(
            f"{first.id} is of space {first.space_id!r} and {second.id} of {second.space_id!r}; "
            "compare profiles of one space."
        )
    names = [name for name in first.components if name in second.components]
    if len(names) < 2:
        raise ProfileError(f"{first.id} and {second.id} share {len(names)} components; there is nothing to compare.")
    a = np.asarray([first.latency_ms[name] for name in names])
    b = np.asarray([second.latency_ms[name] for name in names])
    logs = np.log(b / a)
    usual = float(np.median(logs))
    kinds = np.asarray([Component.from_name(name).kind for name in names])
    ratios = [
        KindRatio(kind, int(here.sum()), *(float(np.exp(of(logs[here]))) for of in (np.mean, np.min, np.max)))
        for kind in sorted(set(kinds.tolist()))
        for here in [kinds == kind]
    ]
    intervals = np.asarray([[one.components[name].relative_ci for one in (first, second)] for name in names])
    noise = np.hypot(intervals[:, 0], intervals[:, 1])
    found = [
        Disagreement(
            component=names[index],
            first_ms=float(a[index]),
            second_ms=float(b[index]),
            ratio=float(np.exp(logs[index])),
            unusual=float(np.exp(logs[index] - usual)),
            significant=bool(abs(logs[index] - usual) > noise[index]),
        )
        for index in np.argsort(-np.abs(logs - usual), kind="stable")
    ]
    return Comparison(
        components=len(names),
        only_first=len(first.components) - len(names),
        only_second=len(second.components) - len(names),
        ratio=float(np.exp(usual)),
        spearman=spearman_rho(a, b),
        kendall_tau=kendall_tau(a, b),
        kinds=tuple(sorted(ratios, key=lambda one: -one.ratio)),
        disagreements=tuple(found),
    )
