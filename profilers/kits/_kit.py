"""The kit: a space's components, exported, with inputs and expected outputs, to be measured on some device.

KIT/
  kit.json               space, runtime, precision, hash, and the digest of every file; written last
  unfinished.json        instead of it, while the kit is being made
  reference.onnx         the reference kernel
  components/NAME.onnx   with NAME.npz: inputs by name, and what torch computes from them in float32
  whole/HASH.onnx        whole sub-DiTs for the calibration, with HASH.npz
  timings/               raw timings of measurements made here

Models are .onnx, .tflite, or, for torch, .json that says what to build.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profilers._expected import KitEstimate
from profilers._expected import estimate_kit
from profilers._export import Exporter
from profilers._reference_files import write_reference
from profilers._whole import calibration_specs
from profilers.runtimes import get_runtime
from subdit.core.errors import KitError
from subdit.core.errors import RunError
from subdit.core.errors import SpecError
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import components_up_to
from subdit.space import get_space

DEFAULT_WHOLE = 12
KIT_VERSION = 2
FORMATS = {".onnx": "onnx", ".tflite": "tflite", ".json": "torch"}
"""Suffix of a model's file to the format of a kit; a kit of a format serves every runtime that loads it."""

SUFFIXES = {name: suffix for suffix, name in FORMATS.items()}

_MANIFEST, _UNFINISHED = "kit.json", "unfinished.json"


