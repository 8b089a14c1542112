"""Checks a profile against `schema.json` by jsonschema, and for what JSON Schema cannot say.

jsonschema is imported when the first profile is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from subdit.core.errors import ProfileError

# A profile is six levels deep.
_DEEPEST = 16
# Up to it JSON's numbers are the same to every program.
_LARGEST_INTEGER = 2**53 - 1
# Characters of a strange value that a sentence shows.
_LONGEST = 80

# What a sentence says of a violated keyword, from the keyword's value and the value that violates it.
_SAID: dict[str, Callable[[Any, Any], str]] = {
    "type": lambda rule, _: f"must be of type {' or '.join([rule] if isinstance(rule, str) else rule)}",
    "const": lambda rule, _: f"must be {rule!r}",
    "enum": lambda rule, _: f"must be one of {', '.join(map(repr, rule))}",
    "pattern": lambda rule, value: f"{_shown(value)} does not match {rule}",
    "minimum": lambda rule, _: f"must be at least {rule}",
    "maximum": lambda rule, _: f"must be at most {rule}",
    "exclusiveMinimum": lambda rule, _: f"must be above {rule}",
    "minItems": lambda rule, _: f"must have at least {rule} entries",
    "minProperties": lambda rule, _: f"must have at least {rule} entries",
    "required": lambda rule, value: f"{next(key for key in rule if key not in value)!r} is missing",
}


@cache
def profile_schema() -> dict[str, Any]:
    """The published schema of a device profile."""
    return json.loads(files("device_profiles").joinpath("schema.json").read_text(encoding="utf-8"))


def check_profile(values: Any, where: str) -> None:
    """Raise `ProfileError` naming `where` and the first thing in it that the schema does not allow."""
    # A version that is nested too deep cannot be shown.
    if not _find_strange(values) and isinstance(values, dict) and values.get("subdit_profile", 1) != 1:
        raise ProfileError(
            f"The profile {where} has schema version {_shown(values['subdit_profile'])}, which this subdit does not "
            "know; update subdit."
        )
    if problem := find_damage(values):
        raise ProfileError(f"The profile {where} is damaged ({problem}); measure it again or restore the file.")
    expected = profile_id(
        values["device"],
        values["runtime"],
        values["precision"],
        values.get("compute_precision"),
        values["threads"],
        values.get("delegate"),
        values.get("delegated_share"),
    )
    if values["id"] != expected:
        raise ProfileError(
            f"The profile {where} is damaged (its id is {_shown(values['id'])}, its fields say {_shown(expected)}); "
            "restore the file."
        )


def find_damage(values: Any) -> str:
    """Why this is no profile of this version, or an empty text; whether its id is that of its fields is not asked."""
    if problem := _find_strange(values) or _find_violation(values):
        return problem
    return "" if values["components"] or values.get("whole") else "it has no latency at all"


def profile_id(
    device: str,
    runtime: str,
    precision: str,
    compute_precision: str | None,
    threads: int,
    delegate: str | None,
    delegated_share: float | None,
) -> str:
    """The id of a profile, such as "phone/litert/fp16-in-fp32/t1/gpu-87pct"; a share below all is named."""
    computed = f"-in-{compute_precision}" if compute_precision not in (None, precision) else ""
    parts = [device, runtime, precision + computed, f"t{threads}"]
    if delegate:
        whole = delegated_share is None or round(100 * delegated_share) == 100
        parts.append(delegate if whole else f"{delegate}-{round(100 * (delegated_share or 0.0))}pct")
    return "/".join(parts)


@cache
def validator() -> Any:
    """The schema's validator, whose numbers are finite and whose integers are written without a decimal point."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    def is_number(_: Any, value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

    def is_integer(_: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine_many({"number": is_number, "integer": is_integer})
    return extend(Draft202012Validator, type_checker=types)(profile_schema())


def _find_violation(values: Any) -> str:
    """The first violation of the schema, as 'where: what', or an empty text."""
    error = next(validator().iter_errors(values), None)
    while error is not None and error.validator == "anyOf":
        # The last option is the one that is not null.
        last = len(error.validator_value) - 1
        error = next(inner for inner in error.context if inner.schema_path[0] == last)
    if error is None:
        return ""
    place = list(error.absolute_path)
    if error.validator == "additionalProperties":
        strange = next(key for key in error.instance if key not in error.schema["properties"])
        return f"{_location([*place, strange])}: is not a known field"
    return f"{_location(place)}: {_SAID[error.validator](error.validator_value, error.instance)}"


def _find_strange(values: Any) -> str:
    """The first value that no profile may have anywhere, as 'where: what', or an empty text; without recursion.

    All of a profile may reach a terminal, where control characters are commands and half a surrogate pair is no text,
    and numpy, which has no integers of any size.
    """
    left: list[tuple[Any, tuple[Any, ...]]] = [(values, ())]
    while left:
        value, place = left.pop()
        if len(place) > _DEEPEST:
            return f"{_location(place)}: is nested too deep"
        if isinstance(value, str) and not value.isprintable():
            return f"{_location(place)}: {_shown(value)} is no printable text"
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            return f"{_location(place)}: {_shown(value)} is too large"
        if isinstance(value, dict):
            if strange := next((key for key in value if not str(key).isprintable()), None):
                return f"{_location(place)}: the name {_shown(strange)} is no printable text"
            left += [(entry, (*place, key)) for key, entry in reversed(value.items())]
        elif isinstance(value, list):
            left += [(entry, (*place, index)) for index, entry in reversed(list(enumerate(value)))]
    return ""


def _location(place: Iterable[Any]) -> str:
    """Such as 'calibration.whole[2].latency'; 'the file' for its root."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{str(key)[:_LONGEST]}" for key in place]
    return "".join(parts).removeprefix(".") or "the file"


def _shown(value: Any) -> str:
    """A value in a sentence: what is strange about it shows at its beginning."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
