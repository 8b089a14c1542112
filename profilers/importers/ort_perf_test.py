"""`onnxruntime_perf_test`: its output, old and new, and its result file; seconds and milliseconds in one block."""

from __future__ import annotations

import re

import numpy as np

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import run_statistics
from profilers.importers.log import Log

TOOL = "onnxruntime_perf_test"
_PERCENTILES = {"P50": 0.5, "P90": 0.9, "P95": 0.95, "P99": 0.99, "P999": 0.999}
_QUANTILE = re.compile(r"(Min|Max|P50|P90|P95|P99|P999) Latency(?::| is) ?(\S{1,30}?) ?(s|sec)")
_ANY_QUANTILE = re.compile(r"(Min|Max|P\d{2,3}) Latency.*")
# A second time is in files whose source is not public.
_ROW = re.compile(r"[^,\s][^,]{0,300}(?:,[\d.eE+-]{1,30}){1,2},\d{1,18},-?\d{1,6},\d{1,9}")
_THREADS = re.compile(r"Setting intra_op_num_threads to (\d{1,4})")
_PROVIDER = re.compile(r"using (\w{1,60})ExecutionProvider", re.IGNORECASE)
# Label to unit; what stands twice in the output must agree.
_UNITS = {
    "Session creation time cost": "s",
    "First inference time cost": "ms",
    "Total inference time cost": "s",
    "Total time cost": "s",
    "Total inference requests": "",
    "Total iterations": "",
    "Average inference time cost": "ms",
    "Average inference time cost total": "ms",
    "Average time cost": "ms",
    "Total inference run time": "s",
    "Total run time": "s",
    "Number of inferences per second": "",
    "Avg CPU usage": "%",
    "Peak working set size": "bytes",
    "Runs": "",
}
_OPTIONAL_UNIT = {"Total time cost", "Total inference time cost", "Avg CPU usage", "Peak working set size"}
# The tool prints six digits.
_DIGITS = 2e-5


def claims_output(log: Log) -> bool:
    """Whether this is the tool's output, whole or not."""
    starts = tuple(f"{label}:" for label in _UNITS if label not in ("Runs", "Avg CPU usage", "Peak working set size"))
    return any(line.startswith(starts) for line in log.lines)


def claims_csv(log: Log) -> bool:
    """Whether this begins as the tool's result file."""
    return bool(log.lines) and _ROW.fullmatch(log.lines[0].strip()) is not None


def read_output(log: Log) -> tuple[ImportedLog, ...]:
    """Statistics; raises `ImportLogError` where the log is cut or contradicts itself."""
    fields: dict[str, tuple[int, float]] = {}
    for lineno, line in enumerate(log.lines, 1):
        label, colon, text = line.partition(":")
        if not colon or label not in _UNITS or (label == "Runs" and not text.strip().isdecimal()):
            continue
        digits, _, unit = text.strip().partition(" ")
        if unit != _UNITS[label] and not (unit == "" and label in _OPTIONAL_UNIT):
            raise log.refuse(
                lineno, f"{label} is in {unit[:20]!r}, not {_UNITS[label]!r}", "give the log as the tool wrote it"
            )
        value = log.number(lineno, digits, label)
        if label in fields and fields[label][1] != value:
            raise contradiction(log, lineno, label, fields[label][1], value)
        fields[label] = (lineno, value)
    mean_at, mean_ms = _first(
        log, fields, "Average inference time cost total", "Average inference time cost", "Average time cost"
    )
    _, total_s = _first(log, fields, "Total inference time cost", "Total time cost")
    count_at, number = _first(log, fields, "Total inference requests", "Total iterations")
    _, run_s = _first(log, fields, "Total inference run time", "Total run time")
    count = log.whole(count_at, f"{number:.0f}" if number.is_integer() else str(number), "the number of inferences")
    if count and abs(total_s * 1000 / count - mean_ms) > _DIGITS * mean_ms:
        raise contradiction(
            log, mean_at, "average and total / requests", f"{mean_ms} ms", f"{total_s * 1000 / count:.6g} ms"
        )
    if total_s > run_s * (1 + _DIGITS):
        raise log.refuse(
            mean_at,
            f"{total_s:g} s of requests in {run_s:g} s ran at the same time, so {mean_ms:g} ms is no latency of one",
            "run the tool with -c 1",
        )
    if "Runs" in fields and fields["Runs"][1] != count:
        raise contradiction(log, fields["Runs"][0], "number of inferences", count, int(fields["Runs"][1]))
    times = _quantiles(log)
    old = "Total iterations" in fields
    if old and "Total inference requests" in fields:
        raise log.refuse(count_at, "there are results of two versions of the tool", "give one log per file")
    if not times and (old or "Runs" in fields):
        raise log.cut("its latencies (Min, Max, P50 ...)", "run it with -s and give the whole log")
    peak = fields.get("Peak working set size")
    if not log.ended and (log.lines[-1].partition(":")[0] in _UNITS and log.lines[-1][-1:].isdigit()):
        raise log.refuse(log.last, "the last line has no end and may be cut", "end it with a line break if it is whole")
    made = ImportedLog(
        "onnxruntime-perf-test",
        TOOL,
        count=count,
        mean_ms=mean_ms,
        median_ms=times.get("P50"),
        percentiles_ms={key.lower(): value for key, value in times.items() if key[0] == "P" and key != "P50"},
        min_ms=times.get("Min"),
        max_ms=times.get("Max"),
        peak_memory_bytes=round(peak[1]) if peak else None,
        delegate=_provider(log),
        threads=_threads(log),
        confirmed=True,
        warnings=() if times else ("no latencies of single runs: run the tool with -s for them",),
    )
    return (check_log(log, made, line=mean_at),)


