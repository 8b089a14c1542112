"""Tables on stdout: aligned text for people, JSON for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import click


def echo_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings; a column of numbers is set flush right."""
    columns = list(zip(headings, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    align = [str.rjust if _is_numeric(column[1:]) else str.ljust for column in columns]
    for at, row in enumerate([headings, *rows]):
        cells = [set_to(cell, width) for set_to, cell, width in zip(align, row, widths, strict=True)]
        line = "  ".join(cells).rstrip()
        click.echo(click.style(line, bold=True) if at == 0 else line)


def _is_numeric(cells: Sequence[str]) -> bool:
    return bool(cells) and all(re.fullmatch(r"[\d,.]+( %)?|-|", cell) for cell in cells)


def echo_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print JSON; refuses NaN, which is not JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))
