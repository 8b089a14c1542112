"""TensorFlow Lite's `benchmark_model`: its output, and its operator profile as CSV.

Times are microseconds. The first pair of `Running benchmark` and `count=` is the warm-up, the second the measurement.
"""

from __future__ import annotations

import re

from profilers.importers.count_line import CountLine
from profilers.importers.count_line import is_count_line
from profilers.importers.count_line import read_count_line
from profilers.importers.delegation import applied
from profilers.importers.delegation import declined
from profilers.importers.delegation import delegation
from profilers.importers.delegation import partitions
from profilers.importers.delegation import partly_delegated
from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log
from profilers.importers.operator_tables import has_csv_tables
from profilers.importers.operator_tables import has_tables
from profilers.importers.operator_tables import read_operators

_SUMMARY = re.compile(r"(?:Average inference|Inference) timings in (\w{1,20}): (.*)")
_PEAK = re.compile(
    r"(?:Overall peak memory footprint|Peak memory footprint) \((\w{1,10})\)"
    r"(?: via periodic monitoring:|:)(?: init=\S{1,30} overall=)? ?(\S{1,30})"
)
# What is left of a run that failed before it printed any time.
_BEGINNINGS = ("STARTING!", "Log parameter values verbosely: [", "ERROR: Benchmarking failed", "Benchmarking failed")
_PARAMETER = re.compile(r"([#A-Za-z][\w #()-]{1,80}): \[(.{0,500})\]")


def claims_output(log: Log) -> bool:
    """Whether this is its output, whole or not; LiteRT's tool prints `count=` lines too, before its own results."""
    if any("BENCHMARK RESULTS" in line for line in log.lines):
        return any(_SUMMARY.fullmatch(line.strip()) for line in log.lines)
    return has_tables(log) or any(
        _SUMMARY.fullmatch(line.strip())
        or is_count_line(line.strip())
        or line.strip().startswith(("Running benchmark for", *_BEGINNINGS))
        for line in log.lines
    )


def claims_csv(log: Log) -> bool:
    """Whether this is its operator profile as CSV."""
    return has_csv_tables(log) and not claims_output(log)


def read_csv(log: Log) -> tuple[ImportedLog, ...]:
    """The operators; a profile alone holds no latency of the whole."""
    operators, warnings = read_operators(log)
    made = ImportedLog(
        "tflite-csv", "TensorFlow Lite benchmark_model", operators=operators, warnings=(UNCONFIRMED, *warnings)
    )
    return (check_log(log, made),)


def read_output(log: Log) -> tuple[ImportedLog, ...]:
    """Statistics, operators, memory; raises `ImportLogError` where the log is cut, joined or contradicts itself."""
    _refuse_failures(log)
    run, lineno = _statistics(log)
    parameters = _parameters(log)
    threads = _same(log, parameters, "Num threads", "#threads used for CPU inference")
    promised = parameters.get("Enable op profiling", (0, "0"))[1] in ("1", "true")
    if not promised and (has_tables(log) or has_csv_tables(log)):
        raise log.refuse(None, "an operator table that no 'Enable op profiling: [1]' announces", "give the whole log")
    operators, warnings = read_operators(log) if promised else ((), ())
    if not log.ended and _PEAK.fullmatch(log.lines[-1].strip()):
        raise log.refuse(log.last, "the last line has no end and may be cut", "end it with a line break if it is whole")
    accelerated, refused, notes = _delegate(log)
    on_accelerator = accelerated not in (CPU, "xnnpack")
    share, graph_operators = delegation(log, xnnpack=not on_accelerator)
    if operators:
        notes.append("operator table: " + UNCONFIRMED)
    values = {key: value / 1000 for key, value in run.values.items()}
    single = "avg" not in values
    made = ImportedLog(
        "tflite",
        "TensorFlow Lite benchmark_model",
        model_file=_model_file(log, parameters),
        count=run.count,
        mean_ms=run.avg / 1000,
        median_ms=values["curr"] if single else values.get("median"),
        percentiles_ms={key: values[key] for key in ("p5", "p95") if key in values},
        min_ms=values["curr"] if single else values["min"],
        max_ms=values["curr"] if single else values["max"],
        std_ms=(0.0 if run.count > 1 else None) if single else values["std"],
        operators=operators,
        peak_memory_bytes=_peak_memory(log),
        delegate=accelerated,
        confirmed=True,
        warnings=(*notes, *warnings),
        threads=threads if threads and threads > 0 else None,
        delegated_share=share,
        graph_operators=graph_operators,
        partly_delegated=partly_delegated(log) if on_accelerator else None,
        declined="+".join(refused) if refused and not on_accelerator else None,
        partitions=partitions(log, xnnpack=not on_accelerator),
    )
    for key in ("first", "curr"):
        if key in values and made.min_ms is not None and made.max_ms is not None:
            if not made.min_ms <= values[key] <= made.max_ms:
                raise contradiction(
                    log, run.line, f"{key} and min to max", values[key], f"{made.min_ms} to {made.max_ms} ms"
                )
    return (check_log(log, made, line=lineno),)


