"""The verb `export`: writes a pick as a file for a runtime, with its distilled weights or else the supernet's."""

from __future__ import annotations

import shlex
from pathlib import Path

from subdit.core.errors import ExportError
from subdit.core.errors import RunError
from subdit.core.files import write_json
from subdit.core.origin import Freshness
from subdit.core.origin import artefact_paths
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import set_aside
from subdit.core.origin import stale_sentence
from subdit.core.origin import warn_of_stale_search
from subdit.core.origin import warn_stale
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.core.students import STEPS
from subdit.core.students import export_stem
from subdit.core.students import steps_name
from subdit.core.students import student_folder
from subdit.core.students import student_steps
from subdit.space import SubDiTSpec
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.data.data_record import read_record
from supernet.export.exporter import export_sub_dit
from supernet.recipe import read_recipe
from supernet.tflite import PRECISIONS

FORMATS = {"onnx": ("fp32",), "litert": PRECISIONS}
"""Precisions of each format."""


def export(
    run_path: Path,
    *,
    pick: str = "balanced",
    search: str = "default",
    format: str = "onnx",
    precision: str = "fp32",
    steps: int = STEPS,
    force: bool = False,
) -> Path:
    """Export a pick with its distilled weights, or else the supernet's, and check it against torch.

    An export of other weights than the run's is set aside, in `stale/` of the run, with a warning.

    Writes picks/SPEC_HASH/exports/dit.onnx and beside it dit.json, which tells a sampler the space, steps and shift; or
    for LiteRT dit-PRECISION.tflite with dit-PRECISION.json. Files of a student of two steps begin with dit-2_steps.

    Args:
        run_path: the run folder.
        pick: name of the pick.
        search: name of the search.
        format: onnx or litert.
        precision: precision of the weights, see `export_tflite`; ONNX is written as fp32.
        steps: which student, by its sampling steps; if there is none of four, the supernet's weights are exported.
        force: replace an existing export.

    Raises:
        RunError: no such run, search or pick; no student of that many steps, unless it is four; the export exists and
            `force` is not given; or the distilled sub-DiT is of other weights than the run's.
        CheckpointError: the weights are damaged.
        ExportError: no such format or precision, or the export differs from torch by more than its limit.
        MissingExtraError: the runtime of the format is not installed.
    """
    check_format(format, precision)
    run = Run(run_path)
    spec = SubDiTSpec.from_dict(read_pick(run, pick, search=search)["spec"])
    folder = run.pick(spec.hash)
    student, stem = student_folder(folder, steps), export_stem(steps)
    path = folder / "exports" / (f"{stem}.onnx" if format == "onnx" else f"{stem}-{precision}.tflite")
    digest = run_digest(run)
    warn_of_stale_search(run, search, digest)
    made_from = student_origin(run, pick, student, digest)
    _set_aside_export(run, pick, path, digest, force=force)
    distilled = (student / "config.json").exists()
    if not distilled and steps != STEPS:
        raise RunError(
            f"The pick {pick!r} is not distilled to {steps_name(steps).replace('_', ' ')}; do it with 'subdit distill' "
            f"and --steps {steps}."
        )
    model = load_sub_dit(student) if distilled else load_supernet(run.supernet).extract(spec)
    weights = student if distilled else run.supernet
    recipe, _ = read_recipe(weights)
    data = read_record(weights)
    export_sub_dit(model, path, recipe=recipe, precision=precision, force=force, supernet=made_from, data=data)
    write_json(folder / "spec.json", spec.to_dict())
    return path


def student_origin(run: Run, pick: str, distilled: Path, digest: str | None) -> str | None:
    """Digest of the supernet of a pick's weights: the one that its distilled sub-DiT records, or else the run's.

    Raises `RunError` if it is not the run's; warns if it is unknown.
    """
    if not (distilled / "config.json").exists():
        return digest
    made_from = origin(distilled)
    what = f"The distilled sub-DiT of pick {pick!r} at {distilled}"
    steps = student_steps(distilled)
    option = "" if steps in (None, STEPS) else f" and --steps {steps}"
    match freshness(made_from, digest):
        case Freshness.STALE:
            raise RunError(
                stale_sentence(what, made_from, digest, f"distil the pick again with 'subdit distill'{option}")
            )
        case Freshness.UNKNOWN:
            command = f"subdit distill {shlex.quote(str(run.path))} --pick {shlex.quote(pick)} --force"
            remedy = f"to be sure distil it again with '{command}'{option}"
            warn_stale(stale_sentence(what, made_from, digest, remedy))
    return made_from


def _set_aside_export(run: Run, pick: str, path: Path, digest: str | None, *, force: bool) -> None:
    """Set aside an export of other weights; raise `RunError` on any other export unless `force` is given."""
    if not path.exists():
        return
    made_from = origin(path)
    match freshness(made_from, digest):
        case Freshness.STALE:
            folder = set_aside(run, made_from, *artefact_paths(path))
            what = f"The export of pick {pick!r} that was at {path}"
            warn_stale(
                stale_sentence(what, made_from, digest, f"it now lies in {folder}, and the pick is exported again")
            )
        case Freshness.UNKNOWN if not force:
            what = f"The pick {pick!r} is exported already, but {path}"
            raise RunError(stale_sentence(what, made_from, digest, "pass --force to export it again"))
        case _ if not force:
            raise RunError(f"The pick {pick!r} is exported already, at {path}; pass --force to export it again.")


def check_format(format: str, precision: str) -> None:
    """Raise `ExportError` if `export` does not have the format, or the precision for it."""
    if format not in FORMATS:
        raise ExportError(f"There is no format {format!r}; choose from {', '.join(FORMATS)}.")
    if precision not in FORMATS[format]:
        has = ", ".join(FORMATS[format])
        raise ExportError(f"There is no {precision} for the format {format}; choose {has}, or another format.")
