"""A truth table as data: specs, their trainings, scores of proxies; as a JSON file that `schema.json` describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.truth_table._recipe import TruthRecipe
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import get_space
from subdit.space import space_hash

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = 1
HIGHER_IS_BETTER = "accuracy_"
"""Prefix of the names of qualities of which more is better."""


@dataclass(frozen=True)
class TrainedAlone:
    """One training of a sub-DiT on its own.

    Attributes:
        number: 0, or 1 for a second training with another seed.
        seed: of batches and noise.
        qualities: on images of the split judge, by name: `loss`, `frechet_distance`, `kernel_distance`,
            `accuracy_COLUMN`.
        curve: by number of updates the loss of the averaged weights on some of these images.
        weights: digest of the trained weights.
        seconds: of training and judging, on
        threads: of torch.
    """

    number: int
    seed: int
    qualities: Mapping[str, float]
    curve: Mapping[int, float]
    weights: str
    seconds: float
    threads: int

    def to_dict(self) -> dict[str, Any]:
        curve = [[updates, loss] for updates, loss in sorted(self.curve.items())]
        return {**asdict(self), "qualities": dict(self.qualities), "curve": curve}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TrainedAlone:
        return cls(**{**stored, "curve": {int(updates): float(loss) for updates, loss in stored["curve"]}})


@dataclass(frozen=True)
class TruthRow:
    """A sub-DiT with its trainings, at least one, in the order of their numbers."""

    spec: SubDiTSpec
    trainings: tuple[TrainedAlone, ...]


@dataclass(frozen=True)
class ProxyScores:
    """What a proxy says of the table's sub-DiTs, by the hash of their specs; lower is better.

    Attributes:
        supernet: digest of the weights that it judged by.
        data_hash: of the data that it judged on.
    """

    proxy: str
    unit: str
    supernet: str
    data_hash: str
    seconds_per_query: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class TruthTable:
    """Sub-DiTs trained on their own by one recipe, in the order in which they were drawn, and scores of proxies."""

    recipe: TruthRecipe
    rows: tuple[TruthRow, ...]
    scores: tuple[ProxyScores, ...] = ()

    @property
    def space(self) -> SearchSpace:
        """Raises `SearchError` where this subdit has another space of that name."""
        space = get_space(self.recipe.space)
        if space_hash(space) != self.recipe.space_hash:
            raise SearchError(
                f"The truth table is of another space {space.name!r} ({self.recipe.space_hash}) than this subdit's "
                f"({space_hash(space)}); take the version of subdit that made it."
            )
        return space

    @property
    def specs(self) -> list[SubDiTSpec]:
        return [row.spec for row in self.rows]

    @property
    def qualities(self) -> tuple[str, ...]:
        """Names of the qualities that every training has."""
        first, *others = [training.qualities for row in self.rows for training in row.trainings]
        return tuple(name for name in first if all(name in other for other in others))

    def losses(self, quality: str) -> list[npt.NDArray[np.float64]]:
        """Per sub-DiT what its trainings say of a quality, turned so that lower is better.

        Raises `SearchError` where the table has no such quality.
        """
        if quality not in self.qualities:
            raise SearchError(f"The truth table has no quality {quality!r}; it has {', '.join(self.qualities)}.")
        sign = -1.0 if quality.startswith(HIGHER_IS_BETTER) else 1.0
        return [np.asarray([sign * one.qualities[quality] for one in row.trainings]) for row in self.rows]

    def with_scores(self, scores: ProxyScores) -> TruthTable:
        """The same with a proxy's scores, in place of earlier ones by the same weights."""
        kept = [each for each in self.scores if (each.proxy, each.supernet) != (scores.proxy, scores.supernet)]
        return replace(self, scores=(*kept, scores))

    def to_dict(self) -> dict[str, Any]:
        return {
            "subdit_truth": FORMAT,
            "recipe": {**asdict(self.recipe), "training": dict(self.recipe.training)},
            "subdits": [
                {
                    "spec": row.spec.to_dict(),
                    "spec_hash": row.spec.hash,
                    "trainings": [training.to_dict() for training in row.trainings],
                }
                for row in self.rows
            ],
            "proxies": [{**asdict(each), "values": dict(each.values)} for each in self.scores],
        }

    def to_frame(self) -> DataFrame:
        """One row per training: spec and its hash, number, seed, qualities; columns of each proxy's scores."""
        from pandas import DataFrame

        return DataFrame(
            [
                {
                    "spec_hash": row.spec.hash,
                    "spec": str(row.spec),
                    "number": training.number,
                    "seed": training.seed,
                    **training.qualities,
                    **{each.proxy: each.values.get(row.spec.hash) for each in self.scores},
                }
                for row in self.rows
                for training in row.trainings
            ]
        )


def write_truth_table(table: TruthTable, path: Path) -> Path:
    """Write a table, whole or not at all."""
    return write_json(path, table.to_dict())


def read_truth_table(path: Path) -> TruthTable:
    """Read a table; raises `RunError` where the file is missing or is no table of this version."""
    stored = read_json(path, "truth table")
    if isinstance(stored, dict) and stored.get("subdit_truth", FORMAT) != FORMAT:
        raise RunError(
            f"The truth table {path} has format {stored['subdit_truth']!r}, which this subdit does not know; update "
            "subdit."
        )
    if problem := _problem(stored):
        raise RunError(f"The truth table {path} is damaged ({problem}); restore the file.")
    rows = tuple(
        TruthRow(
            SubDiTSpec.from_dict(entry["spec"]),
            tuple(sorted(map(TrainedAlone.from_dict, entry["trainings"]), key=lambda training: training.number)),
        )
        for entry in stored["subdits"]
    )
    for row, entry in zip(rows, stored["subdits"], strict=True):
        if row.spec.hash != entry["spec_hash"]:
            raise RunError(
                f"The truth table {path} is damaged (spec {row.spec.hash} is called {entry['spec_hash']}); restore "
                "the file."
            )
    if len({row.spec for row in rows}) < len(rows):
        raise RunError(f"The truth table {path} is damaged (a sub-DiT is in it twice); restore the file.")
    return TruthTable(TruthRecipe(**stored["recipe"]), rows, tuple(ProxyScores(**each) for each in stored["proxies"]))


@cache
def truth_schema() -> dict[str, Any]:
    """The published schema of a truth table."""
    return json.loads(files("nas.truth_table").joinpath("schema.json").read_text(encoding="utf-8"))


def _problem(stored: Any) -> str:
    """The first violation of the schema, as 'where: what', or an empty text."""
    from jsonschema import Draft202012Validator

    error = next(Draft202012Validator(truth_schema()).iter_errors(stored), None)
    return "" if error is None else f"{error.json_path}: {error.message[:200]}"
