"""What a finished search and its picks left in the run folder, read and checked; nothing is computed again."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.origin import NO_PART
from subdit.core.origin import Freshness
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.run import Run
from subdit.results import Pick
from subdit.results import SearchResult
from subdit.results import Trial
from subdit.results import load_search


@dataclass(frozen=True)
class Latency:
    """A latency measured on the device, with its 95 % interval."""

    latency_ms: float
    low_ms: float
    high_ms: float
    details: Mapping[str, Any]


@dataclass(frozen=True)
class ReportedPick:
    """A named trial of the front, and what has been measured of it so far.

    Attributes:
        names: the names it was picked under; more than one where the front is short.
        why: for each name, the sentence that the search gives.
        measured: latency of the exported sub-DiT, None until it is measured.
        file_bytes: size of the exported file, None until there is one.
        quality: by way of sampling ("28_steps", "4_steps", ...) the figures of its samples; empty until judged.
        samples: PNG of its samples, None until drawn.
        left_out: of measured.json, quality.json and samples.png those of other weights, by the digest of these.
        unknown: those that do not say which weights they are of.
    """

    names: tuple[str, ...]
    why: tuple[str, ...]
    trial: Trial
    measured: Latency | None = None
    file_bytes: int | None = None
    quality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Path | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return " = ".join(self.names)


@dataclass(frozen=True)
class Results:
    """A finished search with what was measured of its picks.

    Attributes:
        search: its name.
        front: ascending in latency.
        quality: name of the quality proxy that picks are weighed by.
        made_from: digest of the supernet that the search is of; None where it does not say.
        digest: that of the run's weights of now; None where there are none here.
    """

    run: Run
    search: str
    config: Mapping[str, Any]
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    picks: tuple[ReportedPick, ...]
    quality: str
    made_from: str | None = None
    digest: str | None = None

    @property
    def stale(self) -> bool:
        """Whether the run's weights are others than those of the search."""
        return freshness(self.made_from, self.digest) is Freshness.STALE


def read_results(run: Run, search: str) -> Results:
    """Read a finished search; raises `RunError` or `SearchError` that names what is missing or damaged."""
    found = load_search(run.path, search)
    made_from, digest = origin(found.folder), run_digest(run)
    # All figures of a page are of the same weights: the search's, or where none had a part in it the run's.
    weights = digest if made_from in (None, NO_PART) else made_from
    return Results(
        run,
        search,
        found.config,
        found.trials,
        tuple(sorted(found.front, key=lambda trial: trial.latency_ms)),
        _read_picks(run, found, weights),
        found.quality,
        made_from,
        digest,
    )


def _read_picks(run: Run, found: SearchResult, weights: str | None) -> tuple[ReportedPick, ...]:
    by_trial = dict.fromkeys(pick.trial.spec.hash for pick in found.picks.values())
    return tuple(
        _read_pick(run, [(name, pick) for name, pick in found.picks.items() if pick.spec.hash == spec_hash], weights)
        for spec_hash in by_trial
    )


def _read_pick(run: Run, named: Sequence[tuple[str, Pick]], weights: str | None) -> ReportedPick:
    trial = named[0][1].trial
    names, why = zip(*((name, pick.why) for name, pick in named), strict=True)
    folder = run.pick(trial.spec.hash)
    samples = folder / "samples.png"
    there = [name for name in ("measured.json", "quality.json", "samples.png") if (folder / name).is_file()]
    origins = {name: origin(folder / name) for name in there}
    left_out = {name: of for name, of in origins.items() if of and freshness(of, weights) is Freshness.STALE}
    unknown = tuple(name for name, of in origins.items() if freshness(of, weights) is Freshness.UNKNOWN)
    measured, file_bytes = None, None
    if "measured.json" in there and "measured.json" not in left_out:
        stored = read_json(folder / "measured.json", f"measurement of pick {trial.spec.hash}")
        try:
            measured = Latency(float(stored["latency_ms"]), float(stored["low_ms"]), float(stored["high_ms"]), stored)
            file_bytes = None if stored.get("file_bytes") is None else int(stored["file_bytes"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            file = folder / "measured.json"
            raise RunError(f"The measurement {file} is damaged ({error!r}); delete it and measure again.") from error
    quality: dict[str, Mapping[str, Any]] = {}
    if "quality.json" in there and "quality.json" not in left_out:
        stored = read_json(folder / "quality.json", f"quality of pick {trial.spec.hash}")
        if not isinstance(stored, dict):
            raise RunError(f"The file {folder / 'quality.json'} is damaged (not an object); delete it and judge again.")
        quality = {key: value for key, value in stored.items() if isinstance(value, dict)}
    drawn = samples if "samples.png" in there and "samples.png" not in left_out else None
    return ReportedPick(names, why, trial, measured, file_bytes, quality, drawn, left_out, unknown)
