"""The kit: a space's components, exported, with inputs and expected outputs, to be measured on some device.

KIT/
  kit.json               space, runtime, precision, hash, and the digest of every file; written last
  unfinished.json        instead of it, while the kit is being made
  reference.onnx         the reference kernel
  components/NAME.onnx   with NAME.npz: inputs by name, and what torch computes from them in float32
  whole/HASH.onnx        whole sub-DiTs for the calibration, with HASH.npz
  timings/               raw timings of measurements made here

Model files are in the format of the runtime that the kit was made for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from profilers.runtimes import Array
from profilers.runtimes import runtime_class
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.core.errors import SpaceError
from subdit.core.errors import SpecError
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import recorded_space

KIT_VERSION = 2
MANIFEST, UNFINISHED = "kit.json", "unfinished.json"


@dataclass(frozen=True)
class KitEntry:
    """One model of a kit; `spec` is None for a component."""

    name: str
    model: Path
    tensors: Path
    spec: SubDiTSpec | None = None

    @classmethod
    def component(cls, folder: Path, name: str, suffix: str) -> KitEntry:
        return cls(name, folder / "components" / f"{name}{suffix}", folder / "components" / f"{name}.npz")

    @classmethod
    def whole(cls, folder: Path, spec: SubDiTSpec, suffix: str, name: str | None = None) -> KitEntry:
        name = name or spec.hash
        return cls(name, folder / "whole" / f"{name}{suffix}", folder / "whole" / f"{name}.npz", spec)

    def arrays(self) -> tuple[dict[str, Array], Array]:
        """Inputs by name, and the output that torch computes from them."""
        with np.load(self.tensors, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return arrays, arrays.pop("output")

    def digests(self) -> dict[str, str]:
        return {"model": digest_of(self.model), "tensors": digest_of(self.tensors)}


@dataclass(frozen=True)
class Kit:
    """A finished kit.

    Attributes:
        runtime: that it was made for; every runtime of its format can measure it.
        precision: of the weights.
        hash: of the models of the components alone, or, where there are none, of the whole sub-DiTs.
        components: empty where it was made without parts.
        whole: for the calibration.
        format: of the model files, see `Runtime.format`.
        max_params: the components are those of sub-DiTs of at most this number of parameters; None for all.
        space_hash, space_definition: of the space; None in kits of earlier versions, which have its name alone.
    """

    folder: Path
    space: str
    runtime: str
    precision: str
    hash: str
    components: tuple[KitEntry, ...]
    whole: tuple[KitEntry, ...]
    format: str = "onnx"
    max_params: int | None = None
    space_hash: str | None = None
    space_definition: Mapping[str, Any] | None = None

    @cached_property
    def search_space(self) -> SearchSpace:
        """The space that it was made of; raises `SpaceError` where a kit of an earlier version names an unknown one."""
        return recorded_space(vars(self), f"The kit {self.folder}")

    @property
    def entries(self) -> tuple[KitEntry, ...]:
        """Every model but the reference kernel."""
        return self.components + self.whole

    @property
    def component_names(self) -> list[str]:
        return [entry.name for entry in self.components]

    @property
    def whole_names(self) -> list[str]:
        return [entry.name for entry in self.whole]

    @property
    def reference(self) -> Path:
        """File of the reference kernel."""
        return self.folder / f"reference{runtime_class(self.runtime).suffix}"


def is_kit(folder: Path) -> bool:
    """Whether a finished kit is there; `open_kit` checks its files."""
    return (folder / MANIFEST).is_file()


def open_kit(folder: Path) -> Kit:
    """Read a kit and check every file of it.

    Raises:
        KitError: the kit is missing, unfinished or damaged, or was made for a runtime that is not known here.
    """
    if not is_kit(folder):
        if (folder / UNFINISHED).is_file():
            raise KitError(f"The kit {folder} is unfinished; run 'subdit kit' with the same folder again to finish it.")
        raise KitError(f"There is no kit at {folder}; make one with 'subdit kit'.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["subdit_kit"] != KIT_VERSION:
            raise KitError(
                f"The kit {folder} has version {manifest['subdit_kit']!r}, which this subdit does not know; make it "
                "again with --force."
            )
        suffix = runtime_class(manifest["runtime"]).suffix
        specs = {name: SubDiTSpec.from_dict(entry["spec"]) for name, entry in manifest["whole"].items()}
        stated = ("space", "runtime", "format", "precision", "hash", "max_params")
        kit = Kit(
            folder,
            **{name: manifest[name] for name in stated},
            **{name: manifest.get(name) for name in ("space_hash", "space_definition")},
            components=tuple(KitEntry.component(folder, name, suffix) for name in manifest["components"]),
            whole=tuple(KitEntry.whole(folder, spec, suffix, name) for name, spec in specs.items()),
        )
        if kit.space_definition is not None:
            kit.search_space  # noqa: B018  Raises where its content is damaged.
        digests = {**manifest["components"], **manifest["whole"]}
        for entry in kit.entries:
            _require(folder, entry.model, digests[entry.name]["model"])
            _require(folder, entry.tensors, digests[entry.name]["tensors"])
        _require(folder, kit.reference, manifest["reference"])
    except (ProfileError, SpaceError) as error:
        raise KitError(f"The kit {folder} cannot be read here: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SpecError) as error:
        raise KitError(f"The kit {folder} is damaged ({MANIFEST}: {error}); make it again with --force.") from error
    return kit


def digest_of(path: Path) -> str:
    """SHA-256 of a file, and of the weights that lie beside a large ONNX model."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    beside = path.with_name(f"{path.name}.data")
    if beside.exists():
        with beside.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def hash_of(digests: Mapping[str, str]) -> str:
    """The kit's hash, 16 hexadecimal digits, from its models' digests by name."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()[:16]


def _require(folder: Path, path: Path, digest: str) -> None:
    problem = "is missing" if not path.is_file() else "has changed" if digest_of(path) != digest else ""
    if problem:
        raise KitError(
            f"The kit {folder} is damaged ({path.relative_to(folder)} {problem}); make it again with --force."
        )
