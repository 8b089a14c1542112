"""The CSV that ONNX Runtime's QNN execution provider writes with `profiling_level` and `profiling_file_path`.

A run of the graph begins at the event "Number of HVX threads used" and ends at "QNN (execute) time". Microseconds,
cycles and counts stand in one column, so each is read by its unit. What operators take is in cycles, which sum up to
those of the run and are no time. The code is in onnxruntime since pull request 18201, and in onnxruntime-qnn.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import run_statistics
from profilers.importers.log import Log

_BEGINNING = ("Msg Timestamp", "Message", "Time", "Unit of Measurement")
_COLUMNS = (*_BEGINNING, "Timing Source", "Event Level", "Event Identifier")
_ADDED = ("ONNX Source Ops",)
_FIRST = "Number of HVX threads used"
# From what the processor waits for to what the accelerator computes: each contains the next.
_TIMES = (
    "QNN (execute) time",
    "RPC (execute) time",
    "QNN accelerator (execute) time",
    "Accelerator (execute) time",
    "Accelerator (execute excluding wait) time",
)
_CYCLES = "Accelerator (execute) time (cycles)"
_OPERATOR = re.compile(r"(.{1,400}?)(?::| )OpId_(\d{1,9}) \(cycles\)")
_REWRITE = "delete the file, run one session and give what it writes"


@dataclass
class _Run:
    """One execution of the graph: its events by name, and the cycles of its operators in their order."""

    lineno: int
    events: dict[str, tuple[int, str, int]] = field(default_factory=dict)
    operators: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[object, ...]:
        """What all runs of one graph have in common."""
        return tuple(self.events), tuple((name, node) for name, node, _ in self.operators)


def claims(log: Log) -> bool:
    """Whether a line has its headings, as ONNX Runtime or qnn-profile-viewer writes them."""
    return any(line.replace(", ", ",").startswith(",".join(_BEGINNING)) for line in log.lines)


def read(log: Log, runs: int | None, warmup_runs: int) -> tuple[ImportedLog, ...]:
    """Runs after the warm-up, and the share of cycles of each operator in them.

    Raises:
        ImportLogError: cut, of several graphs or sessions, or with cycles that do not add up.
    """
    found = _runs(log)
    if not found:
        raise log.cut(f"a run, which begins with {_FIRST!r}", _REWRITE)
    if runs is None:
        raise log.refuse(
            log.last,
            f"it holds {len(found)} run{'s' * (len(found) > 1)} and has no end mark, so a cut would not show",
            "say with --runs how many runs the session made, warm-up included",
        )
    if runs != len(found):
        raise contradiction(log, log.last, "number of runs", len(found), runs)
    if not log.ended:
        raise log.refuse(log.last, "the last line has no end and may be cut", "end it with a line break if it is whole")
    dropped = warmup_runs if len(found) > warmup_runs else 0
    timed = found[dropped:]
    for run in timed:
        _check(log, run, timed[0])
    known = [name for name in _TIMES if name in timed[0].events]
    if not known:
        raise log.refuse(timed[0].lineno, "this run has no time in microseconds", "profile an HTP with profiling_level")
    ms = np.asarray([run.events[known[0]][0] for run in timed], dtype=np.float64) / 1000
    if not ms.min() > 0:
        raise log.refuse(timed[0].lineno, f"{known[0]} is 0, which no run takes", "give the file as it was written")
    made = ImportedLog(
        "qnn-csv",
        "ONNX Runtime QNN profiling",
        **run_statistics(ms),
        operators=_operators(timed),
        delegate="qnn",
        confirmed=True,
        warnings=(_dropped(dropped, len(found), warmup_runs), *_notes(timed, known)),
    )
    return (check_log(log, made),)


def _runs(log: Log) -> list[_Run]:
    """Every run in the order of the file."""
    head = next(at for at, line in enumerate(log.lines) if line.replace(", ", ",").startswith(",".join(_BEGINNING)))
    columns = tuple(cell.strip() for cell in log.lines[head].split(","))
    if ", " in log.lines[head]:
        raise log.refuse(head + 1, "this is qnn-profile-viewer's CSV", "give the text that it prints")
    if columns not in (_COLUMNS, _COLUMNS + _ADDED):
        raise log.refuse(head + 1, "the headings are not those of a QNN profile", "give the file as it was written")
    found: list[_Run] = []
    finalized = 0
    running = False
    for lineno, line in enumerate(log.lines[head + 1 :], head + 2):
        cells = _cells(log, lineno, line)
        if len(cells) != len(columns):
            raise log.refuse(lineno, f"{len(cells)} cells under {len(columns)} headings", "give the whole file")
        _, message, value, unit, _, level, name = (cell.strip() for cell in cells[:7])
        if level == _COLUMNS[5]:
            raise log.refuse(lineno, "a second line of headings", "give one file per session")
        if level not in ("ROOT", "SUB-EVENT"):
            raise log.refuse(lineno, f"the level of an event is {level[:40]!r}", "give the file as it was written")
        if level == "ROOT" and name == _FIRST:
            found.append(_Run(lineno))
            running = True
        elif level == "ROOT" and re.search(r"\((?:finalize|init|deinit|load binary)\)", name):
            finalized += message in ("FINALIZE", "INIT")
            if found or finalized > 1:
                raise log.refuse(lineno, "a second graph, or a second session", _one_graph())
            running = False
        if running:
            _add(log, found[-1], lineno, level, message, value, unit, name)
    return found


def _cells(log: Log, lineno: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:
        raise log.refuse(lineno, f"this is no line of a CSV ({error})", "give the file as it was written") from None


def _add(log: Log, run: _Run, lineno: int, level: str, message: str, value: str, unit: str, name: str) -> None:
    """An event of a run, or an operator's cycles."""
    if level == "SUB-EVENT":
        match = _OPERATOR.fullmatch(name)
        if message != "NODE" or unit != "CYCLES" or match is None:
            raise log.refuse(lineno, f"{name[:60]!r} is no operator's cycles", "give the file as it was written")
        run.operators.append((match[1], int(match[2]), log.whole(lineno, value, "an operator's cycles")))
        return
    if name in run.events:
        raise log.refuse(lineno, f"{name[:60]!r} stands twice in one run", "give the file as it was written")
    wanted = "US" if name in _TIMES else "CYCLES" if name == _CYCLES else None
    if wanted not in (None, unit):
        raise log.refuse(lineno, f"{name[:60]!r} is in {unit[:20]!r}, not in {wanted}", "give the file as written")
    run.events[name] = (log.whole(lineno, value, name[:60]) if unit in ("US", "CYCLES", "COUNT") else 0, unit, lineno)


