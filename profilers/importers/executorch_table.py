"""The table that ExecuTorch's `Inspector.print_data_tabular` prints: a grid, or as Markdown where somebody pasted it.

`devtools/inspector/_inspector.py` of pytorch/executorch: tabulate's `fancy_grid`, numbers of six digits, rows counted
from 0, and no raw times. A grid ends with its lower edge; a Markdown table with the row of the whole method.
"""

from __future__ import annotations

import re

from profilers.importers.executorch import read_events
from profilers.importers.imported_log import ImportedLog
from profilers.importers.log import Log

_BAR, _PIPE = "│", "|"
_EDGE = re.compile(r"[╒╞├└╘╔╠╚┌][═─━╤╪┼╧┴┬╡┤╛┘╕]*")
_LOWER_EDGE = ("╘", "└")
_RULE = re.compile(r"\|?[\s:|-]*-{2}[\s:|-]*")


def claims(log: Log) -> bool:
    """Whether a row of a grid or of a Markdown table has its headings."""
    return _head(log) is not None


def read(log: Log) -> tuple[ImportedLog, ...]:
    """The whole method and its operators; raises `ImportLogError` where it is cut or contradicts itself."""
    if (found := _head(log)) is None:
        raise log.cut("the headings of the table", "give the whole table")
    at, bar = found
    columns = _cells(log.lines[at], bar)
    rows: list[tuple[int, list[str]]] = []
    ended = False
    for lineno, line in enumerate(log.lines[at + 1 :], at + 2):
        text = line.strip()
        if "event_block_name" in _cells(text, bar):
            raise log.refuse(lineno, "a second table", "give one table per file")
        if ended or _EDGE.fullmatch(text) or (bar == _PIPE and _RULE.fullmatch(text)):
            ended = ended or text.startswith(_LOWER_EDGE)
            continue
        if bar not in text:
            if bar == _BAR and text:
                raise log.refuse(lineno, f"{text[:60]!r} is no line of this table", "give it as it was printed")
            ended = bool(rows)
            continue
        cells = _cells(text, bar)
        # Markdown that GitHub makes of a copied table has no bar at its sides, and none for empty cells at an end.
        if bar == _PIPE and not text.endswith(_PIPE):
            cells += [""] * (len(columns) - len(cells))
        rows.append((lineno, cells))
    if bar == _BAR and not ended:
        raise log.cut("the lower edge of the table", "give the whole table")
    if not log.ended and log.lines[-1].strip().startswith(bar):
        raise log.refuse(log.last, "the last line has no end and may be cut", "end it with a line break if it is whole")
    return read_events(log, "executorch-table", (at + 1, columns), rows)


def _head(log: Log) -> tuple[int, str] | None:
    """The index of the headings, and what parts the cells."""
    for at, line in enumerate(log.lines):
        if "event_block_name" in line and "event_name" in line:
            for bar in (_BAR, _PIPE):
                if {"event_block_name", "event_name"} <= set(_cells(line, bar)):
                    return at, bar
    return None


def _cells(line: str, bar: str) -> list[str]:
    text = line.strip()
    inner = text[1 if text.startswith(bar) else 0 : -1 if text.endswith(bar) else None]
    cells = [cell.strip() for cell in inner.split(bar)]
    # The heading of the index is empty, and may be lost with the bar before it.
    return ["", *cells] if cells[0] == "event_block_name" else cells
