"""The operator tables of TensorFlow Lite's profiler, as text and as CSV (`StatsCalculator` in its source).

A profile is a run-order table, a table of the slowest, a summary by type, and three closing lines. There is one for the
initialisation, which comes first under the same headings, one for the runs, and perhaps some of delegates, which repeat
time that the rows of the runs have already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field

from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import contradiction
from profilers.importers.log import Log

INIT_TITLE = "Profiling Info for Benchmark Initialization"
RUN_TITLE = "Operator-wise Profiling Info for Regular Benchmark Runs"

_COLUMNS = {"node type", "first", "avg ms", "%", "cdf%", "mem kb", "times called", "name"}
_NUMERIC = ("first", "avg ms", "%", "cdf%", "mem kb", "times called")
_BANNER = re.compile(r"={10,60} ([\w ]{1,60}) ={10,60}")
_GRAPH = re.compile(r"(Primary graph|Subgraph) \(.{0,200}\) (profile|summary):")
_OBSERVED = re.compile(r"(\d{1,9}) nodes observed")
_EXECUTED = re.compile(r"Number of nodes executed: (\d{1,9})")
_TIMINGS = re.compile(r"Timings \((\w{1,20})\): (.*)")
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,3})?")


@dataclass(frozen=True)
class _Row:
    line: int
    type: str
    name: str
    numbers: dict[str, float]

    @property
    def calls(self) -> int:
        # Old versions print 0 calls for an operator that ran.
        return max(1, int(self.numbers["times called"]))

    @property
    def ms(self) -> float:
        """Time per inference: the column `avg ms` is per call."""
        return self.numbers["avg ms"] * self.calls


@dataclass
class _Profile:
    """One profile while it is read; `section` is 'init', 'run', 'delegate' or '' where it has no title."""

    section: str
    line: int
    graph: str = ""
    tables: dict[str, list[_Row]] = field(default_factory=dict)
    executed: int | None = None
    observed: int | None = None
    total_ms: float | None = None


def has_tables(log: Log) -> bool:
    """Whether there is a text table."""
    return any("[node type]" in line.lower() for line in log.lines)


def has_csv_tables(log: Log) -> bool:
    """Whether there is a CSV table."""
    return any(line.lower().startswith("node type,") for line in log.lines)


def read_operators(log: Log) -> tuple[tuple[OperatorRow, ...], tuple[str, ...]]:
    """Rows of the profile of the runs, and warnings.

    Raises:
        ImportLogError: no such profile, one cut short, or rows that do not fit together or with their total.
    """
    profiles = _read_profiles(log)
    runs = [profile for profile in profiles if profile.section in ("run", "")]
    if not runs:
        raise log.cut(f"the table under '{RUN_TITLE}:'")
    warnings = []
    if len(runs) > 1:
        if not all(profile.graph for profile in runs) or len({profile.graph for profile in runs}) != len(runs):
            raise log.refuse(
                runs[1].line, "there are two operator tables of runs", "give one log per file, with its section titles"
            )
        runs = [profile for profile in runs if profile.graph.startswith("Primary")]
        if len(runs) != 1:
            raise log.refuse(None, "no primary graph is named", "give the log as the tool wrote it")
        warnings.append("subgraphs left out: their time is in the primary graph's rows")
    inits = [profile for profile in profiles if profile.section == "init" and profile.graph in ("", runs[0].graph)]
    if len(inits) > 1 or (inits and runs[0].section == ""):
        raise log.refuse(runs[0].line, "a section title is missing before a table", "give the log as the tool wrote it")
    if any(profile.section == "delegate" for profile in profiles):
        warnings.append("the delegate's own table left out: its time is in the operator rows already")
    rows = _checked_rows(log, runs[0])
    total = sum(row.ms for row in rows)
    if len(rows) == 1 and "delegate" in rows[0].type.lower():
        warnings.append("a delegate is one row: it hides its operators")
    made = tuple(
        OperatorRow(row.name, row.type, row.ms, row.ms / total if total else None, row.calls, node)
        for node, row in enumerate(rows)
    )
    return made, tuple(warnings)


def _read_profiles(log: Log) -> list[_Profile]:
    profiles: list[_Profile] = []
    section, graph, table = "", "", ""
    columns: list[str] = []
    for lineno, line in enumerate(log.lines, 1):
        text = line.strip()
        if text.startswith((INIT_TITLE, RUN_TITLE)):
            section, graph, table = ("init" if text.startswith(INIT_TITLE) else "run"), "", ""
            profiles.append(_Profile(section, lineno))
        elif text.startswith("Delegate internal"):
            section, table = "delegate", ""
            profiles.append(_Profile(section, lineno, graph))
        elif match := _GRAPH.fullmatch(text):
            table = ""
            if match[2] == "profile":
                graph = text[: -len(" profile:")]
                section = profiles[-1].section if profiles and section == "delegate" else section
                profiles.append(_Profile(section, lineno, graph))
        elif match := _BANNER.fullmatch(text):
            table, columns = match[1].lower(), []
            if not profiles or table in profiles[-1].tables:
                profiles.append(_Profile(section, lineno, graph))
            profiles[-1].tables[table] = []
        elif match := _OBSERVED.fullmatch(text):
            table = ""
            if not profiles or profiles[-1].observed is not None:
                raise log.refuse(lineno, "this closes no table", "give the log as the tool wrote it")
            profiles[-1].observed = int(match[1])
        elif match := _EXECUTED.fullmatch(text):
            table = ""
            if profiles:
                profiles[-1].executed = int(match[1])
        elif match := _TIMINGS.fullmatch(text):
            table = ""
            if profiles:
                profiles[-1].total_ms = _total_ms(log, lineno, match[1], match[2])
        elif text.lower().startswith(("[node type]", "node type,")):
            if not table or columns:
                raise log.refuse(lineno, "a table without its banner", "give the log as the tool wrote it")
            columns = _columns(log, lineno, text, summary=table.startswith("summary"))
        elif not text:
            table = "" if columns else table
        elif table and not table.startswith("summary"):
            if not columns:
                raise log.refuse(lineno, "a table without its headings", "give the log as the tool wrote it")
            profiles[-1].tables[table].append(_row(log, lineno, line, columns))
    return [profile for profile in profiles if profile.tables]


def _columns(log: Log, lineno: int, text: str, *, summary: bool) -> list[str]:
    raw = re.findall(r"\[([^\[\]]{0,40})\]", text) if text.startswith("[") else text.split(",")
    columns = [name.strip().lower().replace("_", " ") for name in raw]
    # Old versions have a column `start`. Columns are bound by these names, never by position.
    if not summary and (len(set(columns)) != len(columns) or set(columns) - {"start"} != _COLUMNS):
        raise log.refuse(
            lineno,
            f"the headings are {', '.join(columns)[:200]!r}, not those of a known table",
            "give the log as written",
        )
    return columns


def _row(log: Log, lineno: int, line: str, columns: list[str]) -> _Row:
    if "[node type]" in columns:
        raise log.refuse(lineno, "headings within a table", "give the log as the tool wrote it")
    numeric = [name for name in columns if name not in ("node type", "name")]
    cells_are_csv = not line.startswith(("\t", " ")) and line.count(", ") >= len(columns) - 1
    if cells_are_csv:
        cells = _csv_cells(line, columns)
    elif line.startswith("\t") and line.count("\t") == len(columns):
        cells = [cell.strip() for cell in line.split("\t")[1:]]
    else:
        cells = _spaced_cells(log, lineno, line, columns)
    values = dict(zip(columns, cells, strict=True))
    numbers = {}
    for name in numeric:
        text = values[name]
        if ("%" in name) != text.endswith("%"):
            raise log.refuse(
                lineno, f"{text[:40]!r} stands in the column {name!r}", "give the log as the tool wrote it"
            )
        numbers[name] = log.number(lineno, text.removesuffix("%"), f"the column {name!r}")
    if numbers["times called"] != int(numbers["times called"]) or numbers["times called"] > 1e9:
        raise log.refuse(lineno, "times called is not a count", "give the log as the tool wrote it")
    if cells_are_csv and "  " in values["name"]:
        raise log.refuse(lineno, "the tabs in a name were turned into blanks", "give the file as the tool wrote it")
    if not values["node type"] or not values["name"]:
        raise log.refuse(lineno, "a row without its type or name", "give the log as the tool wrote it")
    return _Row(lineno, values["node type"], values["name"], numbers)


def _csv_cells(line: str, columns: list[str]) -> list[str]:
    # A name's commas were written as tabs; a type's were left, so what is too much belongs to it.
    cells = line.split(", ")
    first, more = columns.index("node type"), len(cells) - len(columns)
    cells = [*cells[:first], ", ".join(cells[first : first + more + 1]), *cells[first + more + 1 :]]
    return [cell.strip().replace("\t", ",") for cell in cells]


def _spaced_cells(log: Log, lineno: int, line: str, columns: list[str]) -> list[str]:
    """Cells of a row whose tabs a chat program turned into blanks: the one run of numbers that fits parts them."""
    tokens = line.split()
    numeric = columns[1:-1]
    if columns[0] != "node type" or columns[-1] != "name":
        raise log.refuse(lineno, "the columns are not parted by tabs", "give the log as a file, not through a chat")

    def fits(start: int) -> bool:
        return all(
            _NUMBER.fullmatch(token.removesuffix("%")) and token.endswith("%") == ("%" in name)
            for name, token in zip(numeric, tokens[start : start + len(numeric)], strict=True)
        )

    starts = [start for start in range(1, len(tokens) - len(numeric)) if fits(start)]
    if len(starts) != 1:
        raise log.refuse(
            lineno, "this is not a whole row of the operator table", "give the whole log as a file, not through a chat"
        )
    end = starts[0] + len(numeric)
    return [" ".join(tokens[: starts[0]]), *tokens[starts[0] : end], " ".join(tokens[end:])]


def _total_ms(log: Log, lineno: int, unit: str, text: str) -> float:
    if unit != "microseconds":
        raise log.refuse(lineno, f"the timings are in {unit!r}", "give the log as written, in microseconds")
    if found := re.search(r"\bavg=(\S{1,40})", text):
        return log.number(lineno, found[1], "avg") / 1000
    if found := re.search(r"\bcurr=(\d{1,20})", text):
        return log.number(lineno, found[1], "curr") / 1000
    raise log.refuse(lineno, "the timings have no avg", "give the log as the tool wrote it")


def _checked_rows(log: Log, profile: _Profile) -> list[_Row]:
    rows = profile.tables.get("run order", [])
    if not rows:
        raise log.refuse(profile.line, "there is no 'Run Order' table", "give the log as the tool wrote it")
    if profile.observed is None:
        raise log.cut("the line 'N nodes observed' after the operator table")
    for what, number in (("nodes observed", profile.observed), ("nodes executed", profile.executed)):
        if number is not None and number != len(rows):
            raise contradiction(log, profile.line, what, number, f"{len(rows)} rows")
    if profile.total_ms is None:
        raise log.refuse(profile.line, "the table has no line 'Timings (microseconds)'", "give the log as written")
    sum_ms = sum(row.ms for row in rows)
    sum_percent = sum(row.numbers["%"] for row in rows)
    rounding = sum(5.1e-4 * row.calls for row in rows)
    if abs(sum_ms - profile.total_ms) > rounding + 0.01 * profile.total_ms:
        raise contradiction(
            log, profile.line, "time of all operators", f"{profile.total_ms:.6g} ms", f"{sum_ms:.6g} ms in rows"
        )
    cumulated = 0.0
    scale = sum_ms / sum_percent if sum_percent else 0.0
    for row in rows:
        cumulated += row.numbers["%"]
        if abs(row.numbers["cdf%"] - cumulated) > 1.1e-3 * (len(rows) + 1):
            raise contradiction(
                log, row.line, "cumulated share", f"{row.numbers['cdf%']} %", f"{cumulated:.3f} % of the rows"
            )
        slack = 5.1e-4 * row.calls + 6e-4 * scale + 2e-3 * row.ms + rounding * row.numbers["%"] / max(sum_percent, 1e-9)
        if scale and abs(row.numbers["%"] * scale - row.ms) > slack:
            raise contradiction(log, row.line, f"time of {row.name[:60]}", f"{row.numbers['%']} %", f"{row.ms:.6g} ms")
    known = {(row.name, row.type): row for row in rows}
    for row in profile.tables.get("top by computation time", []):
        other = known.get((row.name, row.type))
        if other is None or any(other.numbers[key] != row.numbers[key] for key in ("avg ms", "times called", "first")):
            there = f"{other.numbers['avg ms']} ms" if other else "not there"
            raise contradiction(log, row.line, f"{row.name[:60]} in both tables", f"{row.numbers['avg ms']} ms", there)
    return rows
