"""A table for all models of a kit that a person fills from Xcode's Core ML performance reports, and reading it.

    Core ML latencies to fill in
    Note,how each number is found in Xcode
    Kit,digits,fp32,kit 0123456789abcdef
    Device,iPhone 16 Pro
    OS,iOS 18.1
    Compute units,All
    Model,Million FLOPs,Report 1 ms,Report 2 ms,Operations,On CPU
    ffn-w64-g4-f3.mlpackage,3,1.23,1.25,14,0
    End of table,1 models,check 01234567

What is printed cannot change unseen, by the check in the last line. What is typed shows a slip where a model's reports,
models of one kind, or latency and FLOPs are apart as no device's are.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profilers.importers.coreml import ran_by
from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.log import Log
from profilers.importers.log import is_text
from profilers.kits.kit import Kit
from subdit.space import Component
from subdit.space import component_flops
from subdit.space import count_flops

TITLE = "Core ML latencies to fill in"
END = "End of table"
REPORTS = 3
"""By default; Student's t of two is three times as wide."""

_SUFFIX = ".mlpackage"
_TYPED = ("Device", "OS", "Compute units")
_UNITS = ("All", "CPU Only", "CPU and GPU", "CPU and Neural Engine")
_OPERATIONS, _ON_CPU = "Operations", "On CPU"
_REPORT = re.compile(r"Report [1-9] ms")
_HASH = re.compile(r"[0-9a-f]{8,64}")
_MS = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,6})?")
# Another unit is a thousand times as much. Reports of one model, and models of one kind, differ by far less.
_APART, _KIND_APART = 3.0, 200.0
# FLOPs a second: no Apple device reaches the upper one, and every one exceeds the lower one in its best model.
_SLOWEST, _QUICKEST = 1e8, 1e14
_NOTES = (
    f"Convert every model of the kit to Core ML under the name below with its precision; subdit writes no {_SUFFIX}",
    "Connect the device; open the model in Xcode; Performance tab; + for a new report; choose device and compute units",
    "Report 1 ms is the median of Prediction in milliseconds: the number alone with a point for its decimals",
    "The other reports are made anew and later: first all models once and then all again with the device cool",
    f"{_OPERATIONS} and {_ON_CPU} are how many the report maps in all and to the CPU; fill both in or leave both empty",
    "Fill in every row and change nothing that is printed; save as CSV with commas",
)


@dataclass(frozen=True)
class _Row:
    """One filled row; `line` is where it stands, `operations` those in all and on the CPU."""

    line: int
    model: str
    million_flops: int
    reports_ms: tuple[float, ...]
    operations: tuple[int, int] | None

    @property
    def median_ms(self) -> float:
        return float(np.median(self.reports_ms))


def template(kit: Kit, reports: int = REPORTS) -> str:
    """The table of a kit's models with empty cells for `reports` reports each, 1 to 9; ends in a line end."""
    space = kit.search_space
    flops = {_file(one.name): component_flops(space, Component.from_name(one.name)) for one in kit.components}
    for one in kit.whole:
        if one.spec is not None:
            flops[_file(one.name)] = int(count_flops(space, space.encode([one.spec]))[0])
    millions = {name: max(1, round(count / 1e6)) for name, count in flops.items()}
    columns = [f"Report {at} ms" for at in range(1, reports + 1)]
    kit_cells = (kit.space, kit.precision, f"kit {kit.hash}")
    lines = [TITLE, *(f"Note,{note}" for note in _NOTES), ",".join(("Kit", *kit_cells))]
    lines += [f"{name}," for name in _TYPED]
    lines += [",".join(("Model", "Million FLOPs", *columns, _OPERATIONS, _ON_CPU))]
    lines += [f"{name},{count}" + "," * (reports + 2) for name, count in millions.items()]
    lines += [f"{END},{len(millions)} models,{_check(kit_cells, millions.items(), reports)}"]
    return "\n".join(lines) + "\n"


def claims(log: Log) -> bool:
    """Whether it begins with the title."""
    return bool(log.lines) and log.lines[0].strip(' ",;\t') == TITLE


