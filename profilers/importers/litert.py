"""LiteRT's benchmarks: the results block of the C++ and the Python tool, and the latter's JSON. Milliseconds."""

from __future__ import annotations

import re
from typing import Any

from profilers.importers.count_line import CountLine
from profilers.importers.count_line import is_count_line
from profilers.importers.count_line import read_count_line
from profilers.importers.delegation import applied
from profilers.importers.delegation import delegation
from profilers.importers.delegation import partitions
from profilers.importers.delegation import partly_delegated
from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log
from profilers.importers.log import json_number
from profilers.importers.log import parse_json

ROUNDED_MS = 0.01
"""To what its figures are rounded."""

STEP_MS = 0.0051
"""How far off such a figure can be, with some slack."""

_FIELD = re.compile(r"([A-Z][\w ()]{2,40}?): *(.*)")
_AVERAGE = re.compile(r"(\S{1,30}) ms \((\d{1,12}) runs\)")
_KEYS = {"Inference (min)": "min", "Inference (max)": "max", "Inference (median)": "median", "Inference (std)": "std"}
_KEYS |= {"Inference (p5)": "p5", "Inference (p95)": "p95"}
_OTHERS = {"Signature name", "Model initialization", "Warmup (first)", "Warmup (avg)", "First inference", "Throughput"}
_OTHERS |= {
    "Memory Usage",
    "Init footprint",
    "Overall footprint",
    "Peak memory",
    "Fully accelerated",
    "Inference (avg)",
}
_LATENCY = {"init_ms", "warmup_first_ms", "warmup_avg_ms", "num_warmup_runs", "avg_ms", "min_ms", "max_ms"}
_LATENCY |= {"median_ms", "std_ms", "p5_ms", "p95_ms", "num_runs"}


def claims_text(log: Log) -> bool:
    """Whether there is a results block."""
    return any("BENCHMARK RESULTS" in line for line in log.lines)


def claims_json(log: Log) -> bool:
    """Whether it is, or began as, the Python tool's JSON."""
    head = log.text[:4000].lstrip()
    return head.startswith("{") and '"model"' in head and ('"latency"' in head or '"accelerators"' in head)


def read_text(log: Log) -> tuple[ImportedLog, ...]:
    """The results block; raises `ImportLogError` where it is cut, twice there, or contradicts itself."""
    fields = _block(log)
    if "Inference (avg)" not in fields:
        raise log.refuse(None, "no inference was timed", "run the tool with at least one timed run")
    lineno, text = fields["Inference (avg)"]
    match = _AVERAGE.fullmatch(text)
    if not match:
        raise log.refuse(lineno, f"Inference (avg) is {text[:40]!r}", "give the log as written, in ms")
    mean, count = log.number(lineno, match[1], "Inference (avg)"), int(match[2])
    if not count:
        raise log.refuse(lineno, "no inference was timed", "run the tool with at least one timed run")
    times: dict[str, float] = {}
    for label, key in _KEYS.items():
        if label in fields:
            line, value = fields[label]
            # The C++ tool gives no unit for the standard deviation; it is milliseconds too.
            if not value.endswith(" ms") and key != "std":
                raise log.refuse(line, f"{label} is {value[:40]!r}", "give the log as written, in ms")
            times[key] = log.number(line, value.removesuffix(" ms"), label)
    if not {"min", "max", "std"} <= set(times) or len({"median", "p5", "p95"} & set(times)) not in (0, 3):
        raise log.refuse(lineno, "lines of the results block are missing", "give the whole log")
    run = _run(log, count, mean)
    if run is not None:
        # Six digits of a mean above ten seconds are coarser than the two decimals here.
        mean = run.avg / 1000 if run.avg < 1e7 or run.first == run.avg else mean
        exact = {"median", "p5", "p95"} & set(run.values)
        times |= {key: run.values[key] / 1000 for key in exact}
    # The latency is the median, or the mean where there is none.
    is_exact = run is not None and ("median" in run.values or "median" not in times)
    python = "Fully accelerated" in fields
    if python != ("Inference (median)" in fields):
        raise log.refuse(lineno, "lines of the results block are missing", "give the whole log")
    delegate = _accelerators(log)
    fully = _fully(log, fields["Fully accelerated"]) if python else None
    share, graph_operators = delegation(log, xnnpack=delegate == CPU) if delegate is not None else (None, None)
    made = ImportedLog(
        "litert-text",
        "litert-benchmark" if python else "LiteRT benchmark_model",
        model_file=_model_file(log),
        count=count,
        mean_ms=mean,
        median_ms=times.get("median"),
        percentiles_ms={key: times[key] for key in ("p5", "p95") if key in times},
        min_ms=times["min"],
        max_ms=times["max"],
        std_ms=times["std"],
        peak_memory_bytes=_peak_memory(log, fields),
        delegate=delegate,
        confirmed=True,
        threads=_threads(log),
        delegated_share=1.0 if share is None and fully and delegate not in (None, CPU) else share,
        graph_operators=graph_operators,
        partly_delegated=_in_part(delegate, fully) or (partly_delegated(log) if delegate not in (None, CPU) else None),
        partitions=partitions(log, xnnpack=delegate == CPU) if delegate is not None else None,
        step_ms=None if is_exact else ROUNDED_MS,
    )
    return (check_log(log, made, step_ms=STEP_MS, line=lineno),)


