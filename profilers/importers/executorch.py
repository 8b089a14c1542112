"""ExecuTorch: the Inspector's TSV, and the JSON of the minibench apps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import precision_word
from profilers.importers.log import Log
from profilers.importers.log import json_number
from profilers.importers.log import parse_json
from profilers.importers.ran_where import count_partitions

_STATISTICS = ("p10", "p50", "p90", "avg", "min", "max")
_WHOLE = "Method::execute"
_LATENCY = "avg_inference_latency"
_CALL = "DELEGATE_CALL"


@dataclass(frozen=True)
class _Row:
    """An operator of the method, or of a delegate, or a call of a delegate."""

    name: str
    type: str
    ms: float
    delegated: bool
    backend: str

    @property
    def on_delegate(self) -> bool:
        return self.delegated or self.name == _CALL


def claims_tsv(log: Log) -> bool:
    """Whether it begins with the Inspector's headings."""
    return bool(log.lines) and "event_block_name\t" in log.lines[0] and "event_name\t" in log.lines[0]


def claims_json(log: Log) -> bool:
    """Whether it is, or began as, minibench's JSON."""
    return log.text[:4000].lstrip().startswith("[") and '"benchmarkModel"' in log.text[:4000]


def read_tsv(log: Log) -> tuple[ImportedLog, ...]:
    """The whole method and its operators; raises `ImportLogError` where it is cut or contradicts itself."""
    columns = log.lines[0].split("\t")
    if "raw" not in columns:
        raise log.refuse(1, "the headings are not those of Inspector.save_data_to_tsv", "save it again")
    if not log.ended:
        raise log.refuse(log.last, "the last line has no end and may be cut", "end it with a line break if it is whole")
    rows = [(lineno, line.split("\t")) for lineno, line in enumerate(log.lines[1:], 2)]
    return read_events(log, "executorch-inspector", (1, columns), rows)


def read_events(
    log: Log, format_name: str, head: tuple[int, list[str]], lines: list[tuple[int, list[str]]]
) -> tuple[ImportedLog, ...]:
    """The events of an Inspector, by its headings and the cells of each row with their lines."""
    columns = head[1]
    if len(set(columns)) != len(columns):
        raise log.refuse(head[0], "a heading stands twice", "save it again")
    for name in _STATISTICS:
        if f"{name} (ms)" not in columns:
            other = next((column for column in columns if column.startswith(f"{name} (")), None)
            if other is None:
                raise log.refuse(head[0], f"there is no column '{name} (ms)'", "give all columns of the table")
            what = f"'{other[:40]}' is not in milliseconds"
            raise log.refuse(head[0], what, "save it with target_time_scale=TimeScale.MS")
    whole: tuple[int, dict[str, float], list[float]] | None = None
    rows: list[_Row] = []
    for at, (lineno, cells) in enumerate(lines):
        if len(cells) != len(columns):
            raise log.refuse(lineno, f"{len(cells)} cells under {len(columns)} headings", "give the whole file")
        if cells == columns:
            raise log.refuse(lineno, "a second line of headings", "give one file per run")
        values = dict(zip(columns, cells, strict=True))
        if log.whole(lineno, values.get("", ""), "the row's index") != at:
            raise log.refuse(lineno, f"the row's index is {values['']}, not {at}", "give the file as it was saved")
        raw, times = _row_times(log, lineno, values)
        name = values.get("event_name", "")
        if whole is not None and values.get("event_block_name", "") == "Execute":
            raise log.refuse(lineno, f"a row after {_WHOLE}", "save one method's run")
        if name == _WHOLE:
            whole = (lineno, times, raw)
        elif name != "OPERATOR_CALL" and not name.startswith(("Method::", "Program::")):
            rows.append(_row(log, lineno, values, times["avg"]))
    if whole is None:
        raise log.cut(f"the row {_WHOLE!r}", "give the whole file")
    lineno, times, raw = whole
    ran = _ran(columns, rows)
    counted = any(row.delegated for row in rows)
    calls_ms = sum(row.ms for row in rows if row.name == _CALL)
    if counted:
        # A delegate's call spans its operators.
        rows = [row for row in rows if row.name != _CALL]
    on_delegate = sum(row.on_delegate for row in rows)
    # A delegate that does not profile itself shows no operator but its calls.
    known = counted or on_delegate in (0, len(rows))
    total = sum(row.ms for row in rows)
    if total > _longest_ms(times["avg"], rows):
        _refuse_ticks(log, lineno, times["avg"], rows, calls_ms)
        raise contradiction(log, lineno, f"{_WHOLE} and its operators", f"{times['avg']:g} ms", f"{total:g} ms in sum")
    made = ImportedLog(
        format_name,
        "ExecuTorch Inspector",
        count=len(raw) or None,
        mean_ms=times["avg"],
        median_ms=times["p50"],
        percentiles_ms={"p10": times["p10"], "p90": times["p90"]},
        min_ms=times["min"],
        max_ms=times["max"],
        operators=tuple(
            OperatorRow(row.name, row.type, row.ms, row.ms / total if total else None, 1, node)
            for node, row in enumerate(rows)
        ),
        delegate=ran,
        warnings=(UNCONFIRMED,),
        delegated_share=on_delegate / len(rows) if on_delegate and known else None,
        graph_operators=len(rows) if counted or not on_delegate else None,
        partly_delegated=True if 0 < on_delegate < len(rows) else None,
        partitions=count_partitions([row.on_delegate for row in rows]) if on_delegate else None,
    )
    return (check_log(log, made, line=lineno, step_ms=1e-9),)


