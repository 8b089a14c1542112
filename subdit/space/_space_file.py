"""Spaces as YAML files, and as dictionaries of the same keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING
from dataclasses import fields
from pathlib import Path
from typing import Any

from subdit.core.errors import SpaceError
from subdit.core.errors import SpecError
from subdit.core.strict_yaml import commented
from subdit.core.strict_yaml import read_yaml
from subdit.core.strict_yaml import shown
from subdit.space._dimensions import STAGES
from subdit.space._search_space import SearchSpace
from subdit.space._space_definition import TextInput
from subdit.space._spec import SubDiTSpec

_STAGED = ("depths", "ffn_ratios")
_LISTS = ("widths", "bna_blocks", "bna_radii", "kv_compressions", "pipeline")

_COMMENTS = {
    "name": "What commands and files call this space. A space with other content needs another name.",
    "latent_size": "Height and width of the latent that the model denoises.",
    "latent_channels": "Channels of that latent: 4 or 16 for most VAEs, 1 or 3 where latents are pixels.",
    "patch_size": "Side of a patch. latent_size / patch_size is the grid, tokens per side, and even: Middle has half.",
    "widths": "Hidden widths, ascending. The last one is the full width.",
    "depths": "Blocks per stage, ascending. Depths of Middle are even.",
    "ffn_ratios": "Width of the FFN's hidden layer over the hidden width, per stage, ascending.",
    "bna_blocks": "Strips B of blockwise neighbourhood attention. Each B divides the number of tokens.",
    "bna_radii": "Radii r in strips: a strip sees r strips on either side.",
    "kv_compressions": "Strides per side of the global branch's keys and values. Each divides the grid.",
    "head_dim": "Size of an attention head, a multiple of 4.",
    "full_heads": "Query heads at the full width; narrower sub-DiTs have proportionally fewer, a multiple of kv_heads.",
    "kv_heads": "Key and value heads at every width.",
    "text_inputs": "Text encoders: the name, the width of a token's embedding, the number of tokens.",
    "text_width": "Width of a text token in the model.",
    "time_width": "Width of the time embedding, an even number.",
    "rope_theta": "Base of the rotary position embedding.",
    "down_up_skip": "Whether tokens that leave Down are mixed in where Up begins (the paper has no such skip).",
    "named": "Named points. 'full' is needed: it is the largest in width, depth and FFN ratio.",
    "pipeline": "Models that a picture takes beside the DiT: text_encoder, decoder. [] where latents are pixels.",
    "example_prompt": "A prompt for the commands that are printed.",
    "extra": "Values of each dimension that a plug-in registers.",
}
"""The comment on each key, for people who edit the file."""


def space_to_dict(space: SearchSpace) -> dict[str, Any]:
    """All fields of a space under the keys of a space file; JSON can hold it."""
    values = {entry.name: getattr(space, entry.name) for entry in fields(space)}
    staged = {key: dict(zip(STAGES, map(list, values[key]), strict=True)) for key in _STAGED}
    listed = {key: list(values[key]) for key in _LISTS}
    texts = [{"name": text.name, "width": text.width, "tokens": text.tokens} for text in space.text_inputs]
    named = {point: _without_space(spec) for point, spec in space.named.items()}
    extra = {name: list(entries) for name, entries in space.extra}
    own = {"text_inputs": texts, "named": named, "extra": extra, "rope_theta": float(space.rope_theta)}
    return {**values, **staged, **listed, **own}


def space_hash(space: SearchSpace) -> str:
    """Ten hexadecimal digits, the hash of all fields of a space; they tell apart spaces of one name."""
    text = json.dumps(space_to_dict(space), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def space_from_dict(values: Any, where: str) -> SearchSpace:
    """The reverse of `space_to_dict`.

    Raises `SpaceError` that begins with `where`, and names the wrong key or the values that contradict each other.
    """
    entries = {entry.name: entry for entry in fields(SearchSpace)}
    values = _mapping(values, where)
    if strange := [key for key in values if key not in entries]:
        raise SpaceError(f"{where} has an unknown key {strange[0]!r}; the keys are {', '.join(entries)}.")
    needed = [key for key, entry in entries.items() if entry.default is MISSING and entry.default_factory is MISSING]
    if missing := [key for key in needed if key not in values]:
        raise SpaceError(f"{where} has no {missing[0]!r}; add it.")
    read = dict(values)
    for key in _STAGED:
        staged = _mapping(values[key], f"{where}, at {key!r},", keys=STAGES)
        read[key] = tuple(_list(staged[stage], f"{where}, at '{key}: {stage}',") for stage in STAGES)
    read |= {key: _list(values[key], f"{where}, at {key!r},") for key in _LISTS if key in values}
    texts = _list(values["text_inputs"], f"{where}, at 'text_inputs',")
    keys = tuple(entry.name for entry in fields(TextInput))
    read["text_inputs"] = tuple(TextInput(**_mapping(text, f"{where}, at 'text_inputs',", keys=keys)) for text in texts)
    extra = _mapping(values.get("extra", {}), f"{where}, at 'extra',")
    read["extra"] = tuple((name, _list(extra[name], f"{where}, at 'extra: {name}',")) for name in sorted(extra))
    if type(read["rope_theta"]) is int and abs(read["rope_theta"]) < 1 << 53:
        read["rope_theta"] = float(read["rope_theta"])
    read["named"] = _read_points(values, where)
    try:
        return SearchSpace(**read)
    except SpaceError as error:
        raise SpaceError(f"{where} cannot be: {error}") from error


def _read_points(values: Mapping[str, Any], where: str) -> dict[str, SubDiTSpec]:
    points = {}
    for point, stated in _mapping(values.get("named", {}), f"{where}, at 'named',").items():
        at_point = f"{where}, at 'named: {point}',"
        entries = _mapping(stated, at_point)
        if "space" in entries:
            raise SpaceError(f"{at_point} has a key 'space'; leave it out, as the file's 'name' says it.")
        try:
            points[point] = SubDiTSpec.from_dict({**entries, "space": values["name"]})
        except SpecError as error:
            raise SpaceError(f"{at_point} is no point: {error}") from error
    return points


def read_space(path: Path) -> SearchSpace:
    """The space in a YAML file; raises `SpaceError` where it is missing, is no space file, or contradicts itself."""
    values = read_yaml(path, what="space file", example="'subdit spaces new'", error=SpaceError)
    return space_from_dict(values, f"The space file {path}")


def space_to_yaml(space: SearchSpace, *, header: str = "") -> str:
    """The text of a space file with a comment on each key; `header` is a comment at its top."""
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    for key, value in space_to_dict(space).items():
        if key == "extra" and not value:
            continue
        lines += [""] if lines else []
        lines += commented(key, value, _COMMENTS[key])
    return "\n".join(lines) + "\n"


def _mapping(value: Any, where: str, *, keys: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The mapping; raises `SpaceError` where it is none, or where its keys are not `keys`."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise SpaceError(f"{where} is no mapping of names to values; compare it with what 'subdit spaces new' writes.")
    if keys is not None and set(value) != set(keys):
        raise SpaceError(f"{where} has the keys {', '.join(value) or 'none'}; it needs {', '.join(keys)}.")
    return dict(value)


def _list(value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SpaceError(f"{where} has {shown(value)}, which is no list; write [ ] around the values.")
    return tuple(value)


def _without_space(spec: SubDiTSpec) -> dict[str, Any]:
    return {key: value for key, value in spec.to_dict().items() if key != "space"}