def read_json(log: Log) -> tuple[ImportedLog, ...]:
    """The Python tool's JSON; raises `ImportLogError` where it is not whole."""
    values = parse_json(log)
    latency: Any = values.get("latency") if isinstance(values, dict) else None
    if not isinstance(latency, dict) or not _LATENCY <= set(latency) or not isinstance(values.get("model"), str):
        raise log.refuse(None, "model or a field of latency is missing", "give the file as litert-benchmark wrote it")
    times = {key: json_number(log, latency, key) or 0.0 for key in _LATENCY}
    if times["num_runs"] != int(times["num_runs"]):
        raise log.refuse(None, "num_runs is not a count", "give the file as litert-benchmark wrote it")
    threads = json_number(log, values, "num_threads", optional=True)
    accelerators = values.get("accelerators")
    if not isinstance(accelerators, list) or not all(isinstance(name, str) for name in accelerators):
        raise log.refuse(None, "accelerators is no list of names", "give the file as litert-benchmark wrote it")
    delegate, fully = _joined(accelerators), values.get("fully_accelerated")
    if fully is not None and not isinstance(fully, bool):
        raise log.refuse(None, "fully_accelerated is neither true nor false", "give the file as written")
    made = ImportedLog(
        "litert-json",
        "litert-benchmark",
        model_file=file_name(values["model"]),
        count=int(times["num_runs"]),
        mean_ms=times["avg_ms"],
        median_ms=times["median_ms"],
        percentiles_ms={"p5": times["p5_ms"], "p95": times["p95_ms"]},
        min_ms=times["min_ms"],
        max_ms=times["max_ms"],
        std_ms=times["std_ms"],
        delegate=delegate,
        confirmed=True,
        threads=int(threads) if threads else None,
        delegated_share=1.0 if fully and delegate not in (None, CPU) else None,
        partly_delegated=_in_part(delegate, fully),
        step_ms=ROUNDED_MS,
    )
    return (check_log(log, made, step_ms=STEP_MS),)


