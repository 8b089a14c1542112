"""MNN's timeProfile.out: the mean time of each operator, and of each kind of operator, in milliseconds.

`tools/cpp/Profiler.cpp` of alibaba/MNN. It waits for the outputs of every operator, so that the sum is not quite the
latency of the model.
"""

from __future__ import annotations

import re

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log

_BY_NAME, _BY_KIND = "Sort by node name !", "Sort by time cost !"
_HEADINGS = {
    _BY_NAME: {"Node Name", "Op Type", "Avg(ms)", "%", "Flops Rate"},
    _BY_KIND: {"Node Type", "Avg(ms)", "%", "Called times", "Flops Rate"},
}
_SLOWEST = re.compile(r"Print <=\d{1,4} slowest Op for .{1,80}")
_TOTAL = re.compile(r"total time : (\S{1,30}) ms, total mflops : (\S{1,30})")
_BACKENDS = {"0": CPU, "1": "metal", "2": "cuda", "3": "opencl", "6": "opengl", "7": "vulkan"}
# Sums of 32-bit floats, printed with six decimals.
_DIGITS = 2e-4


def claims(log: Log) -> bool:
    """Whether this is its output, whole or not."""
    return any(line.strip() in _HEADINGS or _TOTAL.fullmatch(line.strip()) for line in log.lines)


def read(log: Log) -> tuple[ImportedLog, ...]:
    """The operators, or without a table of them their kinds; raises `ImportLogError` where rows are missing."""
    totals = [(lineno, match) for lineno, line in enumerate(log.lines, 1) if (match := _TOTAL.fullmatch(line.strip()))]
    if not totals:
        raise log.cut("the line 'total time'")
    if len(totals) > 1:
        raise log.refuse(totals[1][0], "a second run's total time", "give one log per file")
    lineno, match = totals[0]
    total_ms = log.number(lineno, match[1], "total time")
    if not total_ms > 0:
        raise log.refuse(lineno, "the total time is 0", "run the tool with more loops")
    kinds = _table(log, _BY_KIND, lineno, total_ms)
    names = _table(log, _BY_NAME, lineno, total_ms)
    if not kinds:
        raise log.refuse(lineno, f"the table under {_BY_KIND!r} is missing", "give the whole log")
    threads = _stated(log, r"Set ThreadNumber = (\d{1,4})")
    backend = _stated(log, r"Use extra forward type: (\d{1,3})")
    model = _stated(log, r"Open Model (\S.{0,500})")
    ran = _BACKENDS.get(backend) if backend is not None else None
    made = ImportedLog(
        "mnn-profile",
        "MNN timeProfile.out",
        model_file=None if model is None else file_name(model),
        mean_ms=total_ms,
        operators=names or kinds,
        delegate=ran,
        confirmed=True,
        warnings=("a sum of operators that were waited for one by one, not the latency of the model",),
        threads=int(threads) if threads is not None and ran == CPU else None,
    )
    return (check_log(log, made, line=lineno),)


def _table(log: Log, title: str, end: int, total_ms: float) -> tuple[OperatorRow, ...]:
    """The rows under a title; empty where there is none."""
    titles = [at for at, line in enumerate(log.lines) if line.strip() == title]
    if not titles:
        return ()
    if len(titles) > 1:
        raise log.refuse(titles[1] + 1, f"a second {title!r}", "give one log per file")
    at = titles[0] + 1
    columns = _cells(log.lines[at]) if at < len(log.lines) else []
    if set(columns) - {""} != _HEADINGS[title] or len(columns) != len(set(columns)):
        raise log.refuse(at + 1, f"the headings under {title!r} are not the tool's", "give the log as it was written")
    rows: list[OperatorRow] = []
    for lineno, line in enumerate(log.lines[at + 1 :], at + 2):
        text = line.strip()
        if not text or lineno >= end or _SLOWEST.fullmatch(text) or text in _HEADINGS:
            break
        rows.append(_row(log, lineno, columns, line, total_ms))
    summed = sum(row.mean_ms or 0.0 for row in rows)
    if abs(summed - total_ms) > _DIGITS * total_ms:
        raise contradiction(log, end, "total time and its rows", f"{total_ms:g} ms", f"{summed:g} ms in sum")
    return tuple(rows)


def _row(log: Log, lineno: int, columns: list[str], line: str, total_ms: float) -> OperatorRow:
    cells = _cells(line)
    if len(cells) != len(columns):
        raise log.refuse(lineno, f"{len(cells)} cells under {len(columns)} headings", "give the whole log")
    values = dict(zip(columns, cells, strict=True))
    ms, share = log.number(lineno, values["Avg(ms)"], "Avg(ms)"), log.number(lineno, values["%"], "%") / 100
    if abs(share * total_ms - ms) > _DIGITS * ms + 1e-6 * (1 + total_ms / 100):
        raise contradiction(log, lineno, "time and its share", f"{ms:g} ms", f"{100 * share:g} % of {total_ms:g} ms")
    if "Node Name" in values:
        return OperatorRow(values["Node Name"], values["Op Type"], ms, share, 1, None)
    calls = log.number(lineno, values["Called times"], "Called times")
    if calls != int(calls):
        raise log.refuse(lineno, f"{calls:g} calls in an inference", "give the log as the tool wrote it")
    return OperatorRow(values["Node Type"], values["Node Type"], ms, share, max(1, int(calls)), None)


def _cells(line: str) -> list[str]:
    """Columns are padded with blanks and parted by tabs, which may have become blanks."""
    return [cell.strip() for cell in re.split(r" *\t *| {2,}", line.strip("\t "))]


def _stated(log: Log, pattern: str) -> str | None:
    found = {match[1] for line in log.lines if (match := re.fullmatch(pattern, line.strip()))}
    if len(found) > 1:
        raise contradiction(log, None, "a setting", *sorted(found)[:2])
    return next(iter(found), None)
