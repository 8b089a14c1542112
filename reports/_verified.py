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

# Keys that earlier versions wrote into verify.json and correction.json, and those of today.
_FORMER = {
    "mean_error": "mean_relative_error",
    "worst_error": "worst_relative_error",
    "common_factor": "measured_over_predicted",
    "machine_slower": "reference_kernel_ratio",
    "regret": "hypervolume_regret",
    "regret_in": "hypervolume_figures",
    "low_ms": "measured_low_ms",
    "high_ms": "measured_high_ms",
    "violates": "violates_limit",
}


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
    measured_low_ms: float
    measured_high_ms: float
    violates_limit: bool


@dataclass(frozen=True)
class Verified:
    """A verification, as noted by the search whose front was measured, or by the corrected search.

    Attributes:
        first: name of the search whose front was measured.
        second: name of the search by the corrected table; empty where nothing was corrected.
        correction: of this search's latencies; None where this is the first search.
        mean_relative_error: of predictions, without their signs; and `worst_relative_error` the largest.
        measured_over_predicted: the factor that all predictions have in common.
        reference_kernel_ratio: time of the reference kernel over that in the profile; measurements are divided by it.
        doubts: why the measurements cannot be trusted.
        hypervolume_regret: fraction of the hypervolume of both fronts that the first lacks; None where there is no
            second search.
        hypervolume_figures: names of the figures that the hypervolume is of.
    """

    first: str
    second: str
    correction: Mapping[str, Any] | None
    measured: tuple[MeasuredSpec, ...]
    mean_relative_error: float
    worst_relative_error: float
    measured_over_predicted: float
    reference_kernel_ratio: float
    doubts: tuple[str, ...]
    hypervolume_regret: float | None
    hypervolume_figures: tuple[str, ...]


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


def _verified(
    stored: Mapping[str, Any], first: str, correction: Mapping[str, Any] | None, results: Results
) -> Verified:
    said = _of_today(stored)
    regret, quality = said.get("hypervolume_regret"), str(next(iter(results.config["proxies"])))
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
                measured_low_ms=float(entry["measured_low_ms"]),
                measured_high_ms=float(entry["measured_high_ms"]),
                violates_limit=bool(entry["violates_limit"]),
            )
            for entry in map(_of_today, said["measured"])
        ),
        mean_relative_error=float(said["mean_relative_error"]),
        worst_relative_error=float(said["worst_relative_error"]),
        measured_over_predicted=float(said["measured_over_predicted"]),
        reference_kernel_ratio=float(said["reference_kernel_ratio"]),
        doubts=tuple(map(str, said["doubts"])),
        hypervolume_regret=None if regret is None else float(regret),
        hypervolume_figures=tuple(
            # Format 1 called the first proxy, whatever its id was, `quality`.
            quality if name == "quality" else str(name)
            for name in said.get("hypervolume_figures", ())
        ),
    )


def _of_today(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {_FORMER.get(key, key): value for key, value in stored.items()}


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
