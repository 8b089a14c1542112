"""Tables on stdout: aligned text for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import click


def echo_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings; a column whose every cell starts with a digit or a dash is set flush right."""
    columns = list(zip(headings, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [len(column) > 1 and all(cell[:1].isdigit() or cell[:1] in ("-", "") for cell in column[1:]) for column in columns]
    for at, row in enumerate([headings, *rows]):
        cells = [cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(row, widths, right, strict=True)]
        line = "  ".join(cells).rstrip()
        click.echo(click.style(line, bold=True) if at == 0 else line)


def echo_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print JSON; refuses NaN, which is not JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))
