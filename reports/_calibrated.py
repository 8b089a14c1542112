"""A calibration, read from the run: sub-DiTs trained on their own, and the quality that they corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports._figures import Line
from reports._figures import percent
from reports._results import Results
from subdit.core.errors import SearchError
from subdit.core.files import read_json
from subdit.core.quantities import noun


@dataclass(frozen=True)
class TrainedSpec:
    """A sub-DiT that was trained on its own: what the first proxy said, what was predicted without it, the truth."""

    spec: str
    spec_hash: str
    before: float
    predicted: float
    low: float
    high: float
    true: float


@dataclass(frozen=True)
class Calibrated:
    """A calibration, as noted by the search whose sub-DiTs were trained, and by the search that follows it.

    Attributes:
        first, second: names of these searches.
        quality: the proxy of the first one.
        updates: of each training.
        tau_before, tau_after: Kendall tau with the truth of that proxy, and of predictions left out in turn.
        error, spread: root mean square of those predictions' errors, and standard deviation of the truth.
        coverage: share of the truth that 95 % intervals held.
        learned: whether the predictions rank better than chance.
        hypervolume_regret: share of both fronts' hypervolume that the first lacks, in `hypervolume_figures`.
        changed_picks: names of picks that are other sub-DiTs in the second search.
    """

    first: str
    second: str
    quality: str
    updates: int
    trained: tuple[TrainedSpec, ...]
    tau_before: float
    tau_after: float
    error: float
    spread: float
    coverage: float
    learned: bool
    hypervolume_regret: float
    hypervolume_figures: tuple[str, ...]
    changed_picks: tuple[str, ...]


def read_calibrated(results: Results) -> Calibrated | None:
    """None where the search had no calibration; raises `SearchError` where what is there is damaged.

    A file that an earlier search of this name left behind counts as none.
    """
    folder = results.run.search(results.search)
    for path in (folder / "calibration.json", folder / "calibrate.json"):
        if not path.is_file():
            continue
        stored = read_json(path, f"calibration of search {results.search!r}")
        try:
            found = _calibrated(stored)
            follows = path.name == "calibration.json"
            known = results.config["proxies"].get(results.quality, {}).get("data_hash")
            if follows and (found.second, stored["data_hash"]) == (results.search, known):
                return found
            trials = {trial.spec.hash for trial in results.trials}
            if not follows and found.quality == results.quality and {one.spec_hash for one in found.trained} <= trials:
                return found
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SearchError(f"The file {path} is damaged ({error!r}); calibrate the search again.") from error
    return None


def _calibrated(stored: Mapping[str, Any]) -> Calibrated:
    quality = str(stored["quality"])
    return Calibrated(
        first=str(stored["first_search"]),
        second=str(stored["second_search"]),
        quality=quality,
        updates=int(stored["updates"]),
        trained=tuple(
            TrainedSpec(
                str(row["spec"]),
                str(row["spec_hash"]),
                *(float(row[key]) for key in (quality, "predicted", "predicted_low", "predicted_high", "true")),
            )
            for row in stored["trained"]
        ),
        tau_before=float(stored["kendall_tau"]["before"]),
        tau_after=float(stored["kendall_tau"]["after"]),
        error=float(stored["error"]),
        spread=float(stored["spread"]),
        coverage=float(stored["coverage"]),
        learned=bool(stored["learned"]),
        hypervolume_regret=float(stored["hypervolume_regret"]),
        hypervolume_figures=tuple(map(str, stored["hypervolume_figures"])),
        changed_picks=tuple(map(str, stored["changed_picks"])),
    )


def calibrated_columns(calibrated: Calibrated) -> tuple[str, ...]:
    """Headings of the cells of `calibrated_lines`."""
    return (noun(calibrated.quality), "predicted without it", "95 % interval", "true loss", "off by")


def calibrated_lines(calibrated: Calibrated) -> list[Line]:
    """One row per sub-DiT that was trained, the best one first; its heading is the spec."""
    return [
        Line(
            one.spec,
            (
                f"{one.before:.4f}",
                f"{one.predicted:.4f}",
                f"{one.low:.4f} to {one.high:.4f}",
                f"{one.true:.4f}",
                f"{one.predicted - one.true:+.4f}",
            ),
        )
        for one in sorted(calibrated.trained, key=lambda one: one.true)
    ]


def calibrated_sentences(calibrated: Calibrated) -> list[str]:
    """Sentences on how far quality was foretold, what the first front lacks, and which picks changed."""
    first, second = f"“{calibrated.first}”", f"“{calibrated.second}”"
    said = [
        f"{len(calibrated.trained)} sub-DiTs of search {first} were trained on their own for {calibrated.updates:,} "
        f"updates. {noun(calibrated.quality).capitalize()} with inherited weights ranks them with Kendall tau "
        f"{calibrated.tau_before:.2f}. Search {second} goes by a model of these trainings. Each sub-DiT left out in "
        f"turn, it ranks them with tau {calibrated.tau_after:.2f}, and is off by {calibrated.error:.3g} where they "
        f"differ by {calibrated.spread:.3g}; 95 % intervals held {percent(calibrated.coverage, decimals=0)} of them."
    ]
    if not calibrated.learned:
        said.append("Ranks like that may be chance: by these trainings, quality cannot be told apart here.")
    changed = ", ".join(calibrated.changed_picks)
    said.append(
        f"By calibrated quality the front of {first} lacks {percent(calibrated.hypervolume_regret, decimals=2)} of the "
        f"hypervolume that it and the front of {second} have together, in "
        f"{' and '.join(map(noun, calibrated.hypervolume_figures))}; "
        + (f"other picks are {changed}." if changed else "the picks are the same.")
    )
    return said