def read_csv(log: Log, runs: int | None) -> tuple[ImportedLog, ...]:
    """Rows model, seconds, peak bytes, CPU, index; raises `ImportLogError` where they are cut or do not fit together.

    The file has an end mark only with the tool's option -s; without, `runs` says how many rows there must be.
    """
    blank = next((lineno for lineno, line in enumerate(log.lines) if not line.strip()), len(log.lines))
    rows: list[tuple[str, float, int]] = []
    for lineno, line in enumerate(log.lines[:blank], 1):
        cells = line.split(",")
        if len(cells) != 5:
            raise log.refuse(
                lineno,
                f"{len(cells)} columns, where a result file of {TOOL} has 5 (model, seconds, memory, CPU, run)",
                "give what the tool printed, which names its times" if len(cells) == 6 else "give the file as written",
            )
        if log.whole(lineno, cells[4], "the row's index") != len(rows):
            raise log.refuse(
                lineno, f"row {cells[4][:20]} stands where row {len(rows)} should", "give one measurement per file"
            )
        row = (
            cells[0].strip(),
            log.number(lineno, cells[1], "the time"),
            log.whole(lineno, cells[2], "the peak memory"),
        )
        if rows and (row[0], row[2]) != (rows[0][0], rows[0][2]):
            raise contradiction(log, lineno, "model and peak memory", rows[0][::2], row[::2])
        rows.append(row)
    ms = np.sort([row[1] for row in rows]) * 1000
    stated = _quantiles(log)
    if stated:
        places = {name: int(len(ms) * share) for name, share in _PERCENTILES.items()} | {"Min": 0, "Max": len(ms) - 1}
        for name, place in places.items():
            if abs(ms[place] - stated[name]) > _DIGITS * stated[name]:
                raise contradiction(
                    log, None, f"{name} Latency and rows", f"{stated[name]:.6g} ms", f"{ms[place]:.6g} ms"
                )
    elif runs is None:
        raise log.refuse(
            log.last,
            "the file has no end mark, so a cut would not show",
            "run the tool with -s, which adds one, or say with --runs how many runs it made",
        )
    if runs is not None and runs != len(rows):
        raise contradiction(log, log.last, "number of runs", f"{len(rows)} rows", runs)
    if not log.ended and not stated:
        raise log.refuse(log.last, "the last line has no end and may be cut", "end it with a line break if it is whole")
    made = ImportedLog(
        "onnxruntime-perf-csv",
        TOOL,
        model_file=rows[0][0],
        **run_statistics(ms),
        percentiles_ms={
            name.lower(): float(ms[int(len(ms) * share)]) for name, share in _PERCENTILES.items() if name != "P50"
        },
        peak_memory_bytes=rows[0][2] or None,
        warnings=(UNCONFIRMED,),
    )
    return (check_log(log, made),)


def _first(log: Log, fields: dict[str, tuple[int, float]], *labels: str) -> tuple[int, float]:
    for label in labels:
        if label in fields:
            return fields[label]
    raise log.cut(f"the line '{labels[0]}'")


def _threads(log: Log) -> int | None:
    """As option -x set them; 0 leaves it to the runtime."""
    stated = [match[1] for line in log.lines if (match := _THREADS.fullmatch(line.strip()))]
    if len(set(stated)) > 1:
        raise contradiction(log, None, "threads", *stated[:2])
    return int(stated[0]) or None if stated else None


def _provider(log: Log) -> str | None:
    """The execution provider that a build for it names; others name none, also where option -e chose one."""
    stated = {match[1].lower() for line in log.lines if (match := _PROVIDER.fullmatch(line.strip()))}
    return ("+".join(sorted(stated - {CPU})) or CPU) if stated else None


def _quantiles(log: Log) -> dict[str, float]:
    """Latencies of single runs in milliseconds; all seven of them or none."""
    found: dict[str, float] = {}
    for lineno, line in enumerate(log.lines, 1):
        text = line.strip()
        if not _ANY_QUANTILE.fullmatch(text):
            continue
        match = _QUANTILE.fullmatch(text)
        if not match:
            raise log.refuse(lineno, f"{text[:60]!r} is cut or not in seconds", "give the log as the tool wrote it")
        value = log.number(lineno, match[2], f"{match[1]} Latency") * 1000
        if found.get(match[1], value) != value:
            raise contradiction(log, lineno, f"{match[1]} Latency", f"{found[match[1]]:.6g} ms", f"{value:.6g} ms")
        found[match[1]] = value
    if found and set(found) != {"Min", "Max", *_PERCENTILES}:
        missing = sorted({"Min", "Max", *_PERCENTILES} - set(found))
        raise log.refuse(log.last, f"the line '{missing[0]} Latency' is missing", "give the whole log")
    return found
