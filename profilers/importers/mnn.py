"""MNN's benchmark.out: a line for each model, in milliseconds of three decimals, under the settings of its run.

`benchmark/benchmark.cpp` of alibaba/MNN. Its script for Android appends a run of each backend to one file. They must be
of the same models, or a cut would not show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log

STEP_MS = 0.00051
"""Its figures have three decimals."""

_FORWARD = re.compile(r"Forward type: (?:\*\*)?([\w/]{1,20})(?:\*\*)?((?: \w{1,30}=[\w.]{1,20}(?:\*\*)?)*)")
_SETTING = re.compile(r"(\w+)=([\w.]+)")
_LOOP = re.compile(r"-{4,12}> Benchmarking\.\.\. loop = (\d{1,9})(?:, warmup = \d{1,9})?")
_TIME = r"= {1,9}(\d{1,12}\.\d{3}) ?ms"
# People mark its times in bold.
_ROW = re.compile(
    rf"\[ ?- ?\] (\S.{{0,300}}?) {{1,40}}[*_]{{0,3}}max {_TIME} {{1,4}}min {_TIME} {{1,4}}avg {_TIME}[*_]{{0,3}}"
)
_LIKE = re.compile(r"\[ ?- ?\] |Forward type|-{4,12}> Benchmarking")


@dataclass
class _Run:
    """A run of one backend."""

    lineno: int
    backend: str | None = None
    threads: int | None = None
    precision: str | None = None
    loop: int | None = None
    rows: dict[str, tuple[int, list[float]]] = field(default_factory=dict)


def claims(log: Log) -> bool:
    """Whether this is its output, whole or not."""
    return any(_FORWARD.fullmatch(text) or _LOOP.fullmatch(text) or _ROW.fullmatch(text) for text in _texts(log))


def read(log: Log) -> tuple[ImportedLog, ...]:
    """One measurement for each model of each run; raises `ImportLogError` where a line is cut or in a wrong place."""
    runs = _runs(log)
    if not runs or not runs[-1].rows:
        raise log.cut("a line of times")
    if not log.ended and not _ROW.fullmatch(log.lines[-1].strip()):
        raise log.refuse(log.last, "the last line has no end and may be cut", "end it with a line break if it is whole")
    for at, run in enumerate(runs[1:], 1):
        if run.backend in [one.backend for one in runs[:at]]:
            raise log.refuse(run.lineno, f"a second run on {run.backend}", "give one run per file")
        if other := sorted(set(runs[0].rows) ^ set(run.rows)):
            raise log.refuse(run.lineno, f"a second run, and {other[0][:60]} is in one alone", "give one run per file")
    return tuple(one for run in runs for one in _measurements(log, run, several=len(runs) > 1))


def _texts(log: Log) -> Iterator[str]:
    return (line.strip() for line in log.lines)


def _runs(log: Log) -> list[_Run]:
    """Every run, in the order of the file."""
    runs: list[_Run] = []
    for lineno, text in enumerate(_texts(log), 1):
        if text.startswith("MNN benchmark") or (_FORWARD.fullmatch(text) and (not runs or runs[-1].backend)):
            if runs and not runs[-1].rows:
                raise log.refuse(lineno, "the run before this line has no times", "give the log as the tool wrote it")
            runs.append(_Run(lineno))
        if match := _FORWARD.fullmatch(text):
            settings = dict(_SETTING.findall(match[2]))
            runs[-1].backend, runs[-1].precision = match[1], settings.get("precision")
            if "thread" in settings:
                runs[-1].threads = log.whole(lineno, settings["thread"], "thread")
        elif match := _LOOP.fullmatch(text):
            if not runs or runs[-1].backend is None or runs[-1].loop is not None:
                raise log.refuse(lineno, "no 'Forward type' before this line", "give the log from its first line")
            runs[-1].loop = int(match[1])
        elif match := _ROW.fullmatch(text):
            if not runs or runs[-1].loop is None:
                raise log.refuse(lineno, "no settings of the run before this line", "give the log from its first line")
            name = file_name(match[1])
            if name in runs[-1].rows:
                raise log.refuse(lineno, f"a second line of {name[:60]}", "give one run per file")
            runs[-1].rows[name] = lineno, [log.number(lineno, value, name) for value in match.groups()[1:]]
        elif _LIKE.match(text):
            raise log.refuse(lineno, f"{text[:60]!r} is cut or changed", "give the log as the tool wrote it")
    return runs


def _measurements(log: Log, run: _Run, *, several: bool) -> Iterator[ImportedLog]:
    ran = {"CPU": CPU, "N/A": None}.get(run.backend or "N/A", (run.backend or "").lower())
    notes = []
    if ran is None:
        notes.append("the tool does not name this backend; pass --delegate")
    elif ran != CPU:
        notes.append("MNN does not say which operators fell back to the processor")
    if run.precision == "2":
        notes.append("precision=2: computed in fp16 where the device can")
    for name, (lineno, (longest, shortest, mean)) in run.rows.items():
        one = ImportedLog(
            "mnn-benchmark",
            "MNN benchmark.out",
            model_file=name,
            count=run.loop,
            mean_ms=mean,
            min_ms=shortest,
            max_ms=longest,
            delegate=ran,
            confirmed=True,
            warnings=tuple(notes),
            label=f"{name}, {run.backend}" if several or len(run.rows) > 1 else None,
            # Of a GPU it is not a number of threads but how memory and tuning are set.
            threads=run.threads if ran == CPU else None,
            step_ms=0.001,
        )
        yield check_log(log, one, step_ms=STEP_MS, line=lineno)