def _statistics(log: Log) -> tuple[CountLine, int]:
    """The measurement, and the line of the summary, which states its mean and that of the warm-up again."""
    counts, summaries, announced = [], [], 0
    for lineno, line in enumerate(log.lines, 1):
        text = line.strip()
        announced += text.startswith("Running benchmark for")
        if is_count_line(text):
            counts.append(read_count_line(log, lineno, text))
        elif match := _SUMMARY.fullmatch(text):
            summaries.append((lineno, match[1], match[2]))
    if not summaries:
        raise log.cut("the line 'Inference timings in us'")
    if len(summaries) > 1:
        raise log.refuse(summaries[1][0], "a second run's results", "give one log per file")
    lineno, unit, text = summaries[0]
    if unit != "us":
        raise log.refuse(lineno, f"the timings are in {unit!r}", "give the log as written, in us")
    stated: dict[str, float] = {}
    for part in text.split(","):
        label, _, value = part.strip().rpartition(": ")
        key = {"no stats": "Inference"}.get(label, label).removesuffix(" (avg)")
        if key not in ("Init", "First inference", "Warmup", "Inference") or key in stated:
            raise log.refuse(lineno, f"{label[:60]!r} is no label of this line", "give the log as the tool wrote it")
        stated[key] = log.number(lineno, value, label)
    if not {"Init", "Inference"} <= set(stated):
        raise log.refuse(lineno, "Init or Inference is missing", "give the log as the tool wrote it")
    warm = stated.get("Warmup", 0.0)
    # With --warmup_runs=0 there is a first pair that timed nothing; the oldest programs printed none.
    if len(counts) != announced or len(counts) not in ((2,) if warm else (1, 2)):
        raise log.refuse(
            lineno,
            f"{len(counts)} 'count=' and {announced} 'Running benchmark' lines, where there should be 2 each",
            "give the whole log of one run",
        )
    if counts[-1].line > lineno:
        raise log.refuse(counts[-1].line, "timings after their summary", "give the log as the tool wrote it")
    run = counts[-1]
    if not run.count:
        raise log.refuse(run.line, "this run times nothing", "run the tool with at least one timed run")
    # The summary has six digits of a mean; of one time, or of equal ones, 'count=' has them all.
    if run.printed_avg != stated["Inference"]:
        raise contradiction(
            log, lineno, "Inference (avg) and avg of count=", f"{stated['Inference']} us", f"{run.avg} us"
        )
    if len(counts) == 2 and counts[0].printed_avg != warm:
        raise contradiction(
            log, lineno, "Warmup (avg) and avg of the first count=", f"{warm} us", f"{counts[0].avg} us"
        )
    if "First inference" in stated and counts[0].first != stated["First inference"]:
        raise contradiction(
            log, lineno, "First inference and first=", f"{stated['First inference']} us", f"{counts[0].first} us"
        )
    return run, lineno


def _parameters(log: Log) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for lineno, line in enumerate(log.lines, 1):
        if match := _PARAMETER.fullmatch(line.strip()):
            name, value = match[1].strip(), match[2].strip()
            if name in found and found[name][1] != value:
                raise contradiction(log, lineno, name, value, found[name][1])
            found[name] = (lineno, value)
    return found


def _same(log: Log, parameters: dict[str, tuple[int, str]], first: str, second: str) -> int | None:
    stated = [parameters[name] for name in (first, second) if name in parameters]
    if len({value for _, value in stated}) > 1:
        raise contradiction(log, stated[1][0], first, stated[0][1], stated[1][1])
    if not stated or stated[0][1].startswith("-"):
        return None
    return log.whole(stated[0][0], stated[0][1], first)


def _model_file(log: Log, parameters: dict[str, tuple[int, str]]) -> str | None:
    names = [file_name(parameters["Graph"][1])] if "Graph" in parameters else []
    for lineno, line in enumerate(log.lines, 1):
        if line.strip().startswith("Loaded model "):
            names.append(file_name(line.strip().removeprefix("Loaded model ")))
            if names[0] != names[-1]:
                raise contradiction(log, lineno, "model", names[0], names[-1])
    return names[0] if names else None


def _peak_memory(log: Log) -> int | None:
    found: list[float] = []
    for lineno, line in enumerate(log.lines, 1):
        if match := _PEAK.fullmatch(line.strip()):
            if match[1] != "MB":
                raise log.refuse(lineno, f"the memory footprint is in {match[1]!r}", "give the log as written, in MB")
            found.append(log.number(lineno, match[2], "the peak memory footprint"))
            if found[0] != found[-1]:
                raise contradiction(log, lineno, "peak memory", found[0], found[-1])
    return round(found[0] * 2**20) if found else None


def _delegate(log: Log) -> tuple[str, tuple[str, ...], list[str]]:
    """What ran the graph, what was asked to and ran nothing, and what a reader should know of it."""
    # A delegate says so of operators that it leaves to the CPU, and the run goes on.
    notes = [f"the tool said: {line.strip()[:120]!r}" for line in log.lines if line.strip().startswith("ERROR: ")][:3]
    # The program names every delegate that it applies.
    used, refused = applied(log) or CPU, declined(log)
    if used != CPU and any("partially executed by the delegate" in line for line in log.lines):
        notes.append("the delegate ran only a part of the graph")
    instead = "the processor" if used in (CPU, "xnnpack") else used
    notes += [f"{name} was asked for and ran nothing: all ran on {instead}" for name in refused]
    return used, refused, notes


def _refuse_failures(log: Log) -> None:
    texts = [(lineno, line.strip()) for lineno, line in enumerate(log.lines, 1)]
    errors = [(lineno, text) for lineno, text in texts if text.startswith(("ERROR:", "FATAL:"))]
    # The GPU delegate says this of a graph that it takes in part.
    grave = [(lineno, text) for lineno, text in errors if "Following operations are not supported" not in text]
    failed = [(lineno, text) for lineno, text in texts if "Benchmarking failed" in text or "Failed to apply" in text]
    if not failed and (not grave or any(_SUMMARY.fullmatch(text) for _, text in texts)):
        return
    # The tool's last word is that it failed; why, it said first.
    lineno, text = [*grave, *failed][0]
    if "Benchmarking failed" in text and errors:
        lineno, text = errors[0]
    why = text.partition(":")[2].strip() if (lineno, text) in errors else text
    raise log.refuse(lineno, f"benchmark_model failed: {why[:120]!r}", "mend that and run it again")
