"""A finished search: its configuration, trials, front and picks, read from its folder and written there.

The folder holds search.json, trials.csv, front.csv (the trials on the front, in its order) and picks.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from subdit.core.errors import SearchError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.results._earlier_names import upgrade_config
from subdit.results._earlier_names import upgrade_name
from subdit.results._trials import Trial
from subdit.results._trials import read_trials
from subdit.results._trials import trials_to_frame
from subdit.results._trials import write_trials
from subdit.space import SubDiTSpec

if TYPE_CHECKING:
    from pandas import DataFrame

SEARCH_FORMAT = 2
"""Named in search.json; 1 is read by `_earlier_names`."""
PICK_NAMES = ("fastest", "balanced", "best")
"""Picks that every search has."""


@dataclass(frozen=True)
class Pick:
    """A named point of the front, and one sentence on why it was picked."""

    trial: Trial
    why: str

    @property
    def spec(self) -> SubDiTSpec:
        return self.trial.spec

    def to_dict(self) -> dict[str, Any]:
        """As picks.json holds it."""
        spec = {"spec": self.spec.to_dict(), "spec_hash": self.spec.hash}
        return {**spec, **self.trial.values(), "why": self.why}


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Attributes:
        folder: where its files are.
        config: what search.json holds.
        trials: in the order of their numbers.
        picks: by name: `PICK_NAMES`, and those asked for, such as `latency_ms=20`.
    """

    folder: Path
    config: Mapping[str, Any]
    trials: tuple[Trial, ...]
    picks: Mapping[str, Pick]

    @property
    def front(self) -> tuple[Trial, ...]:
        """Pareto-optimal trials, ascending in the first objective."""
        first = self.config["objectives"][0]
        return tuple(sorted((trial for trial in self.trials if trial.on_front), key=lambda trial: trial.value(first)))

    @property
    def quality(self) -> str:
        """Name of the quality proxy that picks are weighed by."""
        return str(next(iter(self.config["proxies"])))

    def to_frame(self) -> DataFrame:
        """All trials as a table, see `trials_to_frame`; `frame[frame.on_front]` is the front."""
        return trials_to_frame(self.trials)


def write_search(result: SearchResult) -> None:
    """Write the files of a finished search, search.json last: without it the others count for nothing."""
    write_trials(result.folder / "trials.csv", result.trials)
    write_trials(result.folder / "front.csv", result.front)
    write_json(result.folder / "picks.json", {name: pick.to_dict() for name, pick in result.picks.items()})
    write_json(result.folder / "search.json", dict(result.config))


def load_search(run: Path | str, name: str = "default") -> SearchResult:
    """Read a finished search, of format 1 too.

    Raises `RunError` where the run is missing, and `SearchError` that says what is missing, unfinished or damaged.
    """
    where = Run(Path(run)).require()
    folder = where.search(name)
    if not (folder / "search.json").is_file():
        others = sorted(path.parent.name for path in where.path.glob("searches/*/search.json"))
        there = f"it has {', '.join(others)}" if others else "make one with 'subdit search'"
        raise SearchError(f"The run {where.path} has no search {name!r}; {there}.")
    stored = read_json(folder / "search.json", f"search {name!r}")
    if not isinstance(stored, dict) or not isinstance(stored.get("space"), str):
        raise SearchError(f"The file {folder / 'search.json'} is damaged (no space); search again with --force.")
    if stored.get("subdit_search", 1) not in (1, SEARCH_FORMAT):
        raise SearchError(f"The search {name!r} at {folder} is of a newer subdit; read it with that version.")
    written = all((folder / file).is_file() for file in ("picks.json", "trials.csv"))
    if stored.get("state", "finished") != "finished" or not written:
        raise SearchError(
            f"The search {name!r} at {folder} is not finished; repeat the command that began it with --resume."
        )
    config = upgrade_config(stored)
    for key, kind in (("objectives", list), ("proxies", dict), ("constraints", dict)):
        if not isinstance(config.get(key), kind) or not (config[key] or key == "constraints"):
            raise SearchError(f"The file {folder / 'search.json'} is damaged (no {key}); search again with --force.")
    rename = str if stored.get("subdit_search", 1) != 1 else lambda column: upgrade_name(column, config["proxies"])
    trials = read_trials(folder / "trials.csv", config["space"], rename=rename)
    result = SearchResult(folder, config, trials, {})
    if trials and (missing := {config["objectives"][0], result.quality} - trials[0].values().keys()):
        raise SearchError(f"The trials.csv in {folder} has no column {missing.pop()!r}; search again with --force.")
    return _with_picks(result)


def _with_picks(result: SearchResult) -> SearchResult:
    path = result.folder / "picks.json"
    stored = read_json(path, "list of picks")
    front = {trial.spec.hash: trial for trial in result.trials if trial.on_front}
    if not front:
        raise SearchError(f"The search at {result.folder} has no trial on its front; search again with --force.")
    try:
        chosen = {name: stored[name]["spec_hash"] for name in dict.fromkeys((*PICK_NAMES, *stored))}
        marked = {
            spec_hash: replace(front[spec_hash], picks=tuple(name for name, of in chosen.items() if of == spec_hash))
            for spec_hash in chosen.values()
        }
        picks = {name: Pick(marked[spec_hash], str(stored[name].get("why", ""))) for name, spec_hash in chosen.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise SearchError(
            f"The picks in {path} are damaged or no points of the front ({error!r}); search again with --force."
        ) from error
    return replace(result, trials=tuple(marked.get(trial.spec.hash, trial) for trial in result.trials), picks=picks)
