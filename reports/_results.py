"""What a finished search and its picks left in the run folder, read and checked; nothing is computed anew."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.errors import SpecError
from subdit.core.files import read_json
from subdit.core.origin import NO_PART
from subdit.core.origin import Standing
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import standing
from subdit.core.run import Run
from subdit.space import SubDiTSpec

PICK_ORDER = ("fastest", "balanced", "best")


@dataclass(frozen=True)
class Trial:
    """One evaluated sub-DiT; latency as predicted, with its interval; quality lower is better."""

    spec: SubDiTSpec
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    quality: float
    params: int
    feasible: bool
    on_front: bool
    row: Mapping[str, str]


@dataclass(frozen=True)
class Latency:
    """A latency measured on the device, with its 95 % interval."""

    latency_ms: float
    low_ms: float
    high_ms: float
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Pick:
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
    """A finished search: its configuration, trials in the order of evaluation, front by latency, and picks.

    Attributes:
        made_from: digest of the supernet that the search is of; None where it does not say.
        digest: that of the run's weights of now; None where there are none here.
    """

    run: Run
    search: str
    config: Mapping[str, Any]
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    picks: tuple[Pick, ...]
    made_from: str | None = None
    digest: str | None = None

    @property
    def stale(self) -> bool:
        """Whether the run's weights are others than those of the search."""
        return standing(self.made_from, self.digest) is Standing.STALE


def read_results(run: Run, search: str) -> Results:
    """Read a finished search; raises `RunError` or `SearchError` that names what is missing or damaged."""
    run.require()
    folder = run.search(search)
    if not (folder / "search.json").is_file():
        others = sorted(path.parent.name for path in run.path.glob("searches/*/search.json"))
        there = f"it has {', '.join(others)}" if others else "make one with 'subdit search'"
        raise SearchError(f"The run {run.path} has no search {search!r}; {there}.")
    config = read_json(folder / "search.json", f"search {search!r}")
    if not isinstance(config, dict) or not isinstance(config.get("space"), str):
        raise SearchError(f"The file {folder / 'search.json'} names no space; search again with --force.")
    written = all((folder / file).is_file() for file in ("picks.json", "trials.csv"))
    if config.get("state", "finished") != "finished" or not written:
        raise SearchError(
            f"The search {search!r} of {run.path} is not finished; repeat the command that began it with --resume."
        )
    trials = _read_trials(folder / "trials.csv", config["space"])
    front = tuple(sorted((trial for trial in trials if trial.on_front), key=lambda trial: trial.latency_ms))
    if not front:
        raise SearchError(f"The file {folder / 'trials.csv'} has no trial on its front; search again with --force.")
    made_from, digest = origin(folder), run_digest(run)
    # All figures of a page are of the same weights: the search's, or where none had a part in it the run's.
    weights = digest if made_from in (None, NO_PART) else made_from
    picks = _read_picks(run, folder / "picks.json", {trial.spec.hash: trial for trial in front}, weights)
    return Results(run, search, config, trials, front, picks, made_from, digest)


def _read_trials(path: Path, space: str) -> tuple[Trial, ...]:
    trials = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                trials.append(_trial(row, space))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, csv.Error, SpecError) as error:
        place = f"line {len(trials) + 2} of {path}"
        raise SearchError(f"The table of trials is damaged ({place}: {error}); search again with --force.") from error
    return tuple(trials)


def _trial(row: dict[str, str], space: str) -> Trial:
    spec = SubDiTSpec.from_cells(space, row)
    if spec.hash != row["spec_hash"]:
        raise ValueError(f"spec_hash {row['spec_hash']} is not that of its dimensions, {spec.hash}")
    keys = ("latency_ms", "latency_low_ms", "latency_high_ms", "quality")
    latency_ms, low_ms, high_ms, quality = (float(row[key]) for key in keys)
    if not all(map(math.isfinite, (latency_ms, low_ms, high_ms, quality))):
        raise ValueError("a number is not finite")
    return Trial(
        spec=spec,
        latency_ms=latency_ms,
        latency_low_ms=low_ms,
        latency_high_ms=high_ms,
        quality=quality,
        params=int(row["params"]),
        feasible=row["feasible"] == "true",
        on_front=row["on_front"] == "true",
        row=row,
    )


def _read_picks(run: Run, path: Path, front: Mapping[str, Trial], weights: str | None) -> tuple[Pick, ...]:
    stored = read_json(path, "list of picks")
    try:
        order = sorted(stored, key=lambda name: PICK_ORDER.index(name) if name in PICK_ORDER else len(PICK_ORDER))
        by_hash: dict[str, list[str]] = {}
        for name in order:
            by_hash.setdefault(stored[name]["spec_hash"], []).append(name)
        return tuple(
            _read_pick(
                run, front[spec_hash], tuple(names), tuple(str(stored[name].get("why", "")) for name in names), weights
            )
            for spec_hash, names in by_hash.items()
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise SearchError(f"The picks in {path} are no points of the front ({error!r}); search again.") from error


def _read_pick(run: Run, trial: Trial, names: tuple[str, ...], why: tuple[str, ...], weights: str | None) -> Pick:
    folder = run.pick(trial.spec.hash)
    samples = folder / "samples.png"
    there = [name for name in ("measured.json", "quality.json", "samples.png") if (folder / name).is_file()]
    origins = {name: origin(folder / name) for name in there}
    left_out = {name: of for name, of in origins.items() if of and standing(of, weights) is Standing.STALE}
    unknown = tuple(name for name, of in origins.items() if standing(of, weights) is Standing.UNKNOWN)
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
    return Pick(names, why, trial, measured, file_bytes, quality, drawn, left_out, unknown)
