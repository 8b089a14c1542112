"""Qualcomm AI Hub: a profile job's JSON (microseconds, bytes) and AI Hub Models' perf.yaml (milliseconds, MB)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import precision_word
from profilers.importers.imported_log import run_statistics
from profilers.importers.log import Log
from profilers.importers.log import json_number
from profilers.importers.log import parse_json
from profilers.importers.log import required
from profilers.importers.ran_where import count_partitions
from subdit.core.errors import ImportLogError

MAX_YAML_BYTES = 2**19
"""Reading YAML is slow; the published files have some 50 kB."""

NO_DEVICE = "device, system and runtime are not in this file: they are in the job"
"""A warning of every profile that is read alone."""

_UNITS = ("CPU", "GPU", "NPU", "UNSPECIFIED")
_TIMES = ("all_compile_times", "all_first_load_times", "all_warm_load_times")
_AS_WRITTEN = "give the file as AI Hub wrote it"


def claims_json(log: Log) -> bool:
    """Whether it is, or began as, the dictionary of `download_profile`."""
    text = log.text
    return text.lstrip()[:1] == "{" and ('"execution_summary"' in text or '"execution_detail"' in text)


def claims_yaml(log: Log) -> bool:
    """Whether it is, or began as, a perf.yaml."""
    return any(line in ("precisions:", "supported_devices:", "supported_chipsets:") for line in log.lines)


def read_json(log: Log) -> tuple[ImportedLog, ...]:
    """The profile; raises `ImportLogError` where it is not whole."""
    values = parse_json(log)
    if not isinstance(values, dict) or not {"execution_summary", "execution_detail"} <= set(values):
        raise log.refuse(None, "execution_summary or execution_detail is missing", _AS_WRITTEN)
    summary, detail = values["execution_summary"], values["execution_detail"]
    if not isinstance(summary, dict) or not isinstance(detail, list):
        raise log.refuse(None, "execution_summary or execution_detail has another form", _AS_WRITTEN)
    # A metric that is missing is null in this file, never 0; the keys of older ones may not be there at all.
    estimated = json_number(log, summary, "estimated_inference_time")
    peak = json_number(log, summary, "estimated_inference_peak_memory", optional=True)
    samples = summary.get("all_inference_times")
    if samples is None and any(summary.get(key) is not None for key in _TIMES):
        raise log.refuse(None, "all_inference_times is missing, and its siblings are there", _AS_WRITTEN)
    if samples is not None and not (isinstance(samples, list) and samples):
        raise log.refuse(None, "all_inference_times is no list of times", _AS_WRITTEN)
    ms = np.asarray([required(log, json_number(log, {"": one}, ""), "a time") for one in samples or ()]) / 1000
    operators = tuple(_layers(log, detail))
    units = [layer["compute_unit"] for layer in detail]
    warnings = [UNCONFIRMED, NO_DEVICE]
    if operators:
        warnings.append("the times of layers do not add up to the inference time: layers are fused")
    share = _share({unit: units.count(unit) for unit in _UNITS})
    made = ImportedLog(
        "aihub-json",
        "Qualcomm AI Hub",
        **run_statistics(ms),
        operators=operators,
        peak_memory_bytes=int(peak) if peak is not None else None,
        delegate=_unit(set(units)),
        warnings=tuple(warnings),
        estimated_ms=None if estimated is None else estimated / 1000,
        delegated_share=share,
        partitions=None if share is None else count_partitions([unit in ("GPU", "NPU") for unit in units]),
        graph_operators=len(units) or None,
    )
    return (check_log(log, made),)


def read_yaml(log: Log) -> tuple[ImportedLog, ...]:
    """Every measurement of the file; raises `ImportLogError` where it is not whole."""
    values = _parse_yaml(log)
    if not log.ended or not isinstance(values, dict) or not isinstance(values.get("precisions"), dict):
        raise log.cut("its measurements", "give the whole file")
    return tuple(_measurements(log, values["precisions"]))


def _layers(log: Log, detail: list[Any]) -> Iterator[OperatorRow]:
    layers: list[tuple[str, str, float | None]] = []
    for layer in detail:
        if not isinstance(layer, dict) or not all(isinstance(layer.get(key), str) for key in ("name", "type")):
            raise log.refuse(None, "a layer lacks its name or type", _AS_WRITTEN)
        if layer.get("compute_unit") not in _UNITS:
            raise log.refuse(None, f"the layer {layer['name'][:60]!r} has no known compute unit", _AS_WRITTEN)
        if "execution_time" not in layer and "execution_cycles" not in layer:
            raise log.refuse(None, f"the layer {layer['name'][:60]!r} has neither time nor cycles", _AS_WRITTEN)
        time = json_number(log, layer, "execution_time") if "execution_time" in layer else None
        layers.append(
            (layer["name"], f"{layer['type']}@{layer['compute_unit']}", None if time is None else time / 1000)
        )
    # A share of what is known in part would say nothing.
    known = [ms for _, _, ms in layers if ms is not None]
    total = sum(known) if len(known) == len(layers) else 0.0
    for node, (name, kind, ms) in enumerate(layers):
        yield OperatorRow(name, kind, ms, ms / total if ms is not None and total else None, 1, node)


def _unit(units: set[str]) -> str | None:
    accelerators = sorted(units & {"GPU", "NPU"})
    return "+".join(accelerators).lower() or (CPU if units == {"CPU"} else None)


def _share(layers: dict[str, int]) -> float | None:
    """Of the layers by unit, those on accelerators; None where there is none, or the unit of a layer is not known."""
    if layers.get("UNSPECIFIED") or _unit({unit for unit, count in layers.items() if count}) in (None, CPU):
        return None
    return 1 - layers.get("CPU", 0) / sum(layers.values())


def _measurements(log: Log, precisions: dict[Any, Any]) -> Iterator[ImportedLog]:
    found = False
    names: dict[str, set[str]] = {"device": set(), "runtime": set()}
    for precision, components in precisions.items():
        for component, content in _entries(log, _get(log, components, "components")):
            for device, runtimes in _entries(log, _get(log, content, "performance_metrics")):
                for runtime, metrics in _entries(log, runtimes):
                    names["device"].add(device)
                    names["runtime"].add(runtime)
                    if moved := names["device"] & names["runtime"]:
                        what = f"{sorted(moved)[0][:40]!r} is a device in one place and a runtime in another"
                        raise log.refuse(None, what, _AS_WRITTEN)
                    if isinstance(metrics, dict) and metrics.get("job_status") == "Failed":
                        continue
                    found = True
                    label = f"{precision}/{component}/{device}/{runtime}"
                    made = _measurement(log, label, component, metrics)
                    yield dataclasses.replace(made, precision=precision_word(str(precision)))
    if not found:
        raise log.cut("a measurement", "give the whole file")


def _measurement(log: Log, label: str, component: str, metrics: Any) -> ImportedLog:
    wanted = ("inference_time_milliseconds", "estimated_peak_memory_range_mb", "primary_compute_unit", "layer_counts")
    status, _, memory, unit, layers = (_get(log, metrics, key, label) for key in ("job_status", *wanted))
    if status != "Passed":
        raise log.refuse(None, f"{label} has the status {str(status)[:40]!r}", "give jobs that passed")
    low, peak = (_scalar(log, memory, key, label) for key in ("min", "max"))
    if low > peak:
        raise contradiction(log, None, f"memory of {label}", f"min {low:g} MB", f"max {peak:g} MB")
    counts = {key: _scalar(log, layers, key, label) for key, _ in _entries(log, layers)}
    total = counts.pop("total", None)
    if total is None or sum(counts.values()) != total or set(counts) - {"npu", "gpu", "cpu"}:
        raise contradiction(log, None, f"layers of {label}", f"total {total}", f"{sum(counts.values()):g} in units")
    if not isinstance(unit, str) or not counts.get(unit.lower()):
        raise contradiction(log, None, f"compute unit of {label}", unit, "no layers on it")
    placed = {key.upper(): int(count) for key, count in counts.items() if count}
    made = ImportedLog(
        "aihub-perf-yaml",
        "Qualcomm AI Hub Models",
        model_file=component,
        peak_memory_bytes=round(peak * 2**20),
        delegate=_unit(set(placed)),
        warnings=(UNCONFIRMED,),
        label=label,
        estimated_ms=_scalar(log, metrics, wanted[0], label),
        delegated_share=_share(placed),
        graph_operators=int(total),
    )
    return check_log(log, made)


def _entries(log: Log, values: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(values, dict) or not values:
        raise log.refuse(None, "a part of the file is empty or has another form", "give the whole file")
    for key, value in values.items():
        yield str(key), value


def _get(log: Log, values: Any, key: str, where: str = "the file") -> Any:
    if not isinstance(values, dict) or values.get(key) is None:
        raise log.refuse(None, f"{where} lacks {key!r}", "give the whole file")
    return values[key]


def _scalar(log: Log, values: Any, key: str, where: str) -> float:
    value = _get(log, values, key, where)
    if not isinstance(value, str):
        raise log.refuse(None, f"{key} of {where} is no number", "give the file as published")
    return log.number(None, value, f"{key} of {where}")


def _parse_yaml(log: Log) -> Any:
    import yaml  # type: ignore[import-untyped]

    class Loader(yaml.BaseLoader):
        """All scalars are texts; no aliases, which can blow a file up, and no keys given twice."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise log.refuse(None, "it has aliases, which a perf.yaml does not", "give the file as published")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [str(getattr(key, "value", "")) for key, _ in node.value]
            if len(set(keys)) != len(keys):
                raise log.refuse(node.start_mark.line + 1, "a key is given twice", "give the file as published")
            return super().construct_mapping(node, deep)

    if len(log.data) > MAX_YAML_BYTES:
        raise log.refuse(None, f"it is larger than {MAX_YAML_BYTES:,} bytes", "give the perf.yaml of one model")
    try:
        return yaml.load(log.text, Loader)  # noqa: S506
    except ImportLogError:
        raise
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise log.refuse(line, f"this is not whole YAML ({error.problem})", "give the file as published") from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise log.refuse(
            None, f"this is not whole YAML ({type(error).__name__})", "give the file as published"
        ) from None
