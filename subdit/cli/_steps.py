"""Options of the verbs that train: budgets in steps, a ceiling in seconds, and what the options were called before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import TypeVar

import click

from subdit.cli._numbers import FiniteRange

_Command = TypeVar("_Command", bound=Callable[..., Any])


def replaced_option(name: str, *, instead: str) -> Callable[[_Command], _Command]:
    """A hidden option of an earlier version, which refuses and says what to give instead."""

    def refuse(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise click.UsageError(f"{name} is gone, as results depended on the machine's speed; give {instead}.")

    return click.option(name, hidden=True, expose_value=False, callback=refuse)


def ceiling_options(*, of: str, ceiling_s: float | None = None, default: str = "") -> Callable[[_Command], _Command]:
    """`--ceiling-s` and `--no-ceiling`; what they say is read by `ceiling`.

    `default` says in words what the default is where it is no one number.
    """

    def decorate(command: _Command) -> _Command:
        command = click.option(
            "--no-ceiling", is_flag=True, help="Make all steps, however long they take; the progress says how long."
        )(command)
        return click.option(
            "--ceiling-s",
            type=FiniteRange(min=1),
            default=ceiling_s,
            show_default=ceiling_s is not None,
            help=f"Seconds that {of} may take; where the steps do not fit, training is cut short and cooled down."
            + ("" if ceiling_s is not None or default else " Without it all steps are made.")
            + (f" By default {default}." if default else ""),
        )(command)

    return decorate


def ceiling(ceiling_s: float | None, no_ceiling: bool) -> float | None:
    """The ceiling that the two options ask for; raises `click.UsageError` where both are given."""
    context = click.get_current_context()
    given = context.get_parameter_source("ceiling_s") is click.core.ParameterSource.COMMANDLINE
    if no_ceiling and given:
        raise click.UsageError("--ceiling-s and --no-ceiling contradict each other; give one of them.")
    return None if no_ceiling else ceiling_s
