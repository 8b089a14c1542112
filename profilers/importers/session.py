"""The folder that `litert benchmark --ddp` leaves of a rented phone's job, and a session's folder of several jobs.

    SESSION/ACCELERATOR-DEVICE/
      results.pb          `BenchmarkResult`, without the model's name
      runtime_info.pb     `ModelRuntimeDetails`: what ran where
      logcat.txt          of all processes of the phone; a first run may only have filled caches
      benchmark_run.txt   since September 2026: commands, processes, the model's SHA-256

What two of them say must agree.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilers.importers.delegation import delegation
from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.litert import STEP_MS
from profilers.importers.log import Log
from profilers.importers.log import make_log
from profilers.importers.log import open_log
from profilers.importers.log import parse_json
from profilers.importers.runtime_info import facts
from profilers.importers.runtime_info import read_placement
from profilers.importers.tflite_proto import read_litert_result
from subdit.core.errors import ImportLogError

RESULTS, PLACEMENT, LOGCAT, RECORD = "results.pb", "runtime_info.pb", "logcat.txt", "benchmark_run.txt"
SESSION = "session.json"
"""Beside the jobs: what those who kept the session know of it, such as the version of LiteRT."""

DEFAULT_THREADS = 1
"""Of LiteRT's benchmark_model without --num_threads (litert/runtime/compiled_model.cc); LiteRT-CLI never passes it."""

_PROCESS = re.compile(r"(first|measured|fallback) process: (command|pid|exit) (.*)")
_DIGEST = re.compile(r"([0-9a-f]{64}) [ *]\./(\S.*\.tflite)")
_GRAPH = re.compile(r"--graph=(\S.*?\.tflite)(?= |$)")
_THREADS = re.compile(r"--num_threads=(\d{1,4})(?= |$)")
_LOADING = re.compile(r"Loading model from: (\S.*)")
_LOGCAT_PID = re.compile(r"\d\d-\d\d \d\d:\d\d:\d\d\.\d+\s+(\d+)\s+\d+\s")
_ACCELERATORS = ("cpu", "gpu", "npu")
# The run loop logs the median and other percentiles in whole microseconds, which the results hold as float32.
_EXACT_MS = 1e-4

Reader = Callable[[Log], tuple[ImportedLog, ...]]


@dataclass(frozen=True)
class _Record:
    """What benchmark_run.txt says; None where it is not there or does not say.

    Attributes:
        pid: of the process that was measured.
        command: of that process.
        model_file, digest: the model's name, and its SHA-256.
    """

    pid: str | None = None
    command: str | None = None
    model_file: str | None = None
    digest: str | None = None


def is_session(folder: Path) -> bool:
    """Whether it is the folder of a job or holds folders of jobs."""
    return folder.is_dir() and bool(_jobs(folder))


def read_session(folder: Path, read: Reader) -> tuple[ImportedLog, ...]:
    """One log for each job, labelled SESSION/JOB.

    Args:
        folder: of a job or a session.
        read: reads a log of text, for a job that wrote no results.

    Raises:
        ImportLogError: a job failed, its files are cut, or they contradict each other.
    """
    return tuple(_read_job(job, read) for job in _jobs(folder))


def _jobs(folder: Path) -> list[Path]:
    def is_job(one: Path) -> bool:
        return any((one / name).is_file() for name in (RESULTS, PLACEMENT, RECORD))

    if is_job(folder):
        return [folder]
    inside = sorted(one for one in folder.iterdir() if one.is_dir())
    # A job that failed early left its logcat alone.
    return [one for one in inside if is_job(one) or (one / LOGCAT).is_file()] if any(map(is_job, inside)) else []


def _read_job(job: Path, read: Reader) -> ImportedLog:
    record, label = _read_record(job), f"{job.resolve().parent.name}/{job.resolve().name}"
    logcat = _open_logcat(job, record, label)
    if not (job / RESULTS).is_file():
        if logcat is None:
            raise ImportLogError(f"{label} holds neither {RESULTS} nor {LOGCAT}: the job left nothing; run it again.")
        return dataclasses.replace(read(logcat)[0], label=label, device=_device(job))
    result_log = _named(open_log(job / RESULTS), label)
    (result,) = read_litert_result(result_log)
    found: dict[str, Any] = {"label": label, "device": _device(job), "threads": _threads(record)}
    found["runtime_version"] = _runtime_version(job)
    notes = list(result.warnings)
    if logcat is not None and any("BENCHMARK RESULTS" in line for line in logcat.lines):
        (told,) = read(logcat)
        _require_same(result_log, result, told)
        found["threads"] = told.threads or found["threads"]
        kept = ("delegate", "delegated_share", "graph_operators", "partly_delegated", "partitions", "declined")
        found |= {name: getattr(told, name) for name in kept}
    else:
        notes.append(f"no {LOGCAT} with this run's results: nothing else says what {RESULTS} says")
    found |= {"model_file": _model_file(result_log, record, logcat), "model_sha256": record.digest}
    if (job / PLACEMENT).is_file():
        placement_log = _named(open_log(job / PLACEMENT), label)
        placed = facts(read_placement(placement_log))
        _require_same_share(placement_log, placed, logcat)
        found |= {"partly_delegated": None, "declined": None} | placed
    return dataclasses.replace(result, **_asked(result_log, job.resolve().name, record, found), warnings=tuple(notes))


