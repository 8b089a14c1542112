"""The log in a text that people paste: between fences of Markdown, or after sentences and commands.

Most importers look for their tool's lines and do not mind others. Formats that begin with their first line, as JSON and
tables in columns do, are looked for in the parts of a text.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from profilers.importers.log import Log

_FENCE = re.compile(r"\s{0,12}(`{3,}|~{3,})\s*[\w.+-]{0,20}\s*")


def parts(log: Log) -> Iterator[Log]:
    """Every part of a text that may be a log by itself: between fences."""
    start: int | None = None
    mark = ""
    for at, line in enumerate(log.lines):
        match = _FENCE.fullmatch(line)
        if match and start is None:
            start, mark = at + 1, match[1]
        elif match and start is not None and match[1].startswith(mark):
            yield _part(log, start, at, ended=True)
            start = None
        elif start is not None and line.endswith(mark):
            # Behind a last line without its end.
            yield _part(log, start, at, ended=True, last=line.removesuffix(mark))
            start = None
    if start is not None:
        # A paste that was cut has no closing fence.
        yield _part(log, start, len(log.lines), ended=log.ended)


def inner_parts(log: Log) -> Iterator[Log]:
    """The JSON in a text, and the text without the lines before its first table."""
    begins = next((at for at, line in enumerate(log.lines) if line.lstrip()[:1] in ("{", "[")), None)
    if begins is not None:
        ends = [at for at, line in enumerate(log.lines) if line.rstrip()[-1:] in ("}", "]") and at >= begins]
        end = ends[-1] + 1 if ends else len(log.lines)
        yield _part(log, begins, end, ended=True)
    for at, line in enumerate(log.lines[:200]):
        if line.strip():
            if at:
                yield _part(log, at, len(log.lines), ended=log.ended)
            break


def _part(log: Log, start: int, end: int, *, ended: bool, last: str | None = None) -> Log:
    lines = [*log.lines[start:end], *([] if last is None else [last])]
    while lines and not lines[-1].strip():
        lines.pop()
    data = "\n".join(lines).encode(errors="replace")
    return dataclasses.replace(log, data=data, lines=tuple(lines), ended=ended, offset=log.offset + start)
