"""The `count=` lines of benchmark_model's run loop, which both programs of that name share. Microseconds.

`Stat` and `StatWithPercentiles` of tsl/util/stats_calculator.h write them through a C++ stream: times are whole
numbers, means have six digits, so that 1401403 is 1.4014e+06. Newer programs add percentiles to every form of the line:

    count=0
    count=1 curr=X
    count=N curr=X(all same)
    count=N first=X curr=X min=X max=X avg=X std=X
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from profilers.importers.imported_log import contradiction
from profilers.importers.log import Log

_COUNT = re.compile(r"count=\d{1,12}\b.*")
_ALL_SAME = re.compile(r" ?\(all same\)(?= |$)")
_FULL = ("first", "curr", "min", "max", "avg", "std")
_NEW = ("p5", "median", "p95")


@dataclass(frozen=True)
class CountLine:
    """A `count=` line, in microseconds; `values` is empty where nothing was timed.

    Attributes:
        avg: the mean; the one value where all are the same.
        printed_avg: the mean in the six digits that the tool's summary gives it.
    """

    line: int
    count: int
    values: dict[str, float]

    @property
    def avg(self) -> float:
        return self.values.get("avg", self.values.get("curr", 0.0))

    @property
    def printed_avg(self) -> float:
        return float(f"{self.avg:.6g}")

    @property
    def first(self) -> float:
        return self.values.get("first", self.values.get("curr", 0.0))


def is_count_line(text: str) -> bool:
    """Whether this is one, whole or not."""
    return _COUNT.fullmatch(text) is not None


def read_count_line(log: Log, lineno: int, text: str) -> CountLine:
    """Read one; raises `ImportLogError` where it lacks values or contradicts itself."""
    plain, same = _ALL_SAME.subn("", text, count=1)
    values: dict[str, float] = {}
    for token in plain.split():
        key, _, value = token.partition("=")
        if key in values or key not in ("count", *_FULL, *_NEW):
            raise log.refuse(lineno, f"{token[:40]!r} does not belong in a 'count=' line", "give the log as written")
        values[key] = log.number(lineno, value, key) if key in ("avg", "std") else log.whole(lineno, value, key)
    count = int(values.pop("count", 0))
    form = () if count == 0 else ("curr",) if same or count == 1 else _FULL
    if bool(same) != (same and count > 1) or set(values) not in (set(form), {*form, *_NEW}):
        raise log.refuse(lineno, "this 'count=' line lacks values", "give the log as the tool wrote it")
    percentiles = [values[key] for key in _NEW if key in values]
    if form != _FULL and (other := set(percentiles) - {values.get("curr", 0.0)}):
        raise contradiction(log, lineno, "the one time and its percentiles", values.get("curr", 0), other.pop())
    if "avg" in values and not values["min"] * (1 - 1e-5) <= values["avg"] <= values["max"] * (1 + 1e-5):
        raise contradiction(log, lineno, "avg and min to max", values["avg"], f"{values['min']} to {values['max']}")
    return CountLine(lineno, count, values if count else {})
