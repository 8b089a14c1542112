"""ncnn's benchncnn: five lines of settings, then a line for each model, in milliseconds of two decimals.

`benchmark/benchncnn.cpp` of Tencent/ncnn. A model's line says all that is said of it, so a log that ends between two
lines lacks models and nothing else.
"""

from __future__ import annotations

import re

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log

STEP_MS = 0.0051
"""Its figures have two decimals."""

_NAMES = ("loop_count", "num_threads", "powersave", "gpu_device", "cooling_down")
_SETTING = re.compile(rf"({'|'.join(_NAMES)}) = (-?\d{{1,9}})")
_BEGINS_SETTING = re.compile(rf"(?:{'|'.join(_NAMES)})\b\s*=?")
_TIME = r"(\d{1,12}\.\d\d)"
_ROW = re.compile(rf"(\S(?:.{{0,200}}?\S)?)\s+min = {{1,8}}{_TIME}\s+max = {{1,8}}{_TIME}\s+avg = {{1,8}}{_TIME}")
_LIKE_ROW = re.compile(r"\bmin = .*|.*\b(?:max|avg) = ")
# What ncnn says of a GPU when it opens it: "[0 Adreno (TM) 740]  queueC=0[3]  queueG=0[3]  queueT=0[3]".
_GPU = re.compile(r"\[\d{1,2} .{1,120}\] {1,4}queueC=")
# Of later versions, which open it only where they use it.
_GPU_IN_USE = re.compile(r"\[\d{1,2} .{1,120}\] {1,4}subgroup=")


def claims(log: Log) -> bool:
    """Whether this is its output, whole or not."""
    lines = [line.strip() for line in log.lines]
    return any(_SETTING.fullmatch(line) and line.startswith(("loop_count", "num_threads")) for line in lines) or any(
        _ROW.fullmatch(line) for line in lines
    )


def read(log: Log) -> tuple[ImportedLog, ...]:
    """One measurement for each model; raises `ImportLogError` where a line is cut, or settings stand twice."""
    settings: dict[str, int] = {}
    rows: dict[str, tuple[int, list[float]]] = {}
    for lineno, line in enumerate(log.lines, 1):
        text = line.strip()
        if match := _SETTING.fullmatch(text):
            if match[1] in settings or rows:
                raise log.refuse(lineno, f"{match[1]} of a second run", "give one run per file")
            settings[match[1]] = int(match[2])
        elif match := _ROW.fullmatch(text):
            name = file_name(match[1])
            if name in rows:
                raise log.refuse(lineno, f"a second line of {name[:60]}", "give one run per file")
            rows[name] = lineno, [log.number(lineno, value, name) for value in match.groups()[1:]]
        elif _BEGINS_SETTING.match(text) or _LIKE_ROW.search(text):
            raise log.refuse(lineno, f"{text[:60]!r} is cut or changed", "give the log as the tool wrote it")
    if not rows:
        raise log.cut("a line of times")
    if not log.ended and not _ROW.fullmatch(log.lines[-1].strip()):
        raise log.refuse(log.last, "the last line has no end and may be cut", "end it with a line break if it is whole")
    if missing := [name for name in _NAMES[:2] if name not in settings]:
        raise log.refuse(None, f"the line '{missing[0]} = ' is missing", "give the log from its first line")
    if not settings["loop_count"] >= 1:
        raise log.refuse(None, "no inference was timed", "run the tool with a loop count of at least 1")
    if not settings["num_threads"] >= 1:
        raise log.refuse(None, f"num_threads is {settings['num_threads']}", "give the log as the tool wrote it")
    ran, notes = _delegate(log, settings.get("gpu_device"))
    made = []
    for name, (lineno, (shortest, longest, mean)) in rows.items():
        one = ImportedLog(
            "ncnn-benchmark",
            "ncnn benchncnn",
            model_file=name,
            count=settings["loop_count"],
            mean_ms=mean,
            min_ms=shortest,
            max_ms=longest,
            delegate=ran,
            confirmed=True,
            warnings=notes,
            label=name if len(rows) > 1 else None,
            threads=settings["num_threads"],
            step_ms=0.01,
        )
        made.append(check_log(log, one, step_ms=STEP_MS, line=lineno))
    return tuple(made)


def _delegate(log: Log, gpu_device: int | None) -> tuple[str | None, tuple[str, ...]]:
    """What ran the models: ncnn's GPUs are those of Vulkan, and a build without it ignores the option."""
    texts = [line.strip() for line in log.lines]
    if gpu_device is None:
        return None, ()
    if gpu_device < 0:
        if lineno := next((at for at, text in enumerate(texts, 1) if _GPU_IN_USE.match(text)), None):
            raise contradiction(log, lineno, "what ran the models", "a GPU", f"gpu_device = {gpu_device}")
        return CPU, ()
    if any(_GPU.match(text) for text in texts):
        return "vulkan", ()
    what = "a GPU was asked for, and no line of the log names one: a build without Vulkan runs on the processor"
    return None, (what,)
