"""Options of the form NAME=VALUE that may be repeated."""

from __future__ import annotations

from collections.abc import Sequence

import click


def named_values(values: Sequence[str], option: str) -> dict[str, str]:
    """Values NAME=VALUE by their names; raises `click.BadParameter` on others, or where a name comes twice."""
    found: dict[str, str] = {}
    for value in values:
        name, separator, rest = value.partition("=")
        if not (name and separator and rest) or name in found:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE with a name of its own.", param_hint=option)
        found[name] = rest
    return found
