"""What a search leaves for others to read: search.json, trials.csv, front.csv, picks.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nas._feasible_region import round_up
from nas._pareto import on_front
from nas._picks import PICK_NAMES
from nas._picks import choose_picks
from nas._picks import mark_ties
from subdit.core.errors import RunError
from subdit.core.errors import SubditError
from subdit.core.files import read_json
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.space import DIMENSIONS
from subdit.space import SubDiTSpec
from subdit.space import spec_columns

if TYPE_CHECKING:
    from device_profiles import DeviceProfile

PROFILE_FILE = "device.json"
OBJECTIVES = ("latency_ms", "quality")
COLUMNS = (
    "number",
    "spec_hash",
    *(dimension.name for dimension in DIMENSIONS),
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "quality",
    "params",
    "feasible",
    "on_front",
    "pick",
    "tie",
)


@dataclass(frozen=True)
class TrialRow:
    """One evaluated sub-DiT; latencies with the bounds of their 95 % interval, quality lower is better.

    Attributes:
        more: other figures and qualities by name: of further devices, memory, file size, further proxies.
        tie: on the front a letter that it shares with its neighbours that are no farther away than noise; else empty.
        noise: half the 95 % interval of objectives by name; zero where nothing is known of it.
    """

    number: int
    spec: SubDiTSpec
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    quality: float
    params: int
    feasible: bool
    more: Mapping[str, float] = field(default_factory=dict)
    tie: str = ""
    noise: Mapping[str, float] = field(default_factory=dict, compare=False)

    def value(self, name: str) -> float:
        """An objective or figure by its name."""
        return float(self.more[name] if name in self.more else getattr(self, name))


@dataclass(frozen=True)
class PickedSpec:
    """A named point of the front."""

    spec: SubDiTSpec
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    quality: float
    params: int
    why: str

    def to_dict(self) -> dict[str, Any]:
        rest = {key: value for key, value in asdict(self).items() if key != "spec"}
        return {"spec": self.spec.to_dict(), "spec_hash": self.spec.hash, **rest}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PickedSpec:
        rest = {key: value for key, value in values.items() if key not in ("spec", "spec_hash")}
        return cls(spec=SubDiTSpec.from_dict(values["spec"]), **rest)


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Attributes:
        folder: where its files are.
        config: what search.json holds.
        front: Pareto-optimal trials, ascending in latency.
        picks: by name, `fastest`, `balanced`, `best`, and those asked for, such as `latency_ms=20`.
    """

    folder: Path
    config: Mapping[str, Any]
    front: tuple[TrialRow, ...]
    picks: Mapping[str, PickedSpec]


def pareto(rows: Sequence[TrialRow], objectives: Sequence[str] = OBJECTIVES) -> tuple[TrialRow, ...]:
    """The feasible rows that no other feasible one dominates, ascending in the first objective, ties marked."""
    feasible = [row for row in rows if row.feasible]
    points = np.asarray([[row.value(name) for name in objectives] for row in feasible], dtype=np.float64)
    kept = [
        row for row, keep in zip(feasible, on_front(points.reshape(-1, len(objectives))), strict=True) if keep
    ]  # fmt: skip
    front = sorted(kept, key=lambda row: row.value(objectives[0]))
    marks = mark_ties(
        [[row.value(name) for name in objectives] for row in front],
        [[row.noise.get(name, 0.0) for name in objectives] for row in front],
    )
    return tuple(replace(row, tie=mark) for row, mark in zip(front, marks, strict=True))


@dataclass(frozen=True)
class Found:
    """What the trials come to: their front, its picks by name, and by name why one that was asked for is missing."""

    front: tuple[TrialRow, ...]
    picks: Mapping[str, PickedSpec]
    missed: Mapping[str, str] = field(default_factory=dict)


def find_picks(
    rows: Sequence[TrialRow], objectives: Sequence[str] = OBJECTIVES, pick_at: Mapping[str, float] | None = None
) -> Found:
    """Front and picks of at least one feasible row."""
    front = pareto(rows, objectives)
    # Picks weigh one cost against one quality; with more objectives they are taken from the front of these two.
    cost, quality = objectives[0], next(name for name in objectives if name.startswith("quality"))
    ends = pareto(front, (cost, quality))
    chosen = choose_picks(np.asarray([(row.value(cost), row.value(quality)) for row in ends], dtype=np.float64), cost)
    picks = {name: _picked(ends[pick.index], pick.why) for name, pick in chosen.items()}
    missed = {}
    for figure, limit in (pick_at or {}).items():
        name = pick_name(figure, limit)
        within = [row for row in front if row.value(figure) <= limit]
        if not within:
            least = round_up(min(row.value(figure) for row in front))
            missed[name] = f"No point of the front has {figure} of at most {limit:g}; the least is {least}."
            continue
        row = min(within, key=lambda row: (row.value(quality), row.value(figure)))
        picks[name] = _picked(
            row, f"The lowest quality loss of those with {figure} of at most {limit:g} ({row.value(figure):.4g})."
        )
    return Found(front, picks, missed)


