"""Which importer reads a file: its content says, and exactly one must claim it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from profilers.importers import ai_hub
from profilers.importers import coreml
from profilers.importers import coreml_table
from profilers.importers import executorch
from profilers.importers import executorch_table
from profilers.importers import litert
from profilers.importers import mnn
from profilers.importers import mnn_profile
from profilers.importers import ncnn
from profilers.importers import ort_perf_test
from profilers.importers import ort_profile
from profilers.importers import qnn_csv
from profilers.importers import qnn_viewer
from profilers.importers import react_native
from profilers.importers import runtime_info
from profilers.importers import tflite
from profilers.importers import tflite_proto
from profilers.importers.ai_hub_session import is_ai_hub_session
from profilers.importers.ai_hub_session import read_ai_hub_session
from profilers.importers.containers import may_hold_logs
from profilers.importers.containers import open_logs
from profilers.importers.imported_log import ImportedLog
from profilers.importers.log import Log
from profilers.importers.pasted import inner_parts
from profilers.importers.pasted import parts
from profilers.importers.session import is_session
from profilers.importers.session import read_session
from profilers.importers.unread import name_unread
from subdit.core.errors import ImportLogError


@dataclass(frozen=True)
class ReadOptions:
    """What a log leaves open.

    Attributes:
        warmup_runs: first runs of an ONNX Runtime or QNN profile, which mark none, to drop.
        runs: how many runs a result file without an end mark must hold.
    """

    warmup_runs: int = 1
    runs: int | None = None


@dataclass(frozen=True)
class Importer:
    """One format of logs.

    Attributes:
        what: what people call it.
        read: takes a log, and those of `ReadOptions` that `options` names.
        runtime: of the profile that its logs make; None where they state no latency of a whole model.
        binary: it sees files that are no text, and the others those that are.
        places_operators: it says where each operator ran, and not what was asked for.
    """

    name: str
    what: str
    claims: Callable[[Log], bool]
    read: Callable[..., tuple[ImportedLog, ...]]
    runtime: str | None = None
    options: tuple[str, ...] = ()
    binary: bool = False
    places_operators: bool = False


# fmt: off
IMPORTERS = (
    Importer("tflite", "TensorFlow Lite benchmark_model output", tflite.claims_output, tflite.read_output, "tflite"),
    Importer("tflite-csv", "its operator profile as CSV", tflite.claims_csv, tflite.read_csv),
    Importer("tflite-proto", "its operator profile as protocol buffer", tflite_proto.claims_profile,
             tflite_proto.read_profile, binary=True),
    Importer("tflite-result", "its --result_file_path", tflite_proto.claims_result,
             tflite_proto.read_result, "tflite", binary=True),
    Importer("litert-result", "LiteRT's --result_file_path", tflite_proto.claims_litert_result,
             tflite_proto.read_litert_result, "litert", binary=True),
    Importer("tflite-runtime-info", "benchmark_model's --model_runtime_info_output_file", runtime_info.claims,
             runtime_info.read, binary=True),
    Importer("litert-text", "LiteRT benchmark output", litert.claims_text, litert.read_text, "litert"),
    Importer("litert-json", "litert-benchmark --result_json", litert.claims_json, litert.read_json, "litert"),
    Importer("onnxruntime-perf-test", "onnxruntime_perf_test output", ort_perf_test.claims_output,
             ort_perf_test.read_output, "onnxruntime"),
    Importer("onnxruntime-perf-csv", "onnxruntime_perf_test result file", ort_perf_test.claims_csv,
             ort_perf_test.read_csv, "onnxruntime", ("runs",)),
    Importer("onnxruntime-profile", "ONNX Runtime profile JSON", ort_profile.claims, ort_profile.read,
             "onnxruntime", ("warmup_runs",), places_operators=True),
    Importer("aihub-json", "Qualcomm AI Hub profile JSON", ai_hub.claims_json, ai_hub.read_json, "aihub",
             places_operators=True),
    Importer("aihub-perf-yaml", "AI Hub Models perf.yaml", ai_hub.claims_yaml, ai_hub.read_yaml, "aihub",
             places_operators=True),
    Importer("coreml-report", "numbers of an Xcode Core ML report", coreml.claims, coreml.read, "coreml"),
    Importer("coreml-table", "a filled table of 'devices template'", coreml_table.claims, coreml_table.read, "coreml"),
    Importer("executorch-inspector", "ExecuTorch Inspector TSV", executorch.claims_tsv, executorch.read_tsv,
             "executorch", places_operators=True),
    Importer("executorch-table", "ExecuTorch Inspector table", executorch_table.claims, executorch_table.read,
             "executorch", places_operators=True),
    Importer("executorch-minibench", "ExecuTorch minibench JSON", executorch.claims_json, executorch.read_json,
             "executorch"),
    Importer("react-native-executorch", "react-native-executorch summary", react_native.claims, react_native.read,
             "executorch"),
    Importer("qnn-csv", "QNN profiling CSV of ONNX Runtime", qnn_csv.claims, qnn_csv.read, "onnxruntime",
             ("runs", "warmup_runs")),
    Importer("qnn-viewer", "qnn-profile-viewer output", qnn_viewer.claims, qnn_viewer.read, "qnn"),
    Importer("ncnn-benchmark", "ncnn benchncnn output", ncnn.claims, ncnn.read, "ncnn"),
    Importer("mnn-benchmark", "MNN benchmark.out output", mnn.claims, mnn.read, "mnn"),
    Importer("mnn-profile", "MNN timeProfile.out output", mnn_profile.claims, mnn_profile.read),
)
# fmt: on
"""Every importer, in the order of the documentation."""

BY_NAME = {importer.name: importer for importer in IMPORTERS}


def read_log(path: Path, options: ReadOptions | None = None) -> tuple[ImportedLog, ...]:
    """Everything that the logs at a path say; raises `ImportLogError` where one is unknown or not whole."""
    return tuple(log for _, log in read_logs(path, options))


def read_logs(path: Path, options: ReadOptions | None = None) -> Iterator[tuple[Path, ImportedLog]]:
    """What each log at a path says, with a path that names it.

    Args:
        path: of a log, packed or not, of an archive or a folder of logs, or of a session's folder.
        options: how to read what logs leave open.

    Raises:
        ImportLogError: a log is unknown, or not whole.
    """
    if is_session(path):
        yield from ((path, log) for log in read_session(path, lambda log: read(log, options)))
        return
    if is_ai_hub_session(path):
        yield from ((path, log) for log in read_ai_hub_session(path))
        return
    if path.is_dir():
        folders = [one for one in sorted(path.iterdir()) if one.is_dir() and may_hold_logs(one)]
        for folder in folders:
            yield from read_logs(folder, options)
        if folders and not any(one.is_file() for one in path.iterdir()):
            return
    for name, log in open_logs(path):
        yield from ((name, one) for one in read(log, options))


def read(log: Log, options: ReadOptions | None = None) -> tuple[ImportedLog, ...]:
    """`read_log` of a log that is open."""
    log, fitting = _find(log)
    if len(fitting) > 1:
        names = " and ".join(importer.what for importer in fitting)
        raise log.refuse(None, f"this may be {names}", "give one log per file, as its tool wrote it")
    if not fitting and (other := name_unread(log)) is not None:
        raise log.refuse(None, f"this is {other.what}, which subdit does not read", other.instead)
    if not fitting and log.bad_line is not None:
        raise log.refuse(log.bad_line, "here are bytes that are no text", "give the file as the tool wrote it")
    if not fitting:
        known = ", ".join(importer.what for importer in IMPORTERS)
        raise log.refuse(1, "this is no log of a known format", f"known are: {known}")
    try:
        given = {name: getattr(options or ReadOptions(), name) for name in fitting[0].options}
        return fitting[0].read(log, **given)
    except RecursionError:
        raise ImportLogError(f"{log.name} is nested too deeply; give the file as the tool wrote it.") from None


def _find(log: Log) -> tuple[Log, list[Importer]]:
    """The log in a text, and who claims it; raises `ImportLogError` where a text fences several logs."""
    fitting = _claiming(log)
    if not log.lines:
        return log, fitting
    fenced = [(part, found) for part in parts(log) if (found := _claiming(part))]
    same = {one.name for _, found in fenced for one in found} == {one.name for one in fitting}
    # One importer may make sense of several fences, as of a run in two pieces.
    if len(fenced) > 1 and not same:
        lines = ", ".join(str(part.offset + 1) for part, _ in fenced)
        raise log.refuse(None, f"there are {len(fenced)} logs, at the lines {lines}", "give one log per file")
    if len(fenced) == 1 and (same or not fitting):
        return fenced[0]
    if fitting:
        return log, fitting
    inner = ((part, found) for part in inner_parts(log) if (found := _claiming(part)))
    return next(inner, (log, fitting))


def _claiming(log: Log) -> list[Importer]:
    """Which importers take it for theirs; a protocol buffer may happen to be text as well."""
    binary = not log.lines
    return [importer for importer in IMPORTERS if (importer.binary or not binary) and importer.claims(log)]
