"""Finding a space: by name, in a space file, or in the record that a file made from it keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from subdit.core.errors import SpaceError
from subdit.space import _mobile
from subdit.space._search_space import SearchSpace
from subdit.space._space_definition import SPACE_SUFFIXES
from subdit.space._space_file import read_space
from subdit.space._space_file import space_from_dict
from subdit.space._space_file import space_hash
from subdit.space._space_file import space_to_dict

_FILES = Path(__file__).parent / "spaces"
_BUILT_IN = ("digits", "emoji-32", "emoji-64", "mid-256", *_mobile.presets(), "paper")
_met: dict[str, SearchSpace] = {}

SpaceLike = SearchSpace | str | os.PathLike[str]
"""A space, its name, or a space file."""


def space_names() -> tuple[str, ...]:
    """Names of all search spaces: the built-in ones, then those registered in this process."""
    return (*_BUILT_IN, *_met)


def get_space(space: SpaceLike) -> SearchSpace:
    """The space of that name or in that file; raises `SpaceError` that lists the names.

    A text that ends in .yaml or .yml is a file, any other text a name. `mobile-1k-D-M-U` is `mobile-1k` with D, M and U
    layers in the down, middle and up stages; M is even.
    """
    if isinstance(space, SearchSpace):
        return register_space(space)
    if not isinstance(space, str) or space.endswith(SPACE_SUFFIXES):
        return register_space(read_space(Path(space)))
    return named_space(space)


def named_space(name: str) -> SearchSpace:
    """`get_space` of a name alone: the name in an artefact must not read a file."""
    found = _met.get(name) or built_in_space(name)
    if found is None:
        raise SpaceError(
            f"There is no search space {name!r}; there is {', '.join(space_names())}, and {_mobile.NAME}-D-M-U with "
            "other layer counts, or name a space file that ends in .yaml."
        )
    return found


def register_space(space: SearchSpace) -> SearchSpace:
    """Register the space under its name in this process, so that specs of that name are its points; returns it.

    Whatever opens a space file, a run or a checkpoint calls this. The space needs a point named `full`, the largest in
    width, depth and FFN ratio: it is the network that the supernet holds. Raises `SpaceError` where that point is
    missing, or where a space of that name with other content is built in or registered.
    """
    known = _met.get(space.name) or built_in_space(space.name)
    if known == space:
        return known
    _check_full(space)
    if known is not None:
        where = "in use in this process" if space.name in _met else "built in"
        raise SpaceError(
            f"There is another search space named {space.name!r} {where} ({space_hash(known)}, this one is "
            f"{space_hash(space)}); give yours another name."
        )
    _met[space.name] = space
    return space


@cache
def built_in_space(name: str) -> SearchSpace | None:
    """The built-in space of that name, or None."""
    layers = _mobile.layers_of(name)
    if name not in _BUILT_IN and layers is None:
        return None
    found = read_space(_FILES / f"{name if layers is None else _mobile.NAME}.yaml")
    return _check_full(found if layers in (None, _mobile.LAYERS) else _mobile.with_layers(found, layers))


def space_argument(space: SearchSpace) -> str:
    """The argument for the space in a printed command: its name, or a file of that name."""
    return space.name if built_in_space(space.name) == space else f"{space.name}{SPACE_SUFFIXES[0]}"


def models_id(space: SearchSpace) -> str:
    """An id that spaces with the same sub-DiTs share: the name, with a hash where no built-in space has them.

    Named points, pipeline and prompt may differ, so measurements stay valid when these are edited.
    """
    own, known = models_hash(space), built_in_space(space.name)
    return space.name if known is not None and models_hash(known) == own else f"{space.name}-{own}"


def models_hash(space: SearchSpace) -> str:
    """`space_hash` without named points, pipeline and prompt."""
    return space_hash(replace(space, named={}, pipeline=(), example_prompt=""))


def rename_space(space: SearchSpace, name: str) -> SearchSpace:
    """The same space under another name; raises `SpaceError` where that is no name for a space."""
    return replace(space, name=name, named={key: replace(spec, space=name) for key, spec in space.named.items()})


def space_record(space: SearchSpace) -> dict[str, Any]:
    """The record of a space in files made from it: name, content hash and content."""
    return {"space": space.name, "space_hash": space_hash(space), "space_definition": space_to_dict(space)}


def recorded_space(record: Mapping[str, Any], where: str) -> SearchSpace:
    """The space of a record; a name alone, which earlier versions wrote, is the space of that name.

    Raises `SpaceError`: there is no such space, or the content is damaged; then the sentence begins with `where`.
    """
    if record.get("space_definition") is None:
        return named_space(str(record.get("space")))
    space = space_from_dict(record["space_definition"], f"{where}, at 'space_definition',")
    own = space_hash(space)
    if (space.name, own) != (record.get("space"), record.get("space_hash") or own):
        raise SpaceError(f"{where} names one space and holds another; make it again.")
    return space


def _check_full(space: SearchSpace) -> SearchSpace:
    """The space; raises `SpaceError` where it has no point `full` that holds all of its sub-DiTs."""
    if "full" not in space.named:
        raise SpaceError(f"Space {space.name!r} has no point named 'full', the network of its supernet; add it.")
    full = space.values(space.named["full"])
    for column in space.columns:
        label, largest = column.label, column.values[-1]
        if column.dimension.is_nested and full[label] < largest:
            raise SpaceError(
                f"Space {space.name!r} has a point 'full' with {label} {full[label]}, which cannot hold {label} "
                f"{largest}; give 'full' the largest value."
            )
    return space