@dataclass(frozen=True)
class KitEntry:
    """One model of a kit; `spec` is None for a component."""

    name: str
    model: Path
    tensors: Path
    spec: SubDiTSpec | None = None

    def arrays(self) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any]]:
        """Inputs by name, and the output that torch computes from them."""
        with np.load(self.tensors, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return arrays, arrays.pop("output")


@dataclass(frozen=True)
class Kit:
    """A finished kit.

    Attributes:
        runtime: that it was made for; every runtime that loads its format serves.
        precision: of the weights.
        hash: depends on the models of the components alone, or, where there are none, on the whole sub-DiTs.
        components: empty where it was made without parts.
        whole: for the calibration.
        format: "onnx", "tflite" or "torch".
        max_params: the components are those of sub-DiTs of at most so many parameters; None for all.
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

    @property
    def reference(self) -> Path:
        """File of the reference kernel."""
        return self.folder / f"reference{SUFFIXES[self.format]}"


def kit(
    space_name: str,
    out: Path,
    *,
    runtime: str = "onnxruntime",
    precision: str = "fp32",
    whole: int = DEFAULT_WHOLE,
    parts: bool = True,
    max_params: int | None = None,
    budget_minutes: float | None = None,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Export every component of a space, and some whole sub-DiTs; goes on where it was when it was killed.

    Args:
        space_name: name of the search space.
        out: folder of the kit.
        runtime: for which runtime; others that load the same format can measure it too.
        precision: of the weights, see `get_runtime`.
        whole: how many whole sub-DiTs, for the calibration.
        parts: whether the components are in it.
        max_params: only components and sub-DiTs of at most so many parameters.
        budget_minutes: minutes that measuring may take, as `estimate` expects them; whole sub-DiTs are left out to stay
            within, but not below the 6 that a calibration needs, or the 10 that a kit without parts needs.
        force: replace a kit that is there.
        progress: reports models.

    Returns:
        The folder.

    Raises:
        SpaceError: no such space.
        RunError: the folder holds a kit, or something else, and `force` is not given.
        ExportError: a component cannot be exported.
        ProfileError: no such runtime, or it has no such precision.
        KitError: nothing is left to measure, or it is expected to take longer than `budget_minutes`.
    """
    space = get_space(space_name)
    suffix = get_runtime(runtime, precision=precision).model_suffix
    exporter = Exporter(space, FORMATS[suffix], precision)
    pieces, specs = _chosen(space, whole, parts=parts, max_params=max_params)
    expected = _expected(space, pieces, specs, suffix, precision, budget_minutes)
    names = [component.name for component in pieces]
    specs = specs[: expected.whole]
    plan = {"subdit_kit": KIT_VERSION, "space": space.name, "runtime": runtime, "format": FORMATS[suffix]}
    plan |= {"precision": precision, "max_params": max_params, "components": names}
    plan |= {"whole": [spec.hash for spec in specs]}
    _begin(out, plan, force=force)
    components = tuple(_entry(out, "components", name, suffix) for name in names)
    wholes = tuple(_entry(out, "whole", spec.hash, suffix, spec) for spec in specs)
    reference = out / f"reference{suffix}"
    if not reference.exists():
        write_reference(reference)
    entries = components + wholes
    for done, entry in enumerate(entries):
        progress(done, len(entries), entry.name)
        # The tensors are written after the model, and both take their names only when they are whole.
        if not entry.tensors.exists():
            exporter.write(entry.spec or Component.from_name(entry.name), entry.model, entry.tensors)
    progress(len(entries), len(entries), "")
    whole_digests = {
        entry.name: {"spec": spec.to_dict(), **_digests(entry)} for entry, spec in zip(wholes, specs, strict=True)
    }
    manifest = {
        **plan,
        "hash": _hash({entry.name: digest_of(entry.model) for entry in components or wholes}),
        "reference": digest_of(reference),
        "components": {entry.name: _digests(entry) for entry in components},
        "whole": whole_digests,
    }
    write_json(out / _MANIFEST, manifest)
    (out / _UNFINISHED).unlink(missing_ok=True)
    return out


def estimate(
    space_name: str,
    *,
    runtime: str = "onnxruntime",
    precision: str = "fp32",
    whole: int = DEFAULT_WHOLE,
    parts: bool = True,
    max_params: int | None = None,
    budget_minutes: float | None = None,
) -> KitEstimate:
    """What `kit` with the same arguments is expected to write and to take; writes nothing. Raises as `kit` does."""
    space = get_space(space_name)
    suffix = get_runtime(runtime, precision=precision).model_suffix
    pieces, specs = _chosen(space, whole, parts=parts, max_params=max_params)
    return _expected(space, pieces, specs, suffix, precision, budget_minutes)


def is_kit(folder: Path) -> bool:
    """Whether a finished kit is there; `open_kit` tells whether it is whole."""
    return (folder / _MANIFEST).is_file()


def open_kit(folder: Path) -> Kit:
    """Read a kit and check every file of it; raises `KitError` where it is missing, unfinished or damaged."""
    if not is_kit(folder):
        if (folder / _UNFINISHED).is_file():
            raise KitError(f"The kit {folder} is unfinished; run 'subdit kit' with the same folder again to finish it.")
        raise KitError(f"There is no kit at {folder}; make one with 'subdit kit'.")
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["subdit_kit"] != KIT_VERSION:
            raise KitError(
                f"The kit {folder} has version {manifest['subdit_kit']!r}, which this subdit does not know; make it "
                "again with --force."
            )
        suffix = SUFFIXES[manifest["format"]]
        components = tuple(_entry(folder, "components", name, suffix) for name in manifest["components"])
        specs = {name: SubDiTSpec.from_dict(entry["spec"]) for name, entry in manifest["whole"].items()}
        whole = tuple(_entry(folder, "whole", name, suffix, spec) for name, spec in specs.items())
        digests = {**manifest["components"], **manifest["whole"]}
        same = ("space", "runtime", "format", "precision", "hash", "max_params")
        stated = {name: manifest[name] for name in same}
        found = Kit(folder, **stated, components=components, whole=whole)
        for entry in components + whole:
            _require(folder, entry.model, digests[entry.name]["model"])
            _require(folder, entry.tensors, digests[entry.name]["tensors"])
        _require(folder, found.reference, manifest["reference"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SpecError) as error:
        raise KitError(f"The kit {folder} is damaged ({_MANIFEST}: {error}); make it again with --force.") from error
    return found


def _chosen(
    space: SearchSpace, whole: int, *, parts: bool, max_params: int | None
) -> tuple[tuple[Component, ...], tuple[SubDiTSpec, ...]]:
    """The components and the whole sub-DiTs of a kit, before a budget."""
    specs = calibration_specs(space, max(whole, 1), max_params=max_params)[:whole]
    pieces = components_up_to(space, max_params) if parts else ()
    if not pieces and not specs:
        raise KitError("A kit without parts and without whole sub-DiTs is empty; pass --whole or --parts.")
    return pieces, specs


def _expected(
    space: SearchSpace,
    pieces: tuple[Component, ...],
    specs: tuple[SubDiTSpec, ...],
    suffix: str,
    precision: str,
    budget_minutes: float | None,
) -> KitEstimate:
    return estimate_kit(
        space, pieces, specs, model_format=FORMATS[suffix], precision=precision, budget_minutes=budget_minutes
    )


def _begin(out: Path, plan: Mapping[str, Any], *, force: bool) -> None:
    """Note what is being made; raises `RunError` where something else is there."""
    unfinished = out / _UNFINISHED
    with contextlib.suppress(OSError, ValueError):
        if json.loads(unfinished.read_text(encoding="utf-8")) == plan:
            return
    if (out / _MANIFEST).exists() or unfinished.exists():
        if not force:
            raise RunError(f"There is a kit at {out} already; name another folder, or pass --force to replace it.")
        # Killed between these lines, it is a folder that only --force goes on with: old models may still be there.
        write_json(unfinished, {"clearing": True})
        (out / _MANIFEST).unlink(missing_ok=True)
        for name in ("components", "whole", "timings"):
            shutil.rmtree(out / name, ignore_errors=True)
        for suffix in FORMATS:
            (out / f"reference{suffix}").unlink(missing_ok=True)
    elif out.exists() and any(out.iterdir()):
        raise RunError(f"The folder {out} is not empty and holds no kit; name another folder.")
    write_json(unfinished, plan)


def _entry(folder: Path, group: str, name: str, suffix: str, spec: SubDiTSpec | None = None) -> KitEntry:
    return KitEntry(name, folder / group / f"{name}{suffix}", folder / group / f"{name}.npz", spec)


def _digests(entry: KitEntry) -> dict[str, str]:
    return {"model": digest_of(entry.model), "tensors": digest_of(entry.tensors)}


def digest_of(path: Path) -> str:
    """Of a file, and of the weights that lie beside a large ONNX model."""
    digest = hashlib.sha256()
    for part in (path, path.with_name(f"{path.name}.data")):
        if part == path or part.exists():
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest() if part != path else file.read())
    return digest.hexdigest()


def _hash(digests: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()[:16]


def _require(folder: Path, path: Path, digest: str) -> None:
    problem = "is missing" if not path.is_file() else "has changed" if digest_of(path) != digest else ""
    if problem:
        raise KitError(
            f"The kit {folder} is damaged ({path.relative_to(folder)} {problem}); make it again with --force."
        )