def pick_name(figure: str, limit: float) -> str:
    """What the pick at a value of a figure is called."""
    return f"{figure}={limit:g}"


def write_results(folder: Path, rows: Sequence[TrialRow], found: Found) -> None:
    """Write trials.csv, front.csv and picks.json."""
    write_atomic(folder / "trials.csv", _table(rows, found.front, found.picks))
    write_atomic(folder / "front.csv", _table(found.front, found.front, found.picks))
    write_json(folder / "picks.json", {name: pick.to_dict() for name, pick in found.picks.items()})


def keep_profiles(folder: Path, profiles: Sequence[DeviceProfile]) -> None:
    """Write the profiles as the search saw them: the registry's may be measured again, and a file may move."""
    from device_profiles import save_profile

    for at, profile in enumerate(profiles):
        file = PROFILE_FILE if at == 0 else f"device_{at + 1}.json"
        save_profile(profile, folder / file, force=True)


def _picked(row: TrialRow, why: str) -> PickedSpec:
    return PickedSpec(
        spec=row.spec,
        latency_ms=row.latency_ms,
        latency_low_ms=row.latency_low_ms,
        latency_high_ms=row.latency_high_ms,
        quality=row.quality,
        params=row.params,
        why=why,
    )


def load_search(run: Path | str, name: str = "default") -> SearchResult:
    """Read a finished search; raises `RunError` where it is missing, unfinished or damaged."""
    folder = Run(Path(run)).require().search(name)
    config = read_json(folder / "search.json", f"search {name!r}")
    if not isinstance(config, dict) or config.get("state") != "finished":
        raise RunError(
            f"The search {name!r} at {folder} is not finished; repeat the command that began it with --resume."
        )
    stored = read_json(folder / "picks.json", f"list of picks of search {name!r}")
    try:
        picks = {pick: PickedSpec.from_dict(stored[pick]) for pick in dict.fromkeys((*PICK_NAMES, *stored))}
        with (folder / "front.csv").open(encoding="utf-8", newline="") as file:
            front = tuple(_row(config["space"], line) for line in csv.DictReader(file))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, SubditError) as error:
        raise RunError(
            f"The results of search {name!r} at {folder} are damaged ({error}); search again with --force."
        ) from error
    return SearchResult(folder, config, front, picks)


def _table(rows: Sequence[TrialRow], front: Sequence[TrialRow], picks: Mapping[str, PickedSpec]) -> str:
    fronted = {row.number: row for row in front}
    more = list(rows[0].more) if rows else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    extra = [name for name, _ in rows[0].spec.extra] if rows else []
    writer.writerow([*COLUMNS, *extra, *more])
    for row in rows:
        named = [name for name, pick in picks.items() if pick.spec == row.spec]
        cells = row.spec.to_cells()
        writer.writerow(
            [
                row.number,
                row.spec.hash,
                *(cells[dimension.name] for dimension in DIMENSIONS),
                # repr keeps every digit, so that reading gives the same number back.
                repr(row.latency_ms),
                repr(row.latency_low_ms),
                repr(row.latency_high_ms),
                repr(row.quality),
                row.params,
                str(row.feasible).lower(),
                str(row.number in fronted).lower(),
                "/".join(named),
                fronted[row.number].tie if row.number in fronted else "",
                *(cells[name] for name in extra),
                *(repr(row.more[name]) for name in more),
            ]
        )
    return text.getvalue()


def _row(space: str, line: Mapping[str, str]) -> TrialRow:
    return TrialRow(
        number=int(line["number"]),
        spec=SubDiTSpec.from_cells(space, line),
        latency_ms=float(line["latency_ms"]),
        latency_low_ms=float(line["latency_low_ms"]),
        latency_high_ms=float(line["latency_high_ms"]),
        quality=float(line["quality"]),
        params=int(line["params"]),
        feasible=line["feasible"] == "true",
        more={name: float(cell) for name, cell in line.items() if name not in (*COLUMNS, *spec_columns())},
        # Searches of earlier versions have no ties.
        tie=line.get("tie") or "",
    )
