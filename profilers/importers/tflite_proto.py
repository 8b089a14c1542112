"""Protocol buffers that TensorFlow Lite's and LiteRT's tools write, read without either.

`BenchmarkProfilingData` (tflite/profiling/proto/profiling_info.proto): operators, in whole microseconds.
`BenchmarkResult` (tflite/tools/benchmark/proto/benchmark_result.proto): statistics, in milliseconds.
"""

from __future__ import annotations

from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log
from profilers.importers.wire import Schema
from profilers.importers.wire import begins
from profilers.importers.wire import decode

_STAT: Schema = {1: ("first", "int"), 2: ("last", "int"), 3: ("avg", "int"), 4: ("stddev", "float")}
_STAT |= {5: ("variance", "float"), 6: ("min", "int"), 7: ("max", "int"), 8: ("sum", "int"), 9: ("count", "int")}
OP: Schema = {1: ("node_type", "str"), 2: ("time", _STAT), 3: ("mem_kb", _STAT), 4: ("times_called", "int")}
OP |= {5: ("name", "str"), 6: ("run_order", "int")}
_SUBGRAPH: Schema = {1: ("name", "str"), 2: ("index", "int"), 3: ("ops", [OP])}
_DELEGATE: Schema = {1: ("name", "str"), 2: ("ops", [OP])}
_MODEL: Schema = {1: ("subgraphs", [_SUBGRAPH]), 2: ("delegates", [_DELEGATE])}
_PROFILE: Schema = {1: ("model_name", "str"), 2: ("init", _MODEL), 3: ("runtime", _MODEL)}
_LATENCY_NAMES = ("avg", "min", "max", "stddev", "median", "p5", "p95", "init", "first_inference", "average_warm_up")
_LATENCY: Schema = {number: (name, "float") for number, name in enumerate(_LATENCY_NAMES, 1)}
_MEMORY: Schema = {1: ("init_kb", "int"), 2: ("overall_kb", "int"), 3: ("peak_mb", "float")}
_MISC: Schema = {1: ("size_mb", "float"), 2: ("num_runs", "int"), 3: ("num_warmup_runs", "int"), 4: ("mb_s", "float")}
_MISC |= {5: ("fps", "float")}
_RESULT: Schema = {1: ("name", "str"), 2: ("latency", _LATENCY), 3: ("memory", _MEMORY), 4: ("misc", _MISC)}
_NAME = b"\x0a"


def claims_profile(log: Log) -> bool:
    """Whether the bytes are, or begin as, an operator profile."""
    return begins(log.data, _PROFILE, ("subgraphs", "ops"))


def claims_result(log: Log) -> bool:
    """Whether the bytes are, or begin as, a result of TensorFlow Lite's benchmark, which names it."""
    return log.data[:1] == _NAME and begins(log.data, _RESULT, ("latency", "avg"))


def claims_litert_result(log: Log) -> bool:
    """Whether the bytes are, or begin as, a result of LiteRT's benchmark, which names nothing."""
    return log.data[:1] != _NAME and begins(log.data, _RESULT, ("latency", "avg"))


def read_profile(log: Log) -> tuple[ImportedLog, ...]:
    """Operators of the primary graph's runs; raises `ImportLogError` where the file is cut or damaged."""
    data = decode(log, _PROFILE)
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
    """Statistics of TensorFlow Lite's benchmark; raises `ImportLogError` where the file is cut or damaged."""
    return (_result(log, "tflite-result", "benchmark_model --result_file_path"),)


def read_litert_result(log: Log) -> tuple[ImportedLog, ...]:
    """Statistics of LiteRT's benchmark, which neither names the model nor measures memory on every system."""
    return (_result(log, "litert-result", "LiteRT benchmark_model"),)


def _result(log: Log, name: str, tool: str) -> ImportedLog:
    data = decode(log, _RESULT)
    # `misc` is written last: without it the file was cut.
    if not {"latency", "misc", *(("name", "memory") if name == "tflite-result" else ())} <= set(data):
        raise log.refuse(None, "a part of the result is missing", "give the whole file")
    latency, misc = data["latency"], data["misc"]
    if not {"avg", "min", "max", "stddev"} <= set(latency) or "num_runs" not in misc:
        raise log.refuse(None, "avg, min, max, stddev or num_runs is missing", "give the file as the tool wrote it")
    peak = data.get("memory", {}).get("peak_mb", 0.0)
    if not 0 <= peak < 1e9:
        raise log.refuse(None, f"the peak memory is {peak} MB", "give the file as the tool wrote it")
    made = ImportedLog(
        name,
        tool,
        model_file=file_name(data["name"]) if data.get("name") else None,
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
    return check_log(log, made, step_ms=1e-5)