def _block(log: Log) -> dict[str, tuple[int, str]]:
    starts = [lineno for lineno, line in enumerate(log.lines, 1) if "BENCHMARK RESULTS" in line]
    if len(starts) != 1:
        raise log.refuse(starts[1], "a second results block", "give one log per file")
    fields: dict[str, tuple[int, str]] = {}
    for lineno, line in enumerate(log.lines[starts[0] :], starts[0] + 1):
        text = line.strip()
        if len(text) >= 38 and not text.strip("="):
            if fields:
                return fields
        elif match := _FIELD.fullmatch(text):
            label, value = match[1].strip(), match[2].strip()
            if label in fields or label not in _OTHERS | set(_KEYS):
                raise log.refuse(
                    lineno, f"{label[:40]!r} does not belong here, or a second time", "give the log as written"
                )
            fields[label] = (lineno, value)
        elif text and not text.startswith(
            ("No inference runs", "No throughput data", "Peak memory usage not available")
        ):
            raise log.refuse(
                lineno, f"{text[:60]!r} is no line of a results block", "give the log as the tool wrote it"
            )
    raise log.cut("the line of '=' that closes the results")


def _peak_memory(log: Log, fields: dict[str, tuple[int, str]]) -> int | None:
    if "Peak memory" not in fields:
        return None
    lineno, text = fields["Peak memory"]
    if not text.endswith(" MB"):
        raise log.refuse(lineno, f"Peak memory is {text[:40]!r}", "give the log as written, in MB")
    return round(log.number(lineno, text.removesuffix(" MB"), "Peak memory") * 2**20)


def _run(log: Log, count: int, mean: float) -> CountLine | None:
    """The timed runs as TensorFlow Lite's loop tells them, which the C++ tool shares: finer, and with a median."""
    lines = [(lineno, line.strip()) for lineno, line in enumerate(log.lines, 1) if is_count_line(line.strip())]
    if not lines:
        return None
    run = read_count_line(log, *lines[-1])
    if run.count != count or abs(run.avg / 1000 - mean) > STEP_MS + 5e-6 * mean:
        raise contradiction(log, run.line, "count= and Inference (avg)", lines[-1][1][:80], f"{mean} ms ({count} runs)")
    return run


def _model_file(log: Log) -> str | None:
    names = {
        file_name(name.strip())
        for name in _stated(log, r"^(?:Graph: \[|.*benchmark_litert_model: Model: +)([^\[\]]{1,500})")
    }
    if len(names) > 1:
        raise contradiction(log, None, "model", *sorted(names)[:2])
    return next(iter(names), None)


def _threads(log: Log) -> int | None:
    stated = _stated(log, r"^(?:Num threads: \[|.*benchmark_litert_model: Num threads: +)(\d{1,4})\b")
    if len(set(stated)) > 1:
        raise contradiction(log, None, "threads", *stated[:2])
    return int(stated[0]) if stated else None


def _accelerators(log: Log) -> str | None:
    """What ran; the C++ tool's results do not say, and of its parameters only those that were given are printed."""
    stated = _stated(log, r"^.*benchmark_litert_model: Accelerators: +(\S.{0,100})")
    if len(set(stated)) > 1:
        raise contradiction(log, None, "accelerators", *stated[:2])
    if stated:
        return _joined([name.strip() for name in stated[0].split("|")])
    return None if (used := applied(log)) == "xnnpack" else used


def _joined(accelerators: list[str]) -> str | None:
    """Those beside the processor, which is always there for what they leave."""
    named = "+".join(name.lower() for name in accelerators if name.upper() != "CPU")
    return named or (CPU if accelerators else None)


def _in_part(delegate: str | None, fully: bool | None) -> bool | None:
    """Whether an accelerator is said to have taken not all; of the processor's own runs the tool says it too."""
    return True if fully is False and delegate not in (None, CPU) else None


def _fully(log: Log, field: tuple[int, str]) -> bool:
    lineno, text = field
    if text not in ("True", "False"):
        raise log.refuse(lineno, f"Fully accelerated is {text[:40]!r}", "give the log as the tool wrote it")
    return text == "True"


def _stated(log: Log, pattern: str) -> list[str]:
    return [match[1] for line in log.lines if (match := re.search(pattern, line))]
