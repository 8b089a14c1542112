"""Figures of sub-DiTs with everything that they depend on, as files and as a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from subdit.core.errors import RunError
from subdit.core.errors import SubditError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.space import SubDiTSpec

if TYPE_CHECKING:
    from pandas import DataFrame

REAL = "real"
"""Name of the evaluation of real images, whose figures are the scale for all others."""


@dataclass(frozen=True)
class Conditions:
    """What figures depend on besides the model; only figures of equal conditions can be compared.

    Attributes:
        samples: number of samples.
        seed: seed of noise and prompts.
        weights: digest of a distilled student's own weights; empty for the supernet's weights.
        steps: Euler steps; None for real images, as are the next two.
        shift: time shift.
        guidance_scale: scale of classifier-free guidance; 1 is none.
        feature_space: name of the feature space.
        feature_hash: digest of the feature space.
        reference_hash: digest of the real images, both halves.
    """

    samples: int
    seed: int
    weights: str
    steps: int | None
    shift: float | None
    guidance_scale: float | None
    feature_space: str
    feature_hash: str
    reference_hash: str

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits that stand for the conditions in file names."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Evaluation:
    """Figures of one sub-DiT, or of real images.

    Attributes:
        point: its name: a named point, a pick, the hash of a spec, or `REAL`.
        spec: its architecture; None for real images.
        supernet: digest of the supernet's weights, from which a student was distilled; empty for real images, which no
            supernet had a part in.
        conditions: what else the figures depend on.
        figures: by name; None for a figure without a value.
    """

    point: str
    spec: SubDiTSpec | None
    supernet: str
    conditions: Conditions
    figures: Mapping[str, float | None]

    @property
    def file_name(self) -> str:
        """The file's name by sub-DiT and conditions; points of different names share an evaluation."""
        return evaluation_file(self.spec, self.conditions)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; the digest has the key by which stale files are found."""
        return {
            "point": self.point,
            "spec": None if self.spec is None else self.spec.to_dict(),
            KEY: self.supernet,
            "conditions": asdict(self.conditions),
            "figures": dict(self.figures),
        }

    @classmethod
    def from_dict(cls, stored: Any) -> Evaluation:
        """Read `to_dict`; raises `ValueError` on anything else."""
        try:
            names = {field.name for field in fields(Conditions)}
            if stored["conditions"].keys() != names or not isinstance(stored[KEY], str):
                raise ValueError("other conditions")
            spec = None if stored["spec"] is None else SubDiTSpec.from_dict(stored["spec"])
            figures = {str(name): None if value is None else float(value) for name, value in stored["figures"].items()}
            return cls(str(stored["point"]), spec, stored[KEY], Conditions(**stored["conditions"]), figures)
        except (SubditError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(str(error)) from error


def evaluation_file(spec: SubDiTSpec | None, conditions: Conditions) -> str:
    """Name of the file of a sub-DiT, or of real images, under these conditions."""
    return f"{REAL if spec is None else spec.hash}-{conditions.hash}.json"


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write an evaluation into a folder, whole or not at all."""
    return write_json(folder / evaluation.file_name, evaluation.to_dict())


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation; raises `RunError` if the file is damaged."""
    try:
        return Evaluation.from_dict(read_json(path, "evaluation"))
    except ValueError as error:
        raise RunError(f"The evaluation at {path} is damaged ({error}); delete it and evaluate again.") from error


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of one call.

    Attributes:
        models: evaluations of sub-DiTs, in the order of the points.
        real: evaluations of real images, one per seed, as the scale.
    """

    models: tuple[Evaluation, ...]
    real: tuple[Evaluation, ...]

    def __iter__(self) -> Any:
        return iter((*self.models, *self.real))

    def to_dict(self) -> dict[str, Any]:
        return {"models": [each.to_dict() for each in self.models], "real": [each.to_dict() for each in self.real]}

    def to_frame(self) -> DataFrame:
        """One row per evaluation, real images last: point, spec's hash, digest, conditions, figures."""
        from pandas import DataFrame

        rows = [
            {
                "point": each.point,
                "spec_hash": None if each.spec is None else each.spec.hash,
                KEY: each.supernet,
                **asdict(each.conditions),
                **each.figures,
            }
            for each in self
        ]
        return DataFrame(rows)
