"""The `count=` lines of benchmark_model's run loop, which both programs of that name share. Microseconds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from profilers.importers._imported import disagree
from profilers.importers._log import Log

_COUNT = re.compile(r"count=\d{1,12}\b.*")
_FULL = ("first", "curr", "min", "max", "avg", "std")
_NEW = ("p5", "median", "p95")


@dataclass(frozen=True)
class CountLine:
    """A `count=` line, in microseconds; `avg` is the one value where all are the same."""

    line: int
    count: int
    values: dict[str, float]

    @property
    def avg(self) -> float:
        return self.values.get("avg", self.values["curr"])

    @property
    def first(self) -> float:
        return self.values.get("first", self.values["curr"])


def is_count_line(text: str) -> bool:
    """Whether this is one, whole or not."""
    return _COUNT.fullmatch(text) is not None


def read_count_line(log: Log, at: int, text: str) -> CountLine:
    """Read one; raises `ImportLogError` where it lacks values or contradicts itself."""
    same = text.endswith("(all same)")
    values: dict[str, float] = {}
    for token in text.removesuffix("(all same)").split():
        key, _, value = token.partition("=")
        if key in values or key not in ("count", *_FULL, *_NEW):
            raise log.refuse(at, f"{token[:40]!r} does not belong in a 'count=' line", "give the log as written")
        whole = key in ("count", "first", "curr", "min", "max")
        values[key] = log.whole(at, value, key) if whole else log.number(at, value, key)
    count = int(values.pop("count", 0))
    wanted = [("curr",)] if same or count == 1 else [_FULL, (*_FULL, *_NEW)]
    if count < 1 or set(values) not in [set(keys) for keys in wanted]:
        raise log.refuse(at, "this 'count=' line lacks values or times nothing", "give the log as the tool wrote it")
    if "avg" in values and not values["min"] * (1 - 1e-5) <= values["avg"] <= values["max"] * (1 + 1e-5):
        raise disagree(log, at, "avg and min to max", values["avg"], f"{values['min']} to {values['max']}")
    return CountLine(at, count, values)
