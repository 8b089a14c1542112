"""Protocol buffers that TensorFlow Lite's and LiteRT's tools write, read without either.

`BenchmarkProfilingData` (tflite/profiling/proto/profiling_info.proto): operators, in whole microseconds.
`BenchmarkResult` (tflite/tools/benchmark/proto/benchmark_result.proto): statistics, in milliseconds.
"""

from __future__ import annotations

import struct
from typing import Any

from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log

MAX_PROTO_BYTES = 4 * 2**20
"""A profile has some hundred bytes per operator."""

Schema = dict[int, tuple[str, Any]]

# Field number to name and type: a schema for a message, in a list where it is repeated.
_STAT: Schema = {1: ("first", "int"), 2: ("last", "int"), 3: ("avg", "int"), 4: ("stddev", "float")}
_STAT |= {5: ("variance", "float"), 6: ("min", "int"), 7: ("max", "int"), 8: ("sum", "int"), 9: ("count", "int")}
_OP: Schema = {1: ("node_type", "str"), 2: ("time", _STAT), 3: ("mem_kb", _STAT), 4: ("times_called", "int")}
_OP |= {5: ("name", "str"), 6: ("run_order", "int")}
_SUBGRAPH: Schema = {1: ("name", "str"), 2: ("index", "int"), 3: ("ops", [_OP])}
_DELEGATE: Schema = {1: ("name", "str"), 2: ("ops", [_OP])}
_MODEL: Schema = {1: ("subgraphs", [_SUBGRAPH]), 2: ("delegates", [_DELEGATE])}
_PROFILE: Schema = {1: ("model_name", "str"), 2: ("init", _MODEL), 3: ("runtime", _MODEL)}
_LATENCY_NAMES = ("avg", "min", "max", "stddev", "median", "p5", "p95", "init", "first_inference", "average_warm_up")
_LATENCY: Schema = {number: (name, "float") for number, name in enumerate(_LATENCY_NAMES, 1)}
_MEMORY: Schema = {1: ("init_kb", "int"), 2: ("overall_kb", "int"), 3: ("peak_mb", "float")}
_MISC: Schema = {1: ("size_mb", "float"), 2: ("num_runs", "int"), 3: ("num_warmup_runs", "int"), 4: ("mb_s", "float")}
_RESULT: Schema = {1: ("name", "str"), 2: ("latency", _LATENCY), 3: ("memory", _MEMORY), 4: ("misc", _MISC)}


class _WireError(Exception):
    """Bytes that are no message of the schema."""


def claims_profile(log: Log) -> bool:
    """Whether the bytes are, or begin as, an operator profile."""
    return _begins(log.data, _PROFILE, ("subgraphs", "ops"))


def claims_result(log: Log) -> bool:
    """Whether the bytes are, or begin as, a benchmark's result."""
    return _begins(log.data, _RESULT, ("latency", "avg"))


def read_profile(log: Log) -> tuple[ImportedLog, ...]:
    """Operators of the primary graph's runs; raises `ImportLogError` where the file is cut or damaged."""
    data = _decode(log, _PROFILE)
    if "runtime" not in data:
        raise log.refuse(None, "it has no profile of the runs", "give the whole file")
    graphs = data["runtime"].get("subgraphs", [])
    primary = [graph for graph in graphs if graph.get("index", 0) == 0]
    if len(primary) != 1:
        raise log.refuse(None, f"it has {len(primary)} primary graphs", "give the file as the tool wrote it")
    ops = primary[0].get("ops", [])
    times = []
    for op in ops:
        if not {"node_type", "time", "name"} <= set(op) or not {"avg", "count", "min", "max"} <= set(op["time"]):
            raise log.refuse(None, "an operator lacks its name or times", "give the file as the tool wrote it")
        stat, calls = op["time"], max(1, op.get("times_called", 1))
        if not 0 <= stat["min"] <= stat["avg"] <= stat["max"] or not 0 < calls <= 10**9:
            raise contradiction(log, None, op["name"][:60], f"avg {stat['avg']}", f"{stat['min']} to {stat['max']}")
        if "sum" in stat and abs(stat["sum"] - stat["avg"] * stat["count"]) > stat["count"]:
            raise contradiction(
                log, None, op["name"][:60], f"sum {stat['sum']}", f"{stat['count']} times {stat['avg']}"
            )
        times.append(stat["avg"] * calls / 1000)
    if not ops:
        raise log.refuse(None, "it has no operators", "run with --enable_op_profiling=true")
    total = sum(times)
    rows = tuple(
        OperatorRow(
            op["name"],
            op["node_type"],
            ms,
            ms / total if total else None,
            max(1, op.get("times_called", 1)),
            op.get("run_order"),
        )
        for op, ms in zip(ops, times, strict=True)
    )
    warnings = [UNCONFIRMED]
    if data["runtime"].get("delegates"):
        warnings.append("the delegate's own table left out: its time is in the operator rows already")
    name = file_name(data["model_name"]) if data.get("model_name") else None
    made = ImportedLog(
        "tflite-proto",
        "TensorFlow Lite benchmark_model",
        model_file=name,
        operators=rows,
        warnings=tuple(warnings),
    )
    return (check_log(log, made),)


