"""Sessions of one device together: which jobs are that device's, and several sessions of a model as one measurement.

What sessions differ by is more than what the runs of one do: another phone of the same kind, another temperature. So
the interval of a latency that was measured in several sessions is theirs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np

from device_profiles import t_95
from profilers.importers.imported_log import ImportedLog
from subdit.core.errors import ImportLogError

MEDIAN_ERROR = 1.2533
"""The standard error of a median, over that of a mean, for a normal distribution."""


def of_device(logs: Sequence[ImportedLog], device: str) -> list[ImportedLog]:
    """Those of this device, where sessions are of several; else all of them.

    Raises:
        ImportLogError: the sessions are of several devices, and none is this one.
    """
    names = sorted({log.device for log in logs if log.device is not None})
    if len(names) < 2:
        return list(logs)
    if device not in names:
        raise ImportLogError(
            f"The sessions are of several devices ({', '.join(names)}), and none is {device!r}; name one of them with "
            "--device."
        )
    return [log for log in logs if log.device in (None, device)]


def merge_sessions(name: str, logs: Sequence[ImportedLog]) -> ImportedLog:
    """Several sessions of one model as one log, whose median is that of the sessions' latencies.

    Raises:
        ImportLogError: one is no session, has no latency, or is there twice.
    """
    if len(logs) == 1:
        return logs[0]
    if any(log.device is None for log in logs):
        raise ImportLogError(
            f"There are {len(logs)} logs of {name}; give one log for each, or the folders of sessions."
        )
    for at, log in enumerate(logs):
        if any(_same(log, other) for other in logs[:at]):
            raise ImportLogError(f"{log.label} measured {name} to the last digit as another session; leave one out.")
    for field in (
        "model_sha256",
        "graph_operators",
        "delegated_share",
        "delegate",
        "declined",
        "threads",
        "runtime_version",
    ):
        if len(values := {getattr(log, field) for log in logs}) > 1:
            shown = " and ".join(sorted(map(str, values)))
            raise ImportLogError(
                f"The sessions of {name} differ in {field} ({shown}); import those of one setting together."
            )
    latencies_ms = [log.latency_ms for log in logs if log.latency_ms is not None]
    if len(latencies_ms) < len(logs):
        raise ImportLogError(f"A session of {name} states no latency; leave it out.")
    return dataclasses.replace(
        logs[0],
        count=sum(log.count or 0 for log in logs),
        mean_ms=float(np.mean([log.mean_ms for log in logs if log.mean_ms is not None])),
        median_ms=float(np.median(latencies_ms)),
        percentiles_ms={},
        min_ms=min((log.min_ms for log in logs if log.min_ms is not None), default=None),
        max_ms=max((log.max_ms for log in logs if log.max_ms is not None), default=None),
        std_ms=None,
        label=None,
        sessions_ms=tuple(latencies_ms),
    )


def half_width_ms(sessions_ms: Sequence[float]) -> float:
    """Half the 95 % interval of the median of two sessions or more, by Student's t."""
    count = len(sessions_ms)
    return float(t_95(count - 1) * MEDIAN_ERROR * np.std(sessions_ms, ddof=1) / math.sqrt(count))


def spread(logs: Iterable[ImportedLog]) -> tuple[int, float] | None:
    """The fewest sessions of a model, and the median over models of their standard deviation over their mean.

    None where a model has one session alone.
    """
    every = [log.sessions_ms for log in logs]
    if not every or min(map(len, every)) < 2:
        return None
    return min(map(len, every)), float(np.median([np.std(one, ddof=1) / np.mean(one) for one in every]))


def _same(first: ImportedLog, second: ImportedLog) -> bool:
    fields = ("count", "mean_ms", "median_ms", "min_ms", "max_ms", "std_ms")
    return all(getattr(first, field) == getattr(second, field) for field in fields)
