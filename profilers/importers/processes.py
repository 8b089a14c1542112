"""Whose lines of a logcat are the tool's: every process of a phone writes to it, over the whole of a session.

A program announces itself with `STARTING!`. Where no process did, as in a log that begins later, it is told by the
words of its output. Of several runs those are left out that timed nothing and say so: a dry run, which some tools make
first so that caches are filled, and a run that failed before another that did not.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

_START = re.compile(r"(?:INFO: )?STARTING!\s*")
_TIMED = re.compile(
    r"\bcount=[1-9]|(?:Average inference|Inference) timings in \w|Inference \(avg\): .*\([1-9]\d{0,11} runs\)"
)
_IDLE = re.compile(r"\bcount=0\b|No inference runs were performed|Benchmarking failed|Fatal signal \d")
# What logd writes in place of lines that it left out, in the name of the process that had written them.
_CHATTY = re.compile(r"uid=\d{1,9}(?:\([^()]{1,40}\))? .{0,80}\b(?:identical|expire) \d{1,9} lines?\s*")


@dataclass(frozen=True)
class Line:
    """A line without its prefixes; `source` is the process that wrote it, or its tag, where logcat says so."""

    text: str
    source: str | None = None


def of_the_tool(lines: Sequence[Line], words: re.Pattern[str]) -> list[Line]:
    """The same number of lines; those of other processes are empty.

    Args:
        lines: without their prefixes.
        words: what begins a line of a tool's output.
    """
    wanted = _wanted(lines, words)
    return [
        one if one.source is None or (one.source in wanted and not _CHATTY.fullmatch(one.text)) else Line("")
        for one in lines
    ]


def _wanted(lines: Sequence[Line], words: re.Pattern[str]) -> set[str]:
    """The processes whose lines are a tool's; all of them where no line has its words."""
    by_source: defaultdict[str, list[str]] = defaultdict(list)
    for one in lines:
        if one.source is not None:
            by_source[one.source].append(one.text)
    started = {source for source, texts in by_source.items() if any(map(_START.fullmatch, texts))}
    speaking = {source for source, texts in by_source.items() if any(map(words.match, texts))}
    # A program has one process, and may log under several tags.
    processes = {source for source in started if source.isdigit()}
    if not processes:
        return speaking or set(by_source)
    timed = {source for source in processes if any(map(_TIMED.search, by_source[source]))}
    idle = {source for source in processes - timed if any(map(_IDLE.search, by_source[source]))}
    return processes - idle if timed else processes
