"""What a pick that was searched for another device costs on this one.

The run's other searches may have found their fronts with other latency tables: of another phone, or of the same phone
with another runtime or precision. The latencies of their picks are predicted on this device and compared with this
search's own front. Quality depends on the spec alone, so it needs no new evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from device_profiles import DeviceProfile
from device_profiles import LatencyEstimator
from device_profiles import half_apart_ms
from reports._limits import broken_limits
from reports._results import ReportedPick
from reports._results import Results
from reports._results import read_results
from reports._verified import corrected_by
from reports._verified import predictions
from subdit.core.errors import SubditError
from subdit.results import Trial

# What was predicted by the search and is predicted here again is the same number, but for the order of sums.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class OtherPick:
    """A pick of another search, on this search's device.

    Attributes:
        quality: name of the quality proxy of both searches.
        latency_ms: predicted here; `latency_low_ms` to `latency_high_ms` is its 95 % interval.
        latency_apart_ms: half the 95 % interval by which it is told apart from other sub-DiTs here.
        as_good: the fastest trial of this search's front that is at least as good; None where none is.
        as_fast: the best trial of this search's front that is at least as fast here; None where none is.
        broken: names of this search's limits that it breaks.
        unchecked: names of this search's limits that cannot be checked here.
    """

    pick: ReportedPick
    quality: str
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_apart_ms: float
    as_good: Trial | None
    as_fast: Trial | None
    broken: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether it breaks none of this search's limits, as far as they can be checked."""
        return not self.broken

    @property
    def latency_paid(self) -> float | None:
        """Relative to the fastest that is at least as good; below zero where the other search found a better one."""
        return None if self.as_good is None else self.latency_ms / self.as_good.latency_ms - 1

    @property
    def quality_paid(self) -> float | None:
        """In the unit of quality, against the best that is at least as fast here."""
        return None if self.as_fast is None else self.loss - self.as_fast.value(self.quality)

    @property
    def loss(self) -> float:
        """Quality loss of the pick."""
        return self.pick.trial.value(self.quality)

    @property
    def within_noise(self) -> bool:
        """Whether its own error holds the latency of the fastest that is at least as good."""
        return self.as_good is not None and abs(self.latency_ms - self.as_good.latency_ms) <= self.latency_apart_ms


@dataclass(frozen=True)
class OtherDevice:
    """Another search of the run, as this search's device sees it.

    Attributes:
        shared: how many sub-DiTs lie on both fronts.
        front: how many lie on the other's.
        corrected: such as "corrected by 8 measurements"; empty where its own latencies were not corrected.
        beaten: fraction of the other's front that this search's front dominates here.
    """

    search: str
    device: str
    provenance: str
    shared: int
    front: int
    beaten: float
    picks: tuple[OtherPick, ...]
    corrected: str = ""


def other_devices(results: Results, profile: DeviceProfile | None) -> tuple[OtherDevice, ...]:
    """The run's finished searches for other devices with the same measure of quality, by name.

    `profile` is the one that this search went by. A search that is unfinished or damaged is left out: it is not this
    report's.
    """
    if profile is None:
        return ()
    found = []
    for path in sorted(results.run.path.glob("searches/*/search.json")):
        if path.parent.name == results.search:
            continue
        try:
            other = read_results(results.run, path.parent.name)
            if _proxy(other) != _proxy(results) or _device(other) == _device(results):
                continue
            found.append(compare_searches(results, other, LatencyEstimator(profile, profile.search_space)))
        except SubditError:
            continue
    return tuple(found)


def compare_searches(results: Results, other: Results, estimator: LatencyEstimator) -> OtherDevice:
    """The picks of `other` on the device of `results`, whose latencies the estimator knows.

    Where the latencies of `results` were corrected by measurements, so are these.
    """
    encoded = estimator.space.encode([trial.spec for trial in other.front])
    here = predictions(results, estimator.profile).estimate(encoded)
    apart_ms = half_apart_ms(here)
    own_ms = np.asarray([trial.latency_ms for trial in results.front])
    name = results.quality
    own_quality = np.asarray([trial.value(name) for trial in results.front])
    quality = np.asarray([trial.value(name) for trial in other.front])
    # Dominated: none worse in both, and better in one.
    none_worse = (own_ms <= here.latency_ms[:, None]) & (own_quality <= quality[:, None])
    better = (own_ms < here.latency_ms[:, None]) | (own_quality < quality[:, None])
    mine = {trial.spec for trial in results.front}
    # A spec of both fronts is no worse for having been predicted once by the search and once here.
    shared = np.asarray([trial.spec in mine for trial in other.front])
    indices = {trial.spec: index for index, trial in enumerate(other.front)}
    facts = other.config.get("device_facts")
    limited = broken_limits(results, estimator.profile, other.front, here)
    picks = []
    for pick in other.picks:
        index = indices[pick.trial.spec]
        latency_ms = float(here.latency_ms[index])
        loss = pick.trial.value(name)
        picks.append(
            OtherPick(
                pick,
                name,
                latency_ms,
                float(here.low_ms[index]),
                float(here.high_ms[index]),
                float(apart_ms[index]),
                min(
                    (trial for trial in results.front if trial.value(name) <= loss),
                    key=lambda trial: trial.latency_ms,
                    default=None,
                ),
                min(
                    (trial for trial in results.front if trial.latency_ms <= latency_ms * (1 + _ROUNDING)),
                    key=lambda trial: trial.value(name),
                    default=None,
                ),
                limited[index].figures,
                limited[index].unchecked,
            )
        )
    return OtherDevice(
        search=other.search,
        device=_device(other),
        provenance=str(facts.get("provenance", "unknown")) if isinstance(facts, dict) else "unknown",
        shared=int(shared.sum()),
        front=len(other.front),
        beaten=float(((none_worse & better).any(axis=1) & ~shared).mean()),
        picks=tuple(picks),
        corrected=corrected_by(other),
    )


def _proxy(results: Results) -> tuple[str, Any]:
    return results.quality, results.config["proxies"][results.quality]


def _device(results: Results) -> str:
    return str(results.config.get("device"))