def read_json(log: Log) -> tuple[ImportedLog, ...]:
    """The latency of each model; raises `ImportLogError` where it is not whole."""
    values = parse_json(log)
    if not isinstance(values, list):
        raise log.refuse(None, "it is no list of metrics", "give the file as minibench wrote it")
    models: dict[str, dict[str, Any]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for value in values:
        model = value.get("benchmarkModel") if isinstance(value, dict) else None
        metric = value.get("metric") if isinstance(value, dict) else None
        if not isinstance(model, dict) or not isinstance(metric, str) or not isinstance(model.get("name"), str):
            raise log.refuse(None, "an entry lacks benchmarkModel, its name or metric", "give the file as written")
        if not isinstance(value.get("deviceInfo"), dict) or "actualValue" not in value:
            raise log.refuse(
                None, f"the metric {metric[:40]!r} lacks deviceInfo or actualValue", "give the file as written"
            )
        name = json.dumps(model, sort_keys=True)
        facts[name] = model
        if metric in models.setdefault(name, {}):
            raise log.refuse(None, f"the metric {metric[:40]!r} is given twice", "give one result per file")
        status = metric == "load_status" and type(value["actualValue"]) in (int, float)
        models[name][metric] = value["actualValue"] if status else json_number(log, value, "actualValue")
    made = []
    for name, metrics in models.items():
        # The app writes a latency beside it, of calls that did nothing.
        if status := metrics.get("load_status", 0.0):
            raise log.refuse(
                None,
                f"the model {facts[name]['name'][:80]} was not loaded (load_status {status:g}), so it has no latency",
                "mend that and run it again",
            )
        if f"{_LATENCY}(ms)" not in metrics:
            raise log.refuse(None, f"there is no metric '{_LATENCY}(ms)'", "give the file as minibench wrote it")
        backend, quantization = (facts[name].get(key) for key in ("backend", "quantization"))
        one = ImportedLog(
            "executorch-minibench",
            "ExecuTorch minibench",
            model_file=facts[name]["name"],
            mean_ms=metrics[f"{_LATENCY}(ms)"],
            # The app reads it from the model's name, which need not have one.
            delegate={"portable": CPU}.get(backend, backend) if isinstance(backend, str) and backend else None,
            warnings=(UNCONFIRMED,),
            label=facts[name]["name"] if len(models) > 1 else None,
            precision=precision_word(quantization) if isinstance(quantization, str) else None,
        )
        made.append(check_log(log, one))
    if not made:
        raise log.cut("a metric", "give the whole file")
    return tuple(made)


def _longest_ms(whole_ms: float, rows: list[_Row]) -> float:
    """What all operators may take together."""
    return whole_ms * 1.02 + 1e-3 * len(rows)


def _refuse_ticks(log: Log, lineno: int, whole_ms: float, rows: list[_Row], calls_ms: float) -> None:
    """A delegate's times may come in a unit of its own, under a heading of milliseconds.

    XNNPACK's are in the clock's (executorch issue 4504), Qualcomm's in cycles (pull request 2227).
    """
    plain = sum(row.ms for row in rows if not row.delegated)
    delegated = sum(row.ms for row in rows if row.delegated)
    if not delegated or plain > _longest_ms(whole_ms, rows):
        return
    unit = "another unit, such as cycles"
    # Its calls take what its operators take, and a little more.
    for factor, name in ((1e6, "nanoseconds"), (1e3, "microseconds")):
        if 0.3 * calls_ms <= delegated / factor <= 1.02 * (calls_ms or whole_ms):
            unit = name
    if any(row.backend.lower().startswith("qnn") for row in rows):
        unit = "cycles"
    raise log.refuse(
        lineno,
        f"the delegate's operators take {delegated:g} in sum under a heading of ms, and {_WHOLE} {whole_ms:g} ms: they "
        f"are in {unit}",
        "save it with an Inspector that is given a delegate_time_scale_converter, or build without the delegate's own "
        "profiling",
    )


def _row(log: Log, lineno: int, values: dict[str, str], ms: float) -> _Row:
    delegated = values.get("is_delegated_op", "False")
    if delegated not in ("True", "False"):
        raise log.refuse(lineno, f"is_delegated_op is {delegated[:20]!r}", "give the file as it was saved")
    backend = values.get("delegate_backend_name", "").strip()
    row = _Row(values["event_name"], values.get("op_types", ""), ms, delegated == "True", backend)
    if backend and not (row.on_delegate and re.fullmatch(r"[A-Za-z]\w{0,60}", backend)):
        raise log.refuse(lineno, f"delegate_backend_name is {backend[:40]!r}", "give the file as it was saved")
    return row


def _ran(columns: list[str], rows: list[_Row]) -> str | None:
    """The backends; portable kernels are the plain path, for XNNPACK is a backend that a model may lack."""
    if any(row.on_delegate for row in rows):
        return "+".join(sorted({row.backend.lower().removesuffix("backend") for row in rows} - {""})) or "delegated"
    return CPU if rows and "is_delegated_op" in columns else None


def _row_times(log: Log, lineno: int, values: dict[str, str]) -> tuple[list[float], dict[str, float]]:
    """The raw times, none where a table has none, and their statistics, which the row states too."""
    times = {name: log.number(lineno, values[f"{name} (ms)"], name) for name in _STATISTICS}
    if "raw" not in values:
        _check_order(log, lineno, times)
        return [], times
    text = values["raw"].strip()
    if not (text.startswith("[") and text.endswith("]")):
        raise log.refuse(lineno, "the cell of raw times is cut", "give the whole file")
    raw = [log.number(lineno, part, "a raw time") for part in text[1:-1].split(",")]
    computed = {"avg": float(np.mean(raw)), "min": min(raw), "max": max(raw)}
    computed |= {name: float(np.percentile(raw, int(name[1:]))) for name in ("p10", "p50", "p90")}
    for name, value in computed.items():
        if abs(value - times[name]) > 1e-5 * value + 1e-9:
            for factor, unit in ((1e6, "nanoseconds"), (1e3, "microseconds")):
                if abs(value - factor * times[name]) <= 1e-5 * value:
                    raise log.refuse(lineno, f"the raw times are in {unit} and {name} in ms", "save both in one scale")
            raise contradiction(
                log, lineno, f"{name} of {values.get('event_name', '')[:40]} and raw", times[name], value
            )
    return raw, times


def _check_order(log: Log, lineno: int, times: dict[str, float]) -> None:
    """Raise `ImportLogError` where the statistics of a row cannot be of the same times."""
    for low, high in (("min", "p10"), ("p10", "p50"), ("p50", "p90"), ("p90", "max"), ("min", "avg"), ("avg", "max")):
        if times[low] > times[high] * (1 + 1e-5):
            raise contradiction(log, lineno, f"{low} and {high}", f"{times[low]:g} ms", f"{times[high]:g} ms")
