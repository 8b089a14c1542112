"""The space of a run: `space.yaml` in the run has its content, the manifest its name and hash."""

from __future__ import annotations

from typing import Any

from subdit.core.errors import RunError
from subdit.core.files import write_atomic
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.run import start_manifest
from subdit.space._search_space import SearchSpace
from subdit.space._space_file import read_space
from subdit.space._space_file import space_hash
from subdit.space._space_file import space_to_yaml
from subdit.space._spaces import named_space
from subdit.space._spaces import register_space


def run_space(run: Run) -> SearchSpace:
    """The space of a run; runs of earlier versions have its name alone.

    Raises `RunError` where the run is missing or damaged, or where its `space.yaml` was changed. Raises `SpaceError`
    where there is no such space.
    """
    manifest = read_manifest(run)
    if manifest.get("space_hash") is None:
        return named_space(str(manifest.get("space")))
    space = read_space(run.space)
    if (space.name, space_hash(space)) != (manifest.get("space"), manifest["space_hash"]):
        raise RunError(
            f"The file {run.space} was changed after the run began ({space_hash(space)} instead of "
            f"{manifest['space_hash']}); undo the change, and start another run for another space."
        )
    return register_space(space)


def start_run(run: Run, space: SearchSpace) -> dict[str, Any]:
    """Read the run's manifest, or begin the run; raises `RunError` where the run is of another space."""
    begun = run.manifest.exists()
    if not begun:
        # Written before the manifest, as a manifest means that the space is there.
        write_atomic(run.space, space_to_yaml(space, header="The space of this run. Do not edit it."))
    manifest = start_manifest(run, space=space.name, space_hash=space_hash(space))
    if begun and (known := run_space(run)) != space:
        raise RunError(
            f"The run {run.path} is of another space named {space.name!r} ({space_hash(known)}, not "
            f"{space_hash(space)}); name another folder."
        )
    return manifest
