"""The text that QNN's qnn-profile-viewer prints of a run of qnn-net-run: sections of times in whole microseconds.

The program is not public; sections and labels are from reports. `Execute Stats` come as `Average`, in newer versions as
`Min` and `Max` too, and once as `Overall`, with inferences per second, which must be there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field

from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.log import Log

# Rules of hyphens stand below titles; pages that show a log may join them to the next line.
_RULE = re.compile(r"-{3,}\s*")
_TITLE = re.compile(r"([A-Z][\w /-]{1,60} Stats)(?: \((\w{1,20}(?: \d{1,9})?)\))?:")
_GRAPH = re.compile(r"Graph (\d{1,6}) \((.{1,200})\):")
_VALUE = re.compile(r"(NetRun|Backend \(.{1,200}\)): +(\d{1,18}) (us|count|cycles|bytes)")
_IPS = re.compile(r"NetRun IPS(?: \(.{1,60}\))?: +(\S{1,30})(?: inf/sec)?")
_LIKE = re.compile(r"NetRun|Backend \(|Execute Stats|Graph \d")
# Each contains the next.
_NESTED = (
    "NetRun",
    "Backend (QNN (execute) time)",
    "Backend (RPC (execute) time)",
    "Backend (QNN accelerator (execute) time)",
    "Backend (Accelerator (execute) time)",
    "Backend (Accelerator (execute excluding wait) time)",
)
_STATISTICS = ("Average", "Min", "Max")


@dataclass
class _Graph:
    """The values of one graph in one section, and where they stand."""

    name: str
    lineno: int
    values: dict[str, tuple[int, str, int]] = field(default_factory=dict)


def claims(log: Log) -> bool:
    """Whether it has a section of the tool, or its values, whole or not."""
    texts = [_RULE.sub("", line.strip(), count=1) for line in log.lines]
    titles = any((match := _TITLE.fullmatch(text)) and match[1] == "Execute Stats" for text in texts)
    return titles or any(_VALUE.fullmatch(text) and text.startswith("Backend (") for text in texts)


def read(log: Log) -> tuple[ImportedLog, ...]:
    """One measurement for each graph; raises `ImportLogError` where it is cut or contradicts itself."""
    sections, ips = _sections(log)
    if "Average" not in sections or not sections["Average"]:
        raise log.cut("the section 'Execute Stats (Average):'", "give all that qnn-profile-viewer printed")
    if ips is None:
        raise log.cut("the line 'NetRun IPS'", "give all that qnn-profile-viewer printed")
    average = sections["Average"]
    for name in _STATISTICS[1:]:
        if name in sections and _shape(sections[name]) != _shape(average):
            raise log.refuse(
                None, f"the sections Average and {name} do not hold the same lines", "give all that the tool printed"
            )
    made = []
    for number, graph in average.items():
        _check(log, graph, ips if len(average) == 1 else None)
        extremes = [sections[name][number] for name in _STATISTICS[1:] if name in sections]
        for extreme in extremes:
            _check(log, extreme, None)
        accelerated = any(name in graph.values for name in _NESTED[3:])
        ms = {name: sections[name][number].values["NetRun"][0] / 1000 for name in _STATISTICS if name in sections}
        one = ImportedLog(
            "qnn-viewer",
            "qnn-profile-viewer",
            mean_ms=ms["Average"],
            min_ms=ms.get("Min"),
            max_ms=ms.get("Max"),
            delegate="htp" if accelerated else None,
            confirmed=True,
            warnings=_notes(graph),
            label=graph.name if len(average) > 1 else None,
        )
        made.append(check_log(log, one, line=graph.lineno, step_ms=0.001))
    return tuple(made)


def _sections(log: Log) -> tuple[dict[str, dict[int, _Graph]], tuple[int, float] | None]:
    """The graphs of each `Execute Stats`, and inferences per second with their line."""
    found: dict[str, dict[int, _Graph]] = {}
    ips: tuple[int, float] | None = None
    section: str | None = None
    graph: _Graph | None = None
    for lineno, line in enumerate(log.lines, 1):
        text = _RULE.sub("", line.strip(), count=1).strip()
        if match := _TITLE.fullmatch(text):
            section, graph = (match[2] or "") if match[1] == "Execute Stats" else None, None
            if section is not None and section in found:
                raise log.refuse(lineno, f"a second {text[:60]!r}", "give one log per file")
            if section is not None:
                found[section] = {}
        elif match := _GRAPH.fullmatch(text):
            if section is not None:
                if int(match[1]) in found[section]:
                    raise log.refuse(lineno, f"a second {text[:60]!r}", "give one log per file")
                graph = found[section][int(match[1])] = _Graph(match[2], lineno)
        elif match := _IPS.fullmatch(text):
            if ips is not None:
                raise log.refuse(lineno, "a second 'NetRun IPS'", "give one log per file")
            ips = lineno, log.number(lineno, match[1], "NetRun IPS")
        elif match := _VALUE.fullmatch(text):
            if graph is not None:
                if match[1] in graph.values:
                    raise log.refuse(lineno, f"a second {match[1][:60]!r}", "give one log per file")
                graph.values[match[1]] = int(match[2]), match[3], lineno
            elif section in _STATISTICS:
                raise log.refuse(lineno, "a time of no graph", "give all that qnn-profile-viewer printed")
        elif _LIKE.match(text):
            raise log.refuse(lineno, f"{text[:60]!r} is cut or changed", "give the log as the tool wrote it")
    return found, ips


def _shape(graphs: dict[int, _Graph]) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(number, graph.name, tuple(sorted(graph.values))) for number, graph in graphs.items()]


def _check(log: Log, graph: _Graph, ips: tuple[int, float] | None) -> None:
    """Raise `ImportLogError` where a graph's times are missing, in another unit, or not within each other."""
    if "NetRun" not in graph.values:
        raise log.refuse(graph.lineno, "this graph has no line 'NetRun'", "give all that qnn-profile-viewer printed")
    times = [(name, *graph.values[name]) for name in _NESTED if name in graph.values]
    for name, value, unit, lineno in times:
        if unit != "us" or value == 0:
            raise log.refuse(lineno, f"{name} is {value} {unit}", "give the log as the tool wrote it")
    for (outer, longer, _, _), (inner, shorter, _, lineno) in zip(times, times[1:], strict=False):
        if shorter > longer:
            raise contradiction(log, lineno, f"{outer}, which contains {inner}", f"{longer} us", f"{shorter} us")
    # It counts the time between inferences too.
    if ips is not None and ips[1] * times[0][1] > 1.02e6:
        raise contradiction(log, ips[0], "NetRun IPS and NetRun", f"{ips[1]:g} inf/sec", f"{times[0][1]} us")


def _notes(graph: _Graph) -> tuple[str, ...]:
    name = _NESTED[4]
    inner = [f"the accelerator itself took {graph.values[name][0] / 1000:g} ms of it"] if name in graph.values else []
    return ("times are what qnn-net-run waited for the graph", *inner)
