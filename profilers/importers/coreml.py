"""Numbers from an Xcode Core ML performance report, typed in or as CSV: Xcode has no documented file format.

    Core ML performance report            or   Core ML performance report
    Model: ffn-w64.mlpackage                   Model,ffn-w64.mlpackage
    Device: iPhone 16 Pro                      Device,iPhone 16 Pro
    OS: iOS 18.1                               OS,iOS 18.1
    Compute units: All                         Compute units,All
    Prediction: 1.23 ms                        Prediction,1.23,ms
    Load: 45.6 ms                              Load,45.6,ms
    End of report                              Operation,conv_1,conv,0.12,ms
                                               End of report

Prediction is the report's median. Operations are apportioned by Core ML from its cost model, not measured.
"""

from __future__ import annotations

import csv

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log

TITLE = "Core ML performance report"
END = "End of report"
_TEXTS = {"Model", "Device", "OS", "Compute units"}
_TIMES = {"Prediction", "Load", "Compilation"}


def claims(log: Log) -> bool:
    """Whether it begins with the title."""
    return bool(log.lines) and log.lines[0].strip() == TITLE


def read(log: Log) -> tuple[ImportedLog, ...]:
    """The numbers; raises `ImportLogError` where a line is unknown, twice there or without its unit."""
    if log.lines[-1].strip() != END:
        raise log.cut(f"the line {END!r}", "add it after the last number")
    texts: dict[str, str] = {}
    times: dict[str, float] = {}
    operations: list[tuple[str, str, float]] = []
    for lineno, line in enumerate(log.lines[1:-1], 2):
        label, separator, rest = line.partition(":")
        if not separator or "," in label:
            cells = _cells(log, lineno, line)
        elif label.strip() in _TIMES:
            cells = [label.strip(), *rest.split()]
        else:
            cells = [label.strip(), rest.strip()]
        if not any(cells):
            continue
        if cells[0] in texts or cells[0] in times:
            raise log.refuse(lineno, f"{cells[0]} is given twice", "give one report per file")
        if cells[0] in _TEXTS and len(cells) == 2 and cells[1]:
            texts[cells[0]] = cells[1]
        elif cells[0] in _TIMES and len(cells) == 3:
            times[cells[0]] = _ms(log, lineno, cells[1], cells[2])
        elif cells[0] == "Operation" and len(cells) == 5:
            operations.append((cells[1], cells[2], _ms(log, lineno, cells[3], cells[4])))
        elif line.strip() == END:
            raise log.refuse(lineno, f"a second report follows {END!r}", "give one report per file")
        else:
            raise log.refuse(
                lineno, f"{line[:60]!r} is not understood", "write it as 'Prediction: 1.23 ms' or with commas"
            )
    if "Prediction" not in times or not {"Model", "Compute units"} <= set(texts):
        raise log.refuse(log.last, "Model, Compute units or Prediction is missing", "add it from the report")
    total = sum(ms for _, _, ms in operations)
    names = [name for name, _, _ in operations]
    if len(set(names)) != len(names):
        raise log.refuse(None, "an operation is given twice", "give each once")
    if operations and abs(total - times["Prediction"]) > 0.05 * times["Prediction"] + 5e-4 * len(operations):
        raise contradiction(
            log, None, "prediction and operations", f"{times['Prediction']:g} ms", f"{total:g} ms in sum"
        )
    rows = [
        OperatorRow(name, kind, ms, ms / total if total else None, 1, None, estimated=True)
        for name, kind, ms in operations
    ]
    made = ImportedLog(
        "coreml-report",
        "Xcode Core ML performance report",
        model_file=file_name(texts["Model"]),
        median_ms=times["Prediction"],
        operators=tuple(rows),
        delegate=ran_by(texts["Compute units"]),
        runtime_version=texts.get("OS"),
        warnings=(UNCONFIRMED, "typed from Xcode's report, which states a median alone"),
    )
    return (check_log(log, made),)


def ran_by(compute_units: str) -> str:
    """The `delegate` that a report's compute units mean."""
    return CPU if compute_units.lower().replace(" ", "") == "cpuonly" else "coreml"


def _cells(log: Log, lineno: int, line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    except csv.Error as error:
        raise log.refuse(lineno, f"this is no line of CSV ({error})", "write it as 'Prediction,1.23,ms'") from None


def _ms(log: Log, lineno: int, text: str, unit: str) -> float:
    if unit != "ms":
        raise log.refuse(
            lineno, f"{unit[:20]!r} is not the unit here", "write milliseconds, as in 'Prediction: 1.23 ms'"
        )
    return log.number(lineno, text, "the time")
