"""What the manifest of an encoded data set must look like before anything is computed of it, as JSON Schema."""

from __future__ import annotations

from typing import Any

from supernet.data.splits import SPLITS

_COUNT = {"type": "integer", "minimum": 0}
_SIZE = {"type": "integer", "minimum": 1}
_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def _each(entry: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": entry}


def _list(entry: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": entry}


def _fields(**entries: Any) -> dict[str, Any]:
    return {"type": "object", "properties": entries, "required": list(entries)}


_SHARD = _fields(
    file=_TEXT,
    sha256=_DIGEST,
    examples=_COUNT,
    rows={"type": "object", "properties": {split: _COUNT for split in SPLITS}, "additionalProperties": False},
    rejected=_each(_COUNT),
    resized=_COUNT,
    cropped=_COUNT,
    cropped_area={"type": "number", "minimum": 0},
    notes=_each(_COUNT),
    truncated=_each(_COUNT),
    licences=_each(_COUNT),
    longest_caption=_COUNT,
    statistics=_fields(count=_COUNT, sums=_list(_NUMBER), squares=_list(_NUMBER)),
)

_PIXELS = {"class": {"const": "pixels"}}

MANIFEST_SCHEMA = _fields(
    digest=_TEXT,
    null_sha256=_DIGEST,
    places=_each(_TEXT),
    key=_fields(
        space=_fields(
            latent_size=_SIZE,
            latent_channels=_SIZE,
            text_inputs=_each({"type": "array", "items": _SIZE, "minItems": 2, "maxItems": 2}),
        ),
        picture=_fields(size=_SIZE),
        latents={
            **_fields(**{"class": _TEXT}),
            "if": {"properties": _PIXELS},
            "then": {"properties": {"channels": {"enum": [1, 3]}}, "required": ["channels"]},
            "else": {"properties": {"mean": _list(_NUMBER), "std": _list(_NUMBER)}, "required": ["mean", "std"]},
        },
        text=_each({"type": "object"}),
        source={"type": "object"},
        split={"type": "object"},
        dtype=_TEXT,
        shard_examples=_SIZE,
    ),
    shards={"type": "array", "minItems": 1, "items": {**_SHARD, "additionalProperties": False}},
)


def damage(stored: Any) -> str:
    """What is wrong in a manifest, such as "key.space: 'latent_size' is a required property"; empty if nothing is."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(MANIFEST_SCHEMA).iter_errors(stored))
    if error is None:
        return ""
    place = ".".join(map(str, error.absolute_path))
    return f"{place}: {error.message}" if place else str(error.message)
