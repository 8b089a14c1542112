"""Options of a verb from the settings of a configuration, whose names, types, bounds, defaults and help they have."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from pathlib import Path
from typing import Any
from typing import TypeVar

import click

from subdit.cli._numbers import FiniteRange
from subdit.core.settings import Setting
from subdit.core.settings import settings_of

_Command = TypeVar("_Command", bound=Callable[..., Any])


def setting_options(config: type, *, without: Collection[str] = ()) -> Callable[[_Command], _Command]:
    """An option for each setting; what the command line gives of them is read by `given_settings`."""

    def decorate(command: _Command) -> _Command:
        for name, stated in reversed(list(settings_of(config).items())):
            if name not in without:
                command = _option(stated)(command)
        return command

    return decorate


def given_settings(config: type, values: dict[str, Any]) -> dict[str, Any]:
    """Those of a command's parameters that are settings and were given, not left at their defaults."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return {
        name: value
        for name, value in values.items()
        if name in settings_of(config) and context.get_parameter_source(name) is not default
    }


def _option(stated: Setting) -> Callable[[_Command], _Command]:
    flag = f"--{stated.name.replace('_', '-')}"
    options: dict[str, Any] = {"default": stated.default, "show_default": stated.default not in (None, ())}
    text = stated.help
    if stated.kind is bool:
        flag = "/-".join((flag, f"-no{flag[1:]}"))
    elif stated.kind is tuple:
        options["multiple"] = True
        text = f"{text} Give it once for each."
    else:
        options["type"] = _type(stated)
    return click.option(flag, stated.name, help=text, **options)


def _type(stated: Setting) -> Any:
    if stated.choices:
        return click.Choice(stated.choices)
    if stated.kind is Path:
        return click.Path(path_type=Path)
    if stated.kind is int:
        low, high = (None if bound is None else int(bound) for bound in (stated.minimum, stated.maximum))
        return click.IntRange(low, high)
    if stated.kind is float:
        return FiniteRange(
            stated.minimum if stated.above is None else stated.above,
            stated.maximum if stated.below is None else stated.below,
            min_open=stated.above is not None,
            max_open=stated.below is not None,
        )
    return click.STRING