def read(log: Log) -> tuple[ImportedLog, ...]:
    """One measurement for each model; raises `ImportLogError` where a cell is empty, changed or cannot be right."""
    head, at = _head(log)
    columns = _cells(log, at)
    reports = sum(_REPORT.fullmatch(name) is not None for name in columns)
    wanted = ["Model", "Million FLOPs", *(f"Report {one} ms" for one in range(1, reports + 1)), _OPERATIONS, _ON_CPU]
    if not reports or columns != wanted:
        raise log.refuse(at, "the headings are not those of the template", "fill in a new one; change nothing printed")
    end = next((one for one in range(at + 1, len(log.lines) + 1) if _cells(log, one)[:1] == [END]), None)
    if end is None:
        raise log.cut(f"the line {END!r}", "give the whole table")
    if end != log.last:
        raise log.refuse(end + 1, f"a second table, or something else, follows {END!r}", "give one table per file")
    written = {lineno: cells for lineno in range(at + 1, end) if (cells := _cells(log, lineno))}
    _require_printed(log, end, head["Kit"], written, reports)
    _require_filled(log, head, written, reports)
    rows = [_row(log, lineno, cells, reports) for lineno, cells in written.items()]
    if len({row.operations is None for row in rows}) > 1:
        missing = next(row for row in rows if row.operations is None)
        raise log.refuse(missing.line, f"{_OPERATIONS} is empty here, not everywhere", "fill in all rows, or none")
    _require_plausible(log, rows)
    # A spreadsheet drops zeros at the end, so the finest number of the table says what Xcode rounded to.
    decimals = max(len(cell.partition(".")[2]) for cells in written.values() for cell in cells[2 : 2 + reports])
    return tuple(_imported(log, head, row, 10.0**-decimals) for row in rows)


def _head(log: Log) -> tuple[dict[str, list[str]], int]:
    """The cells behind each name above the headings, and the line of these."""
    head: dict[str, list[str]] = {}
    for lineno in range(2, len(log.lines) + 1):
        name, *cells = _cells(log, lineno) or [""]
        if name == "Model":
            for one in ("Kit", *_TYPED):
                if one not in head:
                    raise log.refuse(lineno, f"the line {one!r} is missing above", "fill in a new template")
            return head, lineno
        if name in head:
            raise log.refuse(lineno, f"{name} is given twice", "give it once")
        if name in ("Kit", *_TYPED):
            head[name] = cells
        elif name not in ("", "Note"):
            remedy = "save the table as CSV with commas, not semicolons or tabs, and change nothing that is printed"
            raise log.refuse(lineno, f"{name[:60]!r} is no line of the template", remedy)
    raise log.cut("the headings", "give the whole table")


def _require_printed(log: Log, end: int, kit: list[str], written: dict[int, list[str]], reports: int) -> None:
    """Refuse a table in which something else was changed than what is to be filled in."""
    seen: dict[str, int] = {}
    for lineno, (name, *_) in written.items():
        if name in seen:
            raise log.refuse(
                lineno, f"{name[:60]!r} is in line {seen[name] + log.offset} already", "give each model once"
            )
        seen[name] = lineno
    printed = [(cells[0], cells[1] if len(cells) > 1 else "") for cells in written.values()]
    if _cells(log, end) != [END, f"{len(printed)} models", _check(kit, printed, reports)]:
        raise log.refuse(
            end,
            "a row is missing or added, or a printed cell was changed",
            "fill in a new template; spreadsheets change names and numbers where cells are not text",
        )


def _require_filled(log: Log, head: dict[str, list[str]], written: dict[int, list[str]], reports: int) -> None:
    """Refuse a table with empty cells, or with more than there are columns for."""
    for name in _TYPED:
        if len(head[name]) != 1:
            what = "is not filled in" if not head[name] else "has several cells"
            raise log.refuse(None, f"{name} {what}", "write it into the cell beside it")
        if not is_text(head[name][0]):
            raise log.refuse(None, f"{name} has characters that are no text", "write it in plain text")
    if head["Compute units"][0] not in _UNITS:
        found = head["Compute units"][0][:40]
        raise log.refuse(None, f"Compute units is {found!r}", f"write one of {'; '.join(_UNITS)}")
    empty = [
        (lineno, cells[0])
        for lineno, cells in written.items()
        if len(cells) < 2 + reports or "" in cells[: 2 + reports]
    ]
    if empty:
        lineno, name = empty[0]
        what = f"{len(empty)} of {len(written)} rows are not filled in, the first {name[:60]!r}"
        raise log.refuse(lineno, what, "measure all models; a table with gaps predicts nothing")


