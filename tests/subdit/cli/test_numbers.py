"""No option takes a number that is none: nan, or infinity."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from subdit.cli import group


def options(command: click.Command, name: str = "subdit") -> Iterator[tuple[str, click.Parameter]]:
    """Every option of every verb that takes a fraction."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            below = command.get_command(context, verb)
            assert below is not None
            yield from options(below, f"{name} {verb}")
    for parameter in command.params:
        if isinstance(parameter.type, click.types.FloatParamType) and not getattr(parameter, "hidden", False):
            yield f"{name} {parameter.opts[0]}", parameter


FOUND = dict(options(group))


@pytest.mark.parametrize("name", sorted(FOUND))
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_are_finite(name: str, value: str) -> None:
    with pytest.raises(click.BadParameter):
        FOUND[name].type.convert(value, FOUND[name], None)


def test_the_options_are_found() -> None:
    assert {"subdit train --learning-rate", "subdit distill --ceiling-s", "subdit data encode --judge"} <= set(FOUND)