def _device(job: Path) -> str:
    """The device's id, which follows the accelerator in the name of its job."""
    word, _, device = job.resolve().name.partition("-")
    return device if word in _ACCELERATORS and device else job.resolve().name


def _runtime_version(job: Path) -> str | None:
    """Of LiteRT, where the session's file says it."""
    file = job.resolve().parent / SESSION
    if not file.is_file():
        return None
    log = open_log(file)
    stated = parse_json(log)
    version = stated.get("runtime_version") if isinstance(stated, dict) else None
    if version is not None and not isinstance(version, str):
        raise log.refuse(None, "runtime_version is no text", "give the file as it was written")
    return version


def _asked(log: Log, job: str, record: _Record, found: dict[str, Any]) -> dict[str, Any]:
    """`found` with what an accelerator that was asked for did, by the job's name and the command."""
    word = job.partition("-")[0]
    if word not in _ACCELERATORS:
        word = "gpu" if "--use_gpu=true" in (record.command or "") else ""
    delegate = found.get("delegate")
    if delegate is None:
        return found | {"delegate": word or None}
    ran = set(delegate.split("+")) - {CPU, "xnnpack"}
    if word == "cpu" and ran:
        raise contradiction(log, None, "what ran the model", word, delegate)
    if word in ("gpu", "npu") and not ran:
        return found | {"declined": word, "partly_delegated": None}
    return found


def _require_same(log: Log, result: ImportedLog, told: ImportedLog) -> None:
    """Refuse results that the logcat of the same run states otherwise."""
    if told.count != result.count:
        raise contradiction(log, None, "timed runs", result.count, told.count)
    for name in ("mean_ms", "min_ms", "max_ms", "std_ms", "median_ms"):
        step = _EXACT_MS if name == "median_ms" else STEP_MS
        _require_close(log, name.removesuffix("_ms"), getattr(result, name), getattr(told, name), step)
    for name, here in result.percentiles_ms.items():
        _require_close(log, name, here, told.percentiles_ms.get(name), _EXACT_MS)


def _require_close(log: Log, what: str, here: float | None, there: float | None, step_ms: float) -> None:
    if here is not None and there is not None and abs(here - there) > step_ms + 1e-6 * here:
        raise contradiction(log, None, what, f"{here} ms in {RESULTS}", f"{there} ms")


def _require_same_share(log: Log, placed: dict[str, Any], logcat: Log | None) -> None:
    """Refuse a placement of operators that the logcat states otherwise, of a graph of as many."""
    if logcat is None:
        return
    share, total = delegation(logcat, xnnpack=placed["delegate"] in (CPU, "xnnpack"))
    if total == placed["graph_operators"] and share != placed["delegated_share"]:
        raise contradiction(log, None, "the delegated share", placed["delegated_share"], share)


def _model_file(log: Log, record: _Record, logcat: Log | None) -> str | None:
    stated = [record.model_file] if record.model_file else []
    if logcat is not None:
        # A line that was cut has half a name.
        lines = logcat.lines if logcat.ended else logcat.lines[:-1]
        stated += [file_name(match[1].strip()) for line in lines if (match := _LOADING.search(line))]
    if len(set(stated)) > 1:
        raise contradiction(log, None, "model", *sorted(set(stated))[:2])
    return stated[0] if stated else None


def _threads(record: _Record) -> int:
    match = _THREADS.search(record.command or "")
    return int(match[1]) if match else DEFAULT_THREADS


def _open_logcat(job: Path, record: _Record, label: str) -> Log | None:
    """The logcat, of the measured process alone where it is known; None where there is none."""
    if not (job / LOGCAT).is_file() or not (job / LOGCAT).stat().st_size:
        return None
    log = open_log(job / LOGCAT)
    if record.pid is not None:
        lines = log.data.splitlines(keepends=True)
        own = [
            line
            for line in lines
            if (match := _LOGCAT_PID.match(line.decode("utf-8", errors="replace"))) and match[1] == record.pid
        ]
        # Where its number matches no line, as in another format of logcat, the lines say which process it was.
        log = make_log(b"".join(own), LOGCAT) if own else log
    return _named(log, label)


def _read_record(job: Path) -> _Record:
    if not (job / RECORD).is_file():
        return _Record()
    said: dict[tuple[str, str], str] = {}
    digest, model_file = None, None
    for line in open_log(job / RECORD).lines:
        if match := _PROCESS.fullmatch(line.strip()):
            said[match[1], match[2]] = match[3].strip()
        elif match := _DIGEST.fullmatch(line.strip()):
            digest, model_file = match[1], match[2]
    label = "fallback" if ("fallback", "pid") in said else "measured"
    command = said.get((label, "command"))
    if match := _GRAPH.search(command or ""):
        model_file = file_name(match[1])
    return _Record(said.get((label, "pid")), command, model_file, digest)


def _named(log: Log, label: str) -> Log:
    """The log under a name that says of which job it is."""
    return dataclasses.replace(log, name=f"{label}/{log.name}")