def read_result(log: Log) -> tuple[ImportedLog, ...]:
    """Statistics; raises `ImportLogError` where the file is cut or damaged."""
    data = _decode(log, _RESULT)
    # `misc` is written last: without it the file was cut.
    if not {"name", "latency", "memory", "misc"} <= set(data):
        raise log.refuse(None, "a part of the result is missing", "give the whole file")
    latency, misc = data["latency"], data["misc"]
    if not {"avg", "min", "max", "stddev"} <= set(latency) or "num_runs" not in misc:
        raise log.refuse(None, "avg, min, max, stddev or num_runs is missing", "give the file as the tool wrote it")
    peak = data["memory"].get("peak_mb", 0.0)
    if not 0 <= peak < 1e9:
        raise log.refuse(None, f"the peak memory is {peak} MB", "give the file as the tool wrote it")
    made = ImportedLog(
        "tflite-result",
        "benchmark_model --result_file_path",
        model_file=file_name(data["name"]) or None,
        count=misc["num_runs"],
        mean_ms=latency["avg"],
        median_ms=latency.get("median"),
        percentiles_ms={key: latency[key] for key in ("p5", "p95") if key in latency},
        min_ms=latency["min"],
        max_ms=latency["max"],
        std_ms=latency["stddev"],
        peak_memory_bytes=round(peak * 2**20) if peak > 0 else None,
        warnings=(UNCONFIRMED,),
    )
    return (check_log(log, made, step_ms=1e-5),)


def _begins(data: bytes, schema: Schema, path: tuple[str, str]) -> bool:
    """Whether the bytes are of this schema as far as they go, and reach a field that only it has."""
    found: set[str] = set()
    if not data.startswith(b"\x0a") or len(data) > MAX_PROTO_BYTES:
        return False
    try:
        _message(data, schema, found)
    except _WireError:
        pass
    return set(path) <= found


def _decode(log: Log, schema: Schema) -> dict[str, Any]:
    try:
        return _message(log.data, schema, set())
    except _WireError as error:
        raise log.refuse(
            None, f"this is not a whole message ({error})", "give the whole file, copied as binary"
        ) from None


def _message(data: bytes, schema: Schema, found: set[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    offset = 0
    while offset < len(data):
        start = offset
        key, offset = _varint(data, offset)
        if key >> 3 not in schema:
            raise _WireError(f"unknown field {key >> 3} at byte {start}")
        name, kind = schema[key >> 3]
        wire = {"int": 0, "float": 5}.get(kind, 2) if isinstance(kind, str) else 2
        if key & 7 != wire:
            raise _WireError(f"field {name!r} at byte {start} has another type")
        found.add(name)
        value: Any
        if wire == 0:
            value, offset = _varint(data, offset)
        elif wire == 5:
            if offset + 4 > len(data):
                raise _WireError("it ends within a number")
            (value,), offset = struct.unpack_from("<f", data, offset), offset + 4
        else:
            size, offset = _varint(data, offset)
            part = data[offset : offset + size]
            offset += size
            value = _part(part, kind, found)
            if len(part) < size:
                raise _WireError(f"it ends within {name!r}")
        if isinstance(kind, list):
            values.setdefault(name, []).append(value)
        elif name in values:
            raise _WireError(f"field {name!r} is given twice")
        else:
            values[name] = value
    return values


def _part(part: bytes, kind: Any, found: set[str]) -> Any:
    if kind == "str":
        try:
            return part.decode("utf-8")
        except UnicodeDecodeError:
            raise _WireError("a name is no text") from None
    return _message(part, kind[0] if isinstance(kind, list) else kind, found)


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if offset >= len(data):
            raise _WireError("it ends within a number")
        value |= (data[offset] & 0x7F) << shift
        offset += 1
        if data[offset - 1] < 0x80:
            return (value - 2**64 if value >= 2**63 else value), offset
    raise _WireError(f"a number at byte {offset} is too long")
