"""Settings: fields of a configuration that state beside their default what they mean and what they may be.

What a field states is read by the check of its values, by the command line for its options, and by what writes a
commented file, so that none of them says anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any
from typing import Union
from typing import get_args
from typing import get_origin
from typing import get_type_hints

from subdit.core.errors import ConfigError

_KEY = "setting"


@dataclass(frozen=True)
class Setting:
    """What a field of a configuration means and may be.

    Attributes:
        name: of the field.
        kind: int, float, bool, str, Path, or tuple for a list of texts.
        optional: whether None is a value.
        default: of the field.
        help: a sentence or two.
        minimum: the least number, and
        maximum: the largest, both included;
        above: a bound that is not, and
        below: its upper counterpart.
        choices: all values of a text, where they are few.
    """

    name: str
    kind: type
    optional: bool
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What the value may be, in words."""
        said = {bool: "true or false", str: "a text", Path: "a path", tuple: "a list of texts"}.get(self.kind, "")
        if self.choices:
            said = f"one of {', '.join(self.choices)}"
        elif not said:
            bounds = (("from", self.minimum), ("above", self.above), ("to", self.maximum), ("below", self.below))
            ends = " ".join(f"{word} {_number(bound)}" for word, bound in bounds if bound is not None)
            of = "a whole number" if self.kind is int else "a number"
            said = f"{of} of seconds {ends}" if self.name.endswith("_s") else f"{of} {ends}"
            said = said.rstrip()
            if self.maximum is None and self.below is None and self.minimum is not None:
                said += " on"
        return f"{said}, or null" if self.optional else said

    def accepts(self, value: Any) -> bool:
        """Whether the field may have that value."""
        if value is None:
            return self.optional
        if self.kind is tuple:
            return isinstance(value, tuple) and all(isinstance(text, str) for text in value)
        if self.kind in (bool, str, Path):
            return isinstance(value, self.kind) and (not self.choices or value in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int,) if self.kind is int else (int, float)):
            return False
        try:
            finite = math.isfinite(value)
        except OverflowError:
            return False
        return (
            finite
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def setting(default: Any, text: str, **bounds: Any) -> Any:
    """A dataclass field that means `text`; `bounds` are those of `Setting`, by their names."""
    return field(default=default, metadata={_KEY: {"help": text, **bounds}})


@cache
def settings_of(config: type) -> Mapping[str, Setting]:
    """The settings of a configuration's class by name, in order."""
    hints, found = get_type_hints(config), {}
    for entry in fields(config):
        if _KEY in entry.metadata:
            kinds = get_args(hints[entry.name]) if _is_union(hints[entry.name]) else (hints[entry.name],)
            kind = next(kind for kind in kinds if kind is not type(None))
            assert entry.default is not MISSING
            found[entry.name] = Setting(
                name=entry.name,
                kind=get_origin(kind) or kind,
                optional=type(None) in kinds,
                default=entry.default,
                **entry.metadata[_KEY],
            )
    return found


def check_settings(config: Any) -> None:
    """Raise `ConfigError` where a field of the configuration has a value that it may not have."""
    kind: type = type(config)
    for name, stated in settings_of(kind).items():
        value = getattr(config, name)
        if not stated.accepts(value):
            raise ConfigError(f"The setting {name} is {_shown(value)}; give {stated.expected}.")


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _number(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