def _row(log: Log, lineno: int, cells: list[str], reports: int) -> _Row:
    times = cells[2 : 2 + reports]
    for text in times:
        if not _MS.fullmatch(text):
            remedy = "write the number alone, in milliseconds, with a point for its decimals"
            raise log.refuse(lineno, f"{text[:40]!r} is no time", remedy)
    rest = cells[2 + reports :]
    if len(rest) not in (0, 2) or "" in rest:
        remedy = f"fill in {_OPERATIONS} and {_ON_CPU}, or leave both empty"
        raise log.refuse(lineno, f"{len(rest)} cells follow the reports", remedy)
    counts = [log.whole(lineno, text, "the number of operations") for text in rest]
    if counts and not 0 <= counts[1] <= counts[0] or counts[:1] == [0]:
        raise log.refuse(lineno, f"{counts[1]} of {counts[0]} operations are on the CPU", "read both counts again")
    model, million_flops = cells[0], int(cells[1])
    operations = (counts[0], counts[1]) if counts else None
    return _Row(lineno, model, million_flops, tuple(sorted(map(float, times))), operations)


def _require_plausible(log: Log, rows: Sequence[_Row]) -> None:
    """Refuse numbers in another unit, or with a digit or the point in a wrong place, as far as they show it."""
    again = "read the report again; all numbers are milliseconds"
    kinds = defaultdict(list)
    for row in rows:
        if row.reports_ms[0] <= 0:
            raise log.refuse(row.line, "a latency is 0 ms, which no model has", again)
        if row.reports_ms[-1] > _APART * row.reports_ms[0]:
            low, high = row.reports_ms[0], row.reports_ms[-1]
            raise log.refuse(row.line, f"the reports of one model say {low:g} and {high:g} ms", again)
        kinds[_kind(row.model)].append(row)
    for kind, alike in kinds.items():
        middle = float(np.median([row.median_ms for row in alike]))
        for row in alike:
            if not 1 / _KIND_APART <= row.median_ms / middle <= _KIND_APART:
                what = f"{row.median_ms:g} ms, where models of its kind ({kind}) take about {middle:g} ms"
                raise log.refuse(row.line, what, again)
    best = max(rows, key=lambda row: row.million_flops / row.median_ms)
    rate = 1e9 * best.million_flops / best.median_ms
    if not _SLOWEST <= rate <= _QUICKEST:
        what = f"{best.million_flops} million FLOPs in {best.median_ms:g} ms are {rate:.1g} FLOP/s at the best"
        raise log.refuse(best.line, f"{what}, which no device has", again)


def _imported(log: Log, head: dict[str, list[str]], row: _Row, step_ms: float) -> ImportedLog:
    delegate, share = ran_by(head["Compute units"][0]), None
    if row.operations is not None and delegate != CPU:
        share = 1 - row.operations[1] / row.operations[0]
    made = ImportedLog(
        "coreml-table",
        "Xcode Core ML performance reports",
        model_file=row.model,
        median_ms=row.median_ms,
        delegate=CPU if share == 0 else delegate,
        declined=delegate if share == 0 else None,
        delegated_share=share or None,
        partly_delegated=None if share is None else 0 < share < 1,
        graph_operators=None if row.operations is None else row.operations[0],
        precision=head["Kit"][1],
        kit_hash=head["Kit"][2].removeprefix("kit "),
        runtime_version=head["OS"][0],
        sessions_ms=row.reports_ms if len(row.reports_ms) > 1 else (),
        step_ms=step_ms,
        warnings=(UNCONFIRMED, f"typed from Xcode's reports of {head['Device'][0]}, which state medians alone"),
    )
    return check_log(log, made, step_ms=step_ms, line=row.line)


def _check(kit: Sequence[str], printed: Iterable[tuple[str, object]], reports: int) -> str:
    """Digits that change with any printed cell; the order of rows is free."""
    rows = sorted((name, str(count)) for name, count in printed)
    return f"check {hashlib.sha256(repr((list(kit), rows, reports)).encode()).hexdigest()[:8]}"


def _kind(model: str) -> str:
    name = model.removesuffix(_SUFFIX)
    return "whole sub-DiT" if _HASH.fullmatch(name) else name.partition("-")[0]


def _file(name: str) -> str:
    # No spreadsheet takes a name with an extension for a number, as it does a hash such as 12e45.
    return f"{name}{_SUFFIX}"


def _cells(log: Log, lineno: int) -> list[str]:
    """Of a line, counted from 1, without the empty ones at the end that spreadsheets add."""
    try:
        cells = [cell.strip() for cell in next(csv.reader([log.lines[lineno - 1]]), [])]
    except csv.Error as error:
        raise log.refuse(lineno, f"this is no line of CSV ({error})", "save the table as CSV") from None
    while cells and not cells[-1]:
        cells.pop()
    return cells
