"""The space of a run: its content lies in the run as `space.yaml`, its name and hash are in the manifest."""

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
    """The space that a run is of; runs of earlier versions have its name alone.

    Raises `RunError` where the run is missing or damaged, or its `space.yaml` was changed, `SpaceError` where there is
    no such space.
    """
    manifest = read_manifest(run)
    if manifest.get("space_hash") is None:
        return named_space(str(manifest.get("space")))
    space = read_space(run.space)
    if (space.name, space_hash(space)) != (manifest.get("space"), manifest["space_hash"]):
        raise RunError(
            f"The file {run.space} was changed after the run was made of it ({space_hash(space)} instead of "
            f"{manifest['space_hash']}); undo that, and start another run for another space."
        )
    return register_space(space)


def start_run(run: Run, space: SearchSpace) -> dict[str, Any]:
    """Read the run's manifest or begin the run; raises `RunError` where it is of another space."""
    begun = run.manifest.exists()
    if not begun:
        # Before the manifest, which says that it is there.
        write_atomic(run.space, space_to_yaml(space, header="The space that this run was made of; not to be edited."))
    manifest = start_manifest(run, space=space.name, space_hash=space_hash(space))
    if begun and (known := run_space(run)) != space:
        raise RunError(
            f"The run {run.path} is of another space named {space.name!r} ({space_hash(known)}, not "
            f"{space_hash(space)}); name another folder."
        )
    return manifest
