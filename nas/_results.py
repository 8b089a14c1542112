"""What a search leaves for others to read: search.json, trials.csv, front.csv, picks.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas._front import on_front
from nas._picks import PICK_NAMES
from nas._picks import choose_picks
from subdit.errors import RunError
from subdit.errors import SubditError
from subdit.run import Run
from subdit.run import read_json
from subdit.run import write_atomic
from subdit.run import write_json
from supernet.space import SubDiTSpec

SPEC_FIELDS = ("width", "depth", "ffn_ratio", "bna_blocks", "bna_radius", "kv_compression")
COLUMNS = (
    "number",
    "spec_hash",
    *SPEC_FIELDS,
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "quality",
    "params",
    "feasible",
    "on_front",
    "pick",
)


@dataclass(frozen=True)
class TrialRow:
    """One evaluated sub-DiT; latencies with the bounds of their 95 % interval, quality lower is better."""

    number: int
    spec: SubDiTSpec
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    quality: float
    params: int
    feasible: bool


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
        picks: by name, `fastest`, `balanced`, `best`.
    """

    folder: Path
    config: Mapping[str, Any]
    front: tuple[TrialRow, ...]
    picks: Mapping[str, PickedSpec]


def pareto(rows: Sequence[TrialRow]) -> tuple[TrialRow, ...]:
    """The feasible rows that no other feasible one dominates, ascending in latency."""
    feasible = [row for row in rows if row.feasible]
    points = np.asarray([(row.latency_ms, row.quality) for row in feasible], dtype=np.float64).reshape(-1, 2)
    kept = [row for row, keep in zip(feasible, on_front(points), strict=True) if keep]
    return tuple(sorted(kept, key=lambda row: row.latency_ms))


def write_results(folder: Path, rows: Sequence[TrialRow]) -> tuple[tuple[TrialRow, ...], dict[str, PickedSpec]]:
    """Write trials.csv, front.csv and picks.json of at least one feasible row; returns front and picks."""
    front = pareto(rows)
    chosen = choose_picks(np.asarray([(row.latency_ms, row.quality) for row in front], dtype=np.float64))
    picks = {
        name: PickedSpec(
            spec=front[pick.index].spec,
            latency_ms=front[pick.index].latency_ms,
            latency_low_ms=front[pick.index].latency_low_ms,
            latency_high_ms=front[pick.index].latency_high_ms,
            quality=front[pick.index].quality,
            params=front[pick.index].params,
            why=pick.why,
        )
        for name, pick in chosen.items()
    }
    write_atomic(folder / "trials.csv", _table(rows, front, picks))
    write_atomic(folder / "front.csv", _table(front, front, picks))
    write_json(folder / "picks.json", {name: pick.to_dict() for name, pick in picks.items()})
    return front, picks


def load_search(run: Path | str, name: str = "default") -> SearchResult:
    """Read a finished search; raises `RunError` where it is missing, unfinished or damaged."""
    folder = Run(Path(run)).require().search(name)
    config = read_json(folder / "search.json", f"search {name!r}")
    if not isinstance(config, dict) or config.get("state") != "finished":
        raise RunError(f"The search {name!r} at {folder} is not finished; go on with 'subdit search {run} --resume'.")
    stored = read_json(folder / "picks.json", f"list of picks of search {name!r}")
    try:
        picks = {pick: PickedSpec.from_dict(stored[pick]) for pick in PICK_NAMES}
        with (folder / "front.csv").open(encoding="utf-8", newline="") as file:
            front = tuple(_row(config["space"], line) for line in csv.DictReader(file))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, SubditError) as error:
        raise RunError(
            f"The results of search {name!r} at {folder} are damaged ({error}); search again with --force."
        ) from error
    return SearchResult(folder, config, front, picks)


def _table(rows: Sequence[TrialRow], front: Sequence[TrialRow], picks: Mapping[str, PickedSpec]) -> str:
    fronted = {row.number for row in front}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        named = [name for name, pick in picks.items() if pick.spec == row.spec]
        cells = [getattr(row.spec, label) for label in SPEC_FIELDS]
        writer.writerow(
            [
                row.number,
                row.spec.hash,
                *("/".join(map(str, cell)) if isinstance(cell, tuple) else cell for cell in cells),
                # repr keeps every digit, so that reading gives the same number back.
                repr(row.latency_ms),
                repr(row.latency_low_ms),
                repr(row.latency_high_ms),
                repr(row.quality),
                row.params,
                str(row.feasible).lower(),
                str(row.number in fronted).lower(),
                "/".join(named),
            ]
        )
    return text.getvalue()


def _row(space: str, line: Mapping[str, str]) -> TrialRow:
    values: dict[str, Any] = {
        label: [int(part) for part in line[label].split("/")]
        if label not in ("width", "kv_compression")
        else int(line[label])
        for label in SPEC_FIELDS
    }
    return TrialRow(
        number=int(line["number"]),
        spec=SubDiTSpec.from_dict({"space": space, **values}),
        latency_ms=float(line["latency_ms"]),
        latency_low_ms=float(line["latency_low_ms"]),
        latency_high_ms=float(line["latency_high_ms"]),
        quality=float(line["quality"]),
        params=int(line["params"]),
        feasible=line["feasible"] == "true",
    )
