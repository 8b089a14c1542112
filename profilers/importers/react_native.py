"""The Markdown summary of react-native-executorch's benchmark app: a table for each task, a row for each variant.

Issue 727 and pull request 1363 of software-mansion/react-native-executorch. `median` and `mean` are of the whole
pipeline, with what comes before and after the model; `ET` is the mean time in the model, `share` its part of `mean`.
"""

from __future__ import annotations

import re

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import precision_word
from profilers.importers.log import Log

STEP_MS = 0.0051
"""Its figures have two decimals."""

_NEEDED = ("variant", "backend", "precision", "median ms", "mean ms", "ET ms", "share")
_RULE = re.compile(r"\|[\s:|-]*-{2}[\s:|-]*")
_SHARE = re.compile(r"(\d{1,3})%")
_TIME = re.compile(r"\d{1,9}\.\d\d")


def claims(log: Log) -> bool:
    """Whether a line has its headings."""
    return any("ET ms" in line and set(_NEEDED) <= set(_cells(line)) for line in log.lines)


def read(log: Log) -> tuple[ImportedLog, ...]:
    """One measurement for each row; raises `ImportLogError` where a row is cut or contradicts itself."""
    columns: list[str] = []
    found: dict[str, ImportedLog] = {}
    for lineno, line in enumerate(log.lines, 1):
        text = line.strip()
        cells = _cells(text)
        if set(_NEEDED) <= set(cells):
            if len(set(cells)) != len(cells):
                raise log.refuse(lineno, "a heading stands twice", "give the table as it was made")
            columns = cells
        elif not text.startswith("|"):
            # What follows a table may be one of another kind.
            columns = []
        elif columns and not _RULE.fullmatch(text):
            if len(cells) != len(columns) or not text.endswith("|"):
                raise log.refuse(lineno, f"{len(cells)} cells under {len(columns)} headings", "give the whole table")
            one = _row(log, lineno, dict(zip(columns, cells, strict=True)))
            if str(one.label) in found:
                raise log.refuse(lineno, f"a second row of {str(one.label)[:80]}", "give one summary per file")
            found[str(one.label)] = one
    if not found:
        raise log.cut("a row", "give the whole table")
    return tuple(found.values())


def _row(log: Log, lineno: int, values: dict[str, str]) -> ImportedLog:
    for name in ("median ms", "mean ms", "ET ms"):
        if not _TIME.fullmatch(values[name]):
            raise log.refuse(lineno, f"{name} is {values[name][:40]!r}", "leave rows without times out")
    match = _SHARE.fullmatch(values["share"])
    if match is None:
        raise log.refuse(lineno, f"share is {values['share'][:40]!r}, no percentage", "give the table as it was made")
    median, mean, inner = (log.number(lineno, values[name], name) for name in ("median ms", "mean ms", "ET ms"))
    # All three are rounded.
    low, high = (inner - STEP_MS) / (mean + STEP_MS), (inner + STEP_MS) / max(mean - STEP_MS, STEP_MS)
    if not 100 * low - 0.51 <= int(match[1]) <= 100 * high + 0.51:
        raise contradiction(log, lineno, "share and times", f"{match[1]} %", f"{inner:g} of {mean:g} ms")
    if inner > mean + 2 * STEP_MS:
        raise contradiction(log, lineno, "ET, which the pipeline contains", f"{inner:g} ms", f"{mean:g} ms")
    backend = values["backend"].lower()
    one = ImportedLog(
        "react-native-executorch",
        "react-native-executorch",
        model_file=values["variant"],
        mean_ms=inner,
        delegate={"portable": CPU, "": None}.get(backend, backend),
        confirmed=True,
        warnings=(f"the time in the model; its pipeline takes {mean:g} ms, median {median:g} ms",),
        label=f"{values['variant']}, {values['backend']}, {values['precision']}",
        precision=precision_word(values["precision"]),
        step_ms=0.01,
    )
    return check_log(log, one, step_ms=STEP_MS, line=lineno)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
