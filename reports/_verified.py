"""A verification, read from the run: measured sub-DiTs of a front, and the latencies that they corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Protocol

from device_profiles import CorrectedLatencies
from device_profiles import DeviceProfile
from device_profiles import LatencyEstimate
from device_profiles import LatencyEstimator
from reports._results import Results
from subdit.core.errors import SearchError
from subdit.core.files import read_json
from subdit.space import EncodedSpecs


class Predictions(Protocol):
    """A predictor of latencies: a profile's estimator, or one that measurements correct."""

    def estimate(self, encoded: EncodedSpecs, /) -> LatencyEstimate: ...


@dataclass(frozen=True)
class MeasuredSpec:
    """A measured sub-DiT of the first front; `corrected_ms` is its latency by the corrected estimator."""

    spec: str
    predicted_ms: float
    corrected_ms: float
    measured_ms: float
    low_ms: float
    high_ms: float
    violates: bool


@dataclass(frozen=True)
class Verified:
    """A verification, as noted by the search whose front was measured, or by the corrected search.

    Attributes:
        first: name of the search whose front was measured.
        second: name of the search by the corrected table; empty where nothing was corrected.
        correction: of this search's latencies; None where this is the first search.
        machine_slower: time of the reference kernel over that in the profile; measurements are divided by it.
        doubts: why the measurements cannot be trusted.
        regret: fraction of the hypervolume of both fronts that the first lacks; None where there is no second search.
        regret_in: figures that the hypervolume is of.
    """

    first: str
    second: str
    correction: Mapping[str, Any] | None
    measured: tuple[MeasuredSpec, ...]
    mean_error: float
    worst_error: float
    common_factor: float
    machine_slower: float
    doubts: tuple[str, ...]
    regret: float | None
    regret_in: tuple[str, ...]


def read_verified(results: Results) -> Verified | None:
    """None where the search was neither verified nor corrected; raises `SearchError` where what is there is damaged."""
    folder = results.run.search(results.search)
    corrected, verified = folder / "correction.json", folder / "verify.json"
    path = corrected
    try:
        if corrected.is_file():
            stored = read_json(corrected, f"correction of search {results.search!r}")
            # One that was left behind by an earlier search of this name is of other latencies.
            if stored["latency_hash"] == results.config.get("latency_hash"):
                return _verified(stored["verified"], str(stored["first_search"]), stored["correction"], results)
        path = verified
        if verified.is_file():
            return _verified(
                read_json(verified, f"verification of search {results.search!r}"), results.search, None, results
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SearchError(f"The file {path} is damaged ({error!r}); verify the search again.") from error
    return None


def _verified(said: Mapping[str, Any], first: str, correction: Mapping[str, Any] | None, results: Results) -> Verified:
    regret, quality = said.get("regret"), str(next(iter(results.config["proxies"])))
    return Verified(
        first=first,
        second=str(said.get("second_search", "")),
        correction=correction,
        measured=tuple(
            MeasuredSpec(
                spec=str(entry["spec"]),
                predicted_ms=float(entry["predicted_ms"]),
                corrected_ms=float(entry["corrected_ms"]),
                measured_ms=float(entry["measured_ms"]),
                low_ms=float(entry["low_ms"]),
                high_ms=float(entry["high_ms"]),
                violates=bool(entry["violates"]),
            )
            for entry in said["measured"]
        ),
        mean_error=float(said["mean_error"]),
        worst_error=float(said["worst_error"]),
        common_factor=float(said["common_factor"]),
        machine_slower=float(said["machine_slower"]),
        doubts=tuple(map(str, said["doubts"])),
        regret=None if regret is None else float(regret),
        # Format 1 called the first proxy, whatever its id was, `quality`.
        regret_in=tuple(quality if name == "quality" else str(name) for name in said.get("regret_in", ())),
    )


def predictions(results: Results, profile: DeviceProfile) -> Predictions:
    """Latencies on the profile's device as the search had them, corrected where they were; may raise `ProfileError`."""
    space = profile.search_space
    plain = LatencyEstimator(profile, space)
    verified = read_verified(results)
    if verified is None or verified.correction is None:
        return plain
    return CorrectedLatencies.from_dict(space, plain, verified.correction)


def corrected_by(results: Results) -> str:
    """Such as "corrected by 8 measurements"; empty where the search's latencies are the profile's own."""
    verified = read_verified(results)
    if verified is None or verified.correction is None:
        return ""
    count = len(verified.measured)
    return f"corrected by {count} measurement{'' if count == 1 else 's'}"
