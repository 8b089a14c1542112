"""ONNX Runtime's profile: a JSON array of trace events, `ts` and `dur` in microseconds.

Warm-up is not marked, so runs are told apart by their `model_run` events, and the first ones dropped. An event is
written when it ends: what lies within [ts, ts + dur] of a run belongs to it.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import run_statistics
from profilers.importers.log import Log
from profilers.importers.log import parse_json
from profilers.importers.ran_where import count_partitions

EVENT_CAP = 1_000_000
"""The runtime silently records no more events than this."""

_CPU = "CPUExecutionProvider"
_SUFFIX = "_kernel_time"
_CONTROL_FLOW = {"If", "Loop", "Scan"}
_REWRITE = "end the profile with session.end_profiling() and give the whole file"


@dataclass(frozen=True)
class _Event:
    index: int
    name: str
    start_us: int
    dur_us: int
    args: dict[str, Any]

    @property
    def end_us(self) -> int:
        return self.start_us + self.dur_us


def claims(log: Log) -> bool:
    """Whether it is, or began as, such a profile."""
    head = log.text[:4000].lstrip()
    return head.startswith("[") and '"cat"' in head and '"ph"' in head and '"dur"' in head


def read(log: Log, warmup_runs: int) -> tuple[ImportedLog, ...]:
    """Runs after the warm-up, and the mean time of each node in them.

    Raises:
        ImportLogError: cut, of no whole run, or with nodes that do not fit into the runs.
    """
    groups = _events(log)
    runs = sorted(groups["model_run"], key=lambda event: event.start_us)
    executions, nodes = groups["SequentialExecutor::Execute"], groups["Node"]
    if not runs:
        raise log.cut("a 'model_run' event", _REWRITE)
    _check_runs(log, runs, executions)
    by_run = _nodes_by_run(log, runs, nodes, sequential=bool(executions))
    dropped = warmup_runs if len(runs) > warmup_runs else 0
    warnings = [
        f"the first of {len(runs)} runs counted as warm-up" if dropped == 1 else f"{dropped} runs dropped as warm-up"
    ]
    if not dropped and warmup_runs:
        warnings = ["too few runs to drop a warm-up: this includes the first run"]
    if groups["Kernel"]:
        warnings.append("device kernels left out: their time overlaps with that of the nodes")
    ms = np.asarray([run.dur_us for run in runs[dropped:]], dtype=np.float64) / 1000
    operators, providers = _operators(log, by_run[dropped:])
    others = sorted(set(providers) - {_CPU})
    on_cpu = providers.count(_CPU)
    # A provider that compiles makes one node of many, which is named after it: how many, the profile does not say.
    compiled = any(row.name.startswith(name) for row, name in zip(operators, providers, strict=True) if name != _CPU)
    made = ImportedLog(
        "onnxruntime-profile",
        "ONNX Runtime profiler",
        **run_statistics(ms),
        operators=operators,
        delegate="+".join(name.removesuffix("ExecutionProvider").lower() for name in others)
        or (CPU if providers else None),
        confirmed=True,
        warnings=tuple(warnings),
        delegated_share=1 - on_cpu / len(providers) if others and not (compiled and on_cpu) else None,
        graph_operators=len(providers) if providers and not compiled else None,
        partly_delegated=True if others and on_cpu else None,
        partitions=count_partitions([name != _CPU for name in providers]) if others else None,
    )
    return (check_log(log, made),)


def _events(log: Log) -> dict[str, list[_Event]]:
    """Session events by name, nodes as "Node", device kernels as "Kernel"."""
    values = parse_json(log)
    groups: dict[str, list[_Event]] = defaultdict(list)
    if not isinstance(values, list):
        raise log.refuse(None, "it is no array of events", "give the file as ONNX Runtime wrote it")
    if len(values) >= EVENT_CAP:
        raise log.refuse(None, f"it reached the cap of {EVENT_CAP:,} events and lacks later ones", "profile fewer runs")
    for index, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise log.refuse(None, f"event {index} is no object", "give the file as ONNX Runtime wrote it")
        cat, name, args = value.get("cat"), value.get("name"), value.get("args")
        start, dur = value.get("ts"), value.get("dur")
        whole = all(type(number) is int and 0 <= number < 10**15 for number in (start, dur))
        if not isinstance(cat, str) or not isinstance(name, str) or not whole or not isinstance(args, dict):
            raise log.refuse(
                None, f"event {index} lacks cat, name, ts, dur or args", "give the file as ONNX Runtime wrote it"
            )
        if value.get("ph") != "X" or cat not in ("Session", "Node", "Kernel", "Api"):
            raise log.refuse(None, f"event {index} is of an unknown kind", "give the file as ONNX Runtime wrote it")
        event = _Event(index, name, start, dur, args)  # type: ignore[arg-type]
        if cat == "Session":
            groups[name].append(event)
        elif cat == "Kernel" or (cat == "Node" and name.endswith(_SUFFIX)):
            groups[cat].append(event)
        elif cat == "Node" and not name.endswith(("_fence_before", "_fence_after")):
            raise log.refuse(None, f"the node event {name[:60]!r} is of no known kind", "give the file as written")
    return groups


def _check_runs(log: Log, runs: list[_Event], executions: list[_Event]) -> None:
    for run, later in zip(runs, runs[1:], strict=False):
        if later.start_us < run.end_us:
            raise log.refuse(
                None, f"the runs of events {run.index} and {later.index} overlap", "profile one session at a time"
            )
    if executions and len(executions) != len(runs):
        raise contradiction(
            log, None, "runs", f"{len(runs)} model_run", f"{len(executions)} SequentialExecutor::Execute"
        )
    for run, execution in zip(runs, sorted(executions, key=lambda event: event.start_us), strict=False):
        if not (run.start_us <= execution.start_us and execution.end_us <= run.end_us):
            raise contradiction(
                log, None, f"run of event {run.index}", f"{run.dur_us} us", f"{execution.dur_us} us inside it"
            )


def _nodes_by_run(log: Log, runs: list[_Event], nodes: list[_Event], *, sequential: bool) -> list[list[_Event]]:
    """The nodes of each run, without those inside control flow, whose time is in that of the control flow."""
    starts = [run.start_us for run in runs]
    by_run: list[list[_Event]] = [[] for _ in runs]
    for node in nodes:
        run_index = bisect.bisect_right(starts, node.start_us) - 1
        if run_index < 0 or node.end_us > runs[run_index].end_us:
            raise log.refuse(None, f"event {node.index} ({node.name[:60]}) lies in no run", _REWRITE)
        by_run[run_index].append(node)
    for run, inside in zip(runs, by_run, strict=True):
        # Of events that begin together the longest contains the others.
        inside.sort(key=lambda event: (event.start_us, -event.dur_us, event.index))
        kept, covered_us = [], -1
        for node in inside:
            if node.end_us <= covered_us:
                continue
            if node.args.get("op_name") in _CONTROL_FLOW:
                covered_us = node.end_us
            kept.append(node)
        inside[:] = kept
        total = sum(node.dur_us for node in inside)
        if sequential and total > run.dur_us + len(inside):
            raise contradiction(log, None, f"run of event {run.index}", f"{run.dur_us} us", f"{total} us in its nodes")
    shapes = [sorted((node.name, _index(node)) for node in inside) for inside in by_run]
    for run, shape in zip(runs, shapes, strict=True):
        if len(set(shape)) != len(shape):
            name, _ = next(one for one in shape if shape.count(one) > 1)
            bare = name.removesuffix(_SUFFIX)
            raise log.refuse(
                None,
                f"several nodes are called {bare[:60]!r}" if bare else "its nodes have no names and no index",
                "give every node of the model a name of its own and profile it again",
            )
        if shape != shapes[0]:
            raise log.refuse(None, f"the run of event {run.index} has other nodes than the first", _REWRITE)
    return by_run


def _index(node: _Event) -> str:
    """What tells nodes without names apart; versions differ in what they call it."""
    keys = ("node_index", "exec_plan_index", "graph_index")
    return str(next((node.args[key] for key in keys if key in node.args), None))


def _operators(log: Log, by_run: list[list[_Event]]) -> tuple[tuple[OperatorRow, ...], list[str]]:
    """The nodes of a run, and the execution provider of each."""
    times: dict[tuple[str, str], list[int]] = defaultdict(list)
    facts: dict[tuple[str, str], tuple[str, int | None, str]] = {}
    keys = {
        key for inside in by_run for node in inside for key in ("node_index", "exec_plan_index") if key in node.args
    }
    for inside in by_run:
        for node in inside:
            kind, provider = node.args.get("op_name"), node.args.get("provider")
            if not isinstance(kind, str) or not isinstance(provider, str) or not keys <= set(node.args):
                raise log.refuse(
                    None, f"event {node.index} lacks op_name, provider or its index", "give the file as written"
                )
            index = node.args.get("node_index")
            name = node.name.removesuffix(_SUFFIX)
            if index is not None and not (isinstance(index, str) and index.isdecimal() and len(index) < 10):
                raise log.refuse(None, f"node_index of event {node.index} is no index", "give the file as written")
            fact = (kind, int(index) if index is not None else None, provider)
            if (known := facts.setdefault((name, _index(node)), fact)) != fact:
                first, second = (f"{one[0]} on {one[2]}" for one in (known, fact))
                raise contradiction(log, None, f"operator of {name[:60]}", first, second)
            times[name, _index(node)].append(node.dur_us)
    means = {key: float(np.mean(values)) / 1000 for key, values in times.items()}
    total = sum(means.values())
    rows = [
        OperatorRow(key[0], facts[key][0], ms, ms / total if total else None, 1, facts[key][1])
        for key, ms in means.items()
    ]
    return tuple(rows), [facts[key][2] for key in means]