def _check(log: Log, run: _Run, first: _Run) -> None:
    """Raise `ImportLogError` where a run is not whole, of another graph than the first, or contradicts itself."""
    if run.shape != first.shape:
        if {name for name, *_ in run.operators} & {name for name, *_ in first.operators} or not run.operators:
            raise log.refuse(run.lineno, "lines of this run are missing, or moved", "give the whole file")
        raise log.refuse(run.lineno, "a second graph: the model was cut into several", _one_graph())
    for outer, inner in zip(_TIMES, _TIMES[1:], strict=False):
        if outer in run.events and inner in run.events and run.events[inner][0] > run.events[outer][0]:
            times = f"{run.events[outer][0]} us", f"{run.events[inner][0]} us"
            raise contradiction(log, run.events[inner][2], f"{outer}, which contains {inner}", *times)
    if run.operators and _CYCLES in run.events:
        total, stated = sum(cycles for *_, cycles in run.operators), run.events[_CYCLES][0]
        if total != stated:
            raise contradiction(log, run.events[_CYCLES][2], "cycles of the run and of its operators", stated, total)


def _operators(runs: list[_Run]) -> tuple[OperatorRow, ...]:
    """Shares alone: how long a cycle takes, the file does not say."""
    cycles = np.asarray([[taken for *_, taken in run.operators] for run in runs], dtype=np.float64).mean(0)
    total = float(cycles.sum())
    return tuple(
        OperatorRow(name, "", None, float(taken) / total if total else None, 1, node)
        for (name, node, _), taken in zip(runs[0].operators, cycles, strict=True)
    )


def _dropped(dropped: int, count: int, warmup_runs: int) -> str:
    if not dropped and warmup_runs:
        return "too few runs to drop a warm-up: this includes the first run"
    return f"the first of {count} runs counted as warm-up" if dropped == 1 else f"{dropped} runs dropped as warm-up"


def _notes(runs: list[_Run], known: list[str]) -> list[str]:
    """What the times are of."""
    notes = [f"times are {known[0]!r} of the QNN graph; what ONNX Runtime ran beside it is not in the file"]
    inner = next((name for name in ("Accelerator (execute) time",) if name in known[1:]), None)
    if inner is not None:
        median = float(np.median([run.events[inner][0] for run in runs])) / 1000
        notes.append(f"the accelerator itself took {median:g} ms of them (median)")
    if runs[0].operators:
        notes.append("operators were profiled, which takes time: profiling_level=basic is quicker")
    return notes


def _one_graph() -> str:
    return "profile a model that is one QNN graph, in one session and with a file that is not there yet"
