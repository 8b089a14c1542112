"""Trials of a search as a dataclass, as a table and as a CSV file; columns are named by what they hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from subdit.core.errors import SearchError
from subdit.core.errors import SpecError
from subdit.core.files import write_atomic
from subdit.space import DIMENSIONS
from subdit.space import SubDiTSpec
from subdit.space import spec_columns

if TYPE_CHECKING:
    from pandas import DataFrame

LATENCIES = ("latency_ms", "latency_low_ms", "latency_high_ms")
FLAGS = ("feasible", "on_front")
COLUMNS = ("number", "spec_hash", *(each.name for each in DIMENSIONS), *LATENCIES, "params", *FLAGS, "pick", "tie")
"""Columns of every table; further dimensions, costs and quality proxies stand behind `params` under their names."""


@dataclass(frozen=True)
class Trial:
    """One evaluated sub-DiT.

    Attributes:
        latency_ms: of one step on the first device, from `latency_low_ms` to `latency_high_ms` with 95 % confidence.
        figures: further costs and quality proxies by name, such as `file_mb` and `validation_loss`; less is better.
        feasible: whether it keeps every constraint.
        picks: names under which it was picked.
        tie: on the front a letter shared with neighbours that noise does not tell apart; else empty.
        noise: half the 95 % interval of objectives by name, as far as known; not stored in tables.
    """

    number: int
    spec: SubDiTSpec
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    params: int
    figures: Mapping[str, float]
    feasible: bool = True
    on_front: bool = False
    picks: tuple[str, ...] = ()
    tie: str = ""
    noise: Mapping[str, float] = field(default_factory=dict, compare=False)

    def value(self, name: str) -> float:
        """A cost or a quality proxy by its name."""
        return float(self.figures[name] if name in self.figures else getattr(self, name))

    def values(self) -> dict[str, float]:
        """Every cost and quality proxy by its name, latency with its interval."""
        return {name: getattr(self, name) for name in (*LATENCIES, "params")} | dict(self.figures)


def trials_to_frame(trials: Sequence[Trial]) -> DataFrame:
    """One row per trial: `COLUMNS` and the trials' figures. Dimensions of three stages are text such as "2/3/2"."""
    from pandas import DataFrame

    names = [name for name in COLUMNS if name not in (*FLAGS, "pick", "tie")]
    more = [*dict(trials[0].spec.extra), *trials[0].figures] if trials else []
    names += [*more, *FLAGS, "pick", "tie"]
    return DataFrame([_cells(trial) for trial in trials], columns=names)


def _cells(trial: Trial) -> dict[str, Any]:
    cells = trial.spec.to_cells()
    return {
        "number": trial.number,
        "spec_hash": trial.spec.hash,
        **{name: value if isinstance(value, int) else cells[name] for name, value in trial.spec.values.items()},
        **trial.values(),
        **{name: getattr(trial, name) for name in FLAGS},
        # Not a slash: names of picks at a value on a device have slashes.
        "pick": ";".join(trial.picks),
        "tie": trial.tie,
    }


def write_trials(path: Path, trials: Sequence[Trial]) -> Path:
    """Write `trials_to_frame` as CSV, every number with all its digits."""
    return write_frame(path, trials_to_frame(trials))


def write_frame(path: Path, frame: DataFrame) -> Path:
    """Write a table as CSV: flags as true and false, numbers with all their digits."""
    flags = {name: frame[name].map({True: "true", False: "false"}) for name in FLAGS}
    return write_atomic(path, frame.assign(**flags).to_csv(index=False, lineterminator="\n"))


def read_trials(path: Path, space: str, *, rename: Callable[[str], str] = str) -> tuple[Trial, ...]:
    """Trials of a space from a CSV file, without `picks` and `noise`; raises `SearchError` that names a damaged line.

    Args:
        rename: from a column's name in the file to its name in this version.
    """
    from pandas import read_csv

    trials: list[Trial] = []
    try:
        if not path.read_text(encoding="utf-8").endswith("\n"):
            raise ValueError("its last line is cut short")
        # As text, so that each number is read by Python to its last digit.
        frame = read_csv(path, dtype=str, keep_default_na=False).rename(columns=rename)
        for row in frame.to_dict("records"):
            trials.append(_trial(row, space))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, SpecError) as error:
        place = f"line {len(trials) + 2} of {path}"
        raise SearchError(f"The table of trials is damaged ({place}: {error}); search again with --force.") from error
    return tuple(trials)


def _trial(row: Mapping[Any, str], space: str) -> Trial:
    spec = SubDiTSpec.from_cells(space, row)
    if spec.hash != row["spec_hash"]:
        raise ValueError(f"spec_hash {row['spec_hash']} is not that of its dimensions, {spec.hash}")
    latency_ms, low_ms, high_ms = (float(row[name]) for name in LATENCIES)
    figures = {str(name): float(cell) for name, cell in row.items() if name not in (*COLUMNS, *spec_columns())}
    if not all(map(math.isfinite, (latency_ms, low_ms, high_ms))) or any(map(math.isnan, figures.values())):
        raise ValueError("a number is not finite")
    return Trial(
        number=int(row["number"]),
        spec=spec,
        latency_ms=latency_ms,
        latency_low_ms=low_ms,
        latency_high_ms=high_ms,
        params=int(row["params"]),
        figures=figures,
        feasible=row["feasible"] == "true",
        on_front=row["on_front"] == "true",
        # Searches of the first versions had no ties.
        tie=row.get("tie", ""),
    )
