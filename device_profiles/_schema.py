"""Checks a profile against `schema.json`, with the few keywords of JSON Schema (draft 2020-12) that it uses.

A validator of one's own keeps the core to numpy; the published schema stays the one place where the format is written,
and other tools may check against it with any validator.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from subdit.core.errors import ProfileError


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        # An integer of more digits than a float has.
        return False


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value),
    "null": lambda value: value is None,
}

# A profile is six levels deep; what is so much deeper is none, and no sentence could show it.
_DEEPEST = 16
# Up to it JSON's numbers are the same to every program.
_LARGEST_INTEGER = 2**53 - 1
# Characters of a strange value that a sentence shows.
_LONGEST = 80

_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description"}


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
    if problem := _find_strange(values) or find_problem(values, profile_schema()):
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
    """The id of a profile, such as "phone/litert/fp16-in-fp32/t1/gpu-87pct"; a share is named where it is no whole."""
    computed = f"-in-{compute_precision}" if compute_precision not in (None, precision) else ""
    parts = [device, runtime, precision + computed, f"t{threads}"]
    if delegate:
        whole = delegated_share is None or round(100 * delegated_share) == 100
        parts.append(delegate if whole else f"{delegate}-{round(100 * (delegated_share or 0.0))}pct")
    return "/".join(parts)


def find_problem(value: Any, schema: Mapping[str, Any], at: str = "") -> str:
    """The first violation, as 'where: what', or an empty text. Raises `ValueError` on a keyword it does not know."""
    here = at or "the file"
    for keyword, rule in schema.items():
        problem = ""
        if keyword in _ANNOTATIONS:
            continue
        elif keyword == "$ref":
            problem = find_problem(value, profile_schema()["$defs"][rule.removeprefix("#/$defs/")], at)
            if problem:
                return problem
        elif keyword == "type":
            kinds = [rule] if isinstance(rule, str) else rule
            if not any(_TYPES[kind](value) for kind in kinds):
                problem = f"must be of type {' or '.join(kinds)}"
        elif keyword == "const":
            # 1 and 1.0 are one number, and true is none.
            problem = "" if value == rule and isinstance(value, bool) == isinstance(rule, bool) else f"must be {rule!r}"
        elif keyword == "enum":
            problem = "" if value in rule else f"must be one of {', '.join(map(repr, rule))}"
        elif keyword == "pattern":
            fits = not isinstance(value, str) or _pattern(rule).search(value)
            problem = "" if fits else f"{_shown(value)} does not match {rule}"
        elif keyword == "minimum":
            problem = "" if not _is_number(value) or value >= rule else f"must be at least {rule}"
        elif keyword == "maximum":
            problem = "" if not _is_number(value) or value <= rule else f"must be at most {rule}"
        elif keyword == "exclusiveMinimum":
            problem = "" if not _is_number(value) or value > rule else f"must be above {rule}"
        elif keyword == "minItems":
            problem = "" if not isinstance(value, list) or len(value) >= rule else f"must have at least {rule} entries"
        elif keyword == "minProperties":
            problem = "" if not isinstance(value, dict) or len(value) >= rule else f"must have at least {rule} entries"
        elif keyword == "required":
            missing = [key for key in rule if key not in value] if isinstance(value, dict) else []
            problem = f"{missing[0]!r} is missing" if missing else ""
        elif keyword == "anyOf":
            found = [find_problem(value, option, at) for option in rule]
            if all(found):
                return found[-1]
        elif keyword == "items":
            if found_item := _first(find_problem(entry, rule, f"{at}[{n}]") for n, entry in enumerate(value)):
                return found_item
        elif keyword in {"properties", "additionalProperties"}:
            if keyword == "properties" and (found_property := _check_properties(value, schema, at)):
                return found_property
            if keyword == "additionalProperties" and "properties" not in schema:
                if found_property := _check_properties(value, schema, at):
                    return found_property
        else:
            raise ValueError(f"schema.json uses {keyword!r}, which device_profiles._schema does not check")
        if problem:
            return f"{here}: {problem}"
    return ""


def _find_strange(values: Any) -> str:
    """What no value of a profile may be anywhere, as 'where: what', or an empty text; asks for no depth of stack.

    All of a profile may reach a terminal, where control characters are commands and half a surrogate pair is no text,
    and numpy, where integers of any size are objects.
    """
    left: list[tuple[Any, str, int]] = [(values, "", 0)]
    while left:
        value, at, depth = left.pop()
        here = at or "the file"
        if depth > _DEEPEST:
            return f"{here}: is nested too deep"
        if isinstance(value, str) and not value.isprintable():
            return f"{here}: {_shown(value)} is no printable text"
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            return f"{here}: {_shown(value)} is too large"
        if isinstance(value, dict):
            if strange := next((key for key in value if not str(key).isprintable()), None):
                return f"{here}: the name {_shown(strange)} is no printable text"
            left += [(entry, _inside(at, key), depth + 1) for key, entry in reversed(value.items())]
        elif isinstance(value, list):
            left += [(entry, f"{at}[{n}]", depth + 1) for n, entry in reversed(list(enumerate(value)))]
    return ""


def _inside(at: str, key: Any) -> str:
    name = str(key)[:_LONGEST]
    return f"{at}.{name}" if at else name


def _shown(value: Any) -> str:
    """A value in a sentence: what is strange about it shows at its beginning."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _check_properties(value: Any, schema: Mapping[str, Any], at: str) -> str:
    if not isinstance(value, dict):
        return ""
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for key, entry in value.items():
        inside = _inside(at, key)
        if key in known:
            problem = find_problem(entry, known[key], inside)
        elif others is False:
            problem = f"{inside}: is not a known field"
        else:
            problem = find_problem(entry, others, inside) if isinstance(others, dict) else ""
        if problem:
            return problem
    return ""


def _first(problems: Any) -> str:
    return next((problem for problem in problems if problem), "")


@cache
def _pattern(rule: str) -> re.Pattern[str]:
    """`rule` as JSON Schema means it, in ECMA-262: there `$` is the very end, where Python lets a line feed follow."""
    return re.compile(re.sub(r"(?<!\\)\$", r"\\Z", rule), re.ASCII)


def _is_number(value: Any) -> bool:
    # With integers of any number of digits, which compare with all others.
    return isinstance(value, (int, float)) and not isinstance(value, bool)
