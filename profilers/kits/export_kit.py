"""`kit`: export the components of a space and some whole sub-DiTs, with what torch computes from them in float32."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from profilers.kits.calibration_specs import calibration_specs
from profilers.kits.kit import KIT_VERSION
from profilers.kits.kit import MANIFEST
from profilers.kits.kit import UNFINISHED
from profilers.kits.kit import KitEntry
from profilers.kits.kit import digest_of
from profilers.kits.kit import hash_of
from profilers.kits.kit_estimate import KitEstimate
from profilers.kits.kit_estimate import estimate_kit
from profilers.runtimes import DEFAULT_RUNTIME
from profilers.runtimes import Runtime
from profilers.runtimes import get_runtime
from profilers.runtimes import source_model
from subdit.core.errors import KitError
from subdit.core.errors import RunError
from subdit.core.files import replacing
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SpaceLike
from subdit.space import SubDiTSpec
from subdit.space import components_up_to
from subdit.space import get_space
from subdit.space import space_hash
from subdit.space import space_names
from subdit.space import space_record

DEFAULT_WHOLE = 12


def kit(
    space: SpaceLike,
    out: Path,
    *,
    runtime: str = DEFAULT_RUNTIME,
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
        space: a search space, the name of one, or a space file.
        out: folder of the kit.
        runtime: for which runtime; others of the same format can measure it too.
        precision: of the weights, see `get_runtime`.
        whole: number of whole sub-DiTs, for the calibration.
        parts: whether the components are in it.
        max_params: only components and sub-DiTs of at most this number of parameters.
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
    space, chosen = get_space(space), get_runtime(runtime, precision=precision)
    pieces, specs = _choose_models(space, whole, parts=parts, max_params=max_params)
    specs = specs[: estimate_kit(space, pieces, specs, runtime=chosen, budget_minutes=budget_minutes).whole]
    names = [component.name for component in pieces]
    plan = {"subdit_kit": KIT_VERSION, **space_record(space), "runtime": runtime, "format": chosen.format}
    plan |= {"precision": precision, "max_params": max_params, "components": names}
    plan |= {"whole": [spec.hash for spec in specs]}
    _begin(out, plan, force=force)
    components = tuple(KitEntry.component(out, name, chosen.suffix) for name in names)
    wholes = tuple(KitEntry.whole(out, spec, chosen.suffix) for spec in specs)
    reference = out / f"reference{chosen.suffix}"
    if not reference.exists():
        chosen.export_reference(reference)
    entries = components + wholes
    for done, entry in enumerate(entries):
        progress(done, len(entries), entry.name)
        # The tensors are written after the model, and both take their names only when they are whole.
        if not entry.tensors.exists():
            _export(space, chosen, entry)
    progress(len(entries), len(entries), "")
    whole_digests = {
        entry.name: {"spec": spec.to_dict(), **entry.digests()} for entry, spec in zip(wholes, specs, strict=True)
    }
    manifest = {
        **plan,
        "hash": hash_of({entry.name: digest_of(entry.model) for entry in components or wholes}),
        "reference": digest_of(reference),
        "components": {entry.name: entry.digests() for entry in components},
        "whole": whole_digests,
    }
    write_json(out / MANIFEST, manifest)
    (out / UNFINISHED).unlink(missing_ok=True)
    return out


def estimate(
    space: SpaceLike,
    *,
    runtime: str = DEFAULT_RUNTIME,
    precision: str = "fp32",
    whole: int = DEFAULT_WHOLE,
    parts: bool = True,
    max_params: int | None = None,
    budget_minutes: float | None = None,
) -> KitEstimate:
    """What `kit` with the same arguments is expected to write and to take; writes nothing. Raises as `kit` does."""
    space, chosen = get_space(space), get_runtime(runtime, precision=precision)
    pieces, specs = _choose_models(space, whole, parts=parts, max_params=max_params)
    return estimate_kit(space, pieces, specs, runtime=chosen, budget_minutes=budget_minutes)


def _choose_models(
    space: SearchSpace, whole: int, *, parts: bool, max_params: int | None
) -> tuple[tuple[Component, ...], tuple[SubDiTSpec, ...]]:
    """The components and the whole sub-DiTs of a kit, before a budget."""
    specs = calibration_specs(space, max(whole, 1), max_params=max_params)[:whole]
    pieces = components_up_to(space, max_params) if parts else ()
    if not pieces and not specs:
        raise KitError("A kit without parts and without whole sub-DiTs is empty; pass --whole or --parts.")
    return pieces, specs


def _export(space: SearchSpace, runtime: Runtime, entry: KitEntry) -> None:
    """Write the model and then the tensors: the inputs by name, and torch's output in float32 as 'output'."""
    import torch

    entry.model.parent.mkdir(parents=True, exist_ok=True)
    with _one_thread(), torch.no_grad():
        model = source_model(space, entry.spec or Component.from_name(entry.name))
        runtime.export(model, entry.model)
        expected = model.module(*model.inputs.values())
    arrays = {name: value.numpy() for name, value in model.inputs.items()}
    with replacing(entry.tensors) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays, output=expected.numpy())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread, so that the same bytes come out whatever the machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _continues(stored: Any, plan: Mapping[str, Any]) -> bool:
    """Whether an unfinished kit is of this plan; earlier versions wrote a built-in space's name alone."""
    earlier = {key: value for key, value in plan.items() if key not in ("space_hash", "space_definition")}
    built_in = plan["space"] in space_names() and space_hash(get_space(plan["space"])) == plan["space_hash"]
    return bool(stored == plan or (built_in and stored == earlier))


def _begin(out: Path, plan: Mapping[str, Any], *, force: bool) -> None:
    """Note what is being made; raises `RunError` where something else is there."""
    unfinished = out / UNFINISHED
    with contextlib.suppress(OSError, ValueError):
        if _continues(json.loads(unfinished.read_text(encoding="utf-8")), plan):
            write_json(unfinished, plan)
            return
    if (out / MANIFEST).exists() or unfinished.exists():
        if not force:
            raise RunError(f"There is a kit at {out} already; name another folder, or pass --force to replace it.")
        # Killed between these lines, it is a folder that only --force goes on with: old models may still be there.
        write_json(unfinished, {"clearing": True})
        (out / MANIFEST).unlink(missing_ok=True)
        for name in ("components", "whole", "timings"):
            shutil.rmtree(out / name, ignore_errors=True)
        for reference in out.glob("reference.*"):
            reference.unlink()
    elif out.exists() and any(out.iterdir()):
        raise RunError(f"The folder {out} is not empty and holds no kit; name another folder.")
    write_json(unfinished, plan)
