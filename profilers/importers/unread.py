"""Files that no importer reads and that can be named: other tools' reports, models, pictures, pages.

Who gives one learns what it is, and what to give in its place. Each is known by words that its tool writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from profilers.importers.log import Log

_LOOKED_AT = 2**18
_INSPECTOR = "read the ETDump with ExecuTorch's Inspector and give what save_data_to_tsv writes"
_TERMINAL = "give what the tool printed, as text"


@dataclass(frozen=True)
class Unread:
    """A kind of file.

    Attributes:
        what: it is, for "this is ...".
        instead: what to do.
        words: of its text, found at the beginning of a line where they begin with ^.
        head: its first bytes.
        head_at: where those stand.
        marker: bytes that stand somewhere in it.
    """

    what: str
    instead: str
    words: str | None = None
    head: tuple[bytes, ...] = ()
    head_at: int = 0
    marker: bytes | None = None

    def fits(self, log: Log) -> bool:
        """Whether the file is of this kind."""
        if self.head:
            return log.data[self.head_at :].startswith(self.head)
        if self.marker is not None:
            return self.marker in log.data[:_LOOKED_AT]
        text = "\n".join(log.lines) if log.lines else log.data[:_LOOKED_AT].decode(errors="replace")
        return self.words is not None and re.search(self.words, text[:_LOOKED_AT], re.MULTILINE) is not None


# fmt: off
UNREAD = (
    # Reports of other tools.
    Unread("the table that Qualcomm AI Hub's scripts print",
           'save the profile with `job.download_profile("profile.json")` and give that file',
           r"^ *Performance results on-device for |^ *Estimated inference time \(ms\) *:"),
    Unread("output of ExecuTorch's executor_runner (it times no single run)",
           f"run it with --etdump_path, {_INSPECTOR}",
           r"executor_runner\.cpp:\d+\]|^Model executed successfully \d+ time\(s\) in "),
    Unread("a report of SNPE's snpe-diagview",
           "profile the model with Qualcomm AI Hub or ONNX Runtime's QNN execution provider and give that",
           r"^ *Average SNPE Statistics:|^ *Dnn Runtime Load/Deserialize/Create/De-Init Statistics:"),
    Unread("a layer profile of TensorRT's trtexec",
           "measure on the device itself with ONNX Runtime or LiteRT",
           r'^\[\s*\{ *"count" *: *\d+ *\}\s*,\s*\{ *"name" *: *"[^"\n]*" *, *"timeMs"'),
    Unread("output of TensorRT's trtexec",
           "measure on the device itself with ONNX Runtime or LiteRT",
           r"&&&& (?:RUNNING|PASSED|FAILED) TensorRT\.trtexec|\[I\] === (?:Performance summary|Profile) "),
    Unread("output of OpenVINO's benchmark_app", "measure with ONNX Runtime or LiteRT and give that tool's output",
           r"^\[Step 1/1\d\] Parsing and validating input arguments"),
    Unread("a table of PyTorch's profiler",
           "measure the exported model with ONNX Runtime, LiteRT or ExecuTorch and give that tool's output",
           r"\bSelf CPU %\s+Self CPU\b"),
    Unread("output of llama.cpp",
           "measure the model's components with a tool that runs a kit (`subdit kit --help`)",
           r"^ *(?:llama_print_timings|llama_perf_context_print): |^\| *model *\| *size *\| *params *\| *backend *\|"),
    Unread("output of stable-diffusion.cpp (it times whole steps of its own models)",
           "measure the kit's own models",
           r"\bsampling completed, taking \d"),
    Unread("a table of MACE's benchmark", "measure with a tool that runs a kit (`subdit kit --help`)",
           r"^model_name +device_name +soc +abi +runtime +init +warmup +run_avg"),
    Unread("a report of MediaTek's Neuron profiler (its form is not public)",
           "measure with TensorFlow Lite or ONNX Runtime and give that tool's output",
           r"\bTotal Execution Time: .{1,40} over \d+ times inference"),
    Unread("output of TensorFlow Mobile's benchmark", "run TensorFlow Lite's benchmark_model",
           r"\bstat_summarizer\.cc:\d+\]"),
    Unread("a piece of an ONNX Runtime profile", "give the whole file, from its first bracket to its last",
           r'\A(?:(?!\[)[^\n]*\n){0,40}\{"cat" ?: ?"(?:Session|Node|Kernel|Api)", ?"pid" ?:'),
    Unread("an NVIDIA Nsight Systems database", "export the tool's own benchmark as text",
           head=(b"SQLite format 3\0",)),
    Unread("a Perfetto or Chrome trace (it marks no inference)",
           "give the benchmark's own output, or the profile that ONNX Runtime's enable_profiling writes",
           r'\A\s*\{(?:.{0,2000}?[,{\s])?"traceEvents"\s*:'),
    Unread("a recorded Perfetto trace (it marks no inference)",
           "give the benchmark's own output, or the profile that ONNX Runtime's enable_profiling writes",
           # `synchronization_marker` of trace_packet.proto, which the service writes at the beginning and again.
           marker=bytes.fromhex("82477a76b28d42ba81dc33326d57a079")),
    Unread("a systrace or Perfetto page", "give the benchmark's own output",
           r"(?i)\A\s*<(?:!doctype html|html)\b[\s\S]{0,4000}(?:systrace|perfetto|trace-viewer)"),
    Unread("an Instruments export of xctrace", "type the numbers of Xcode's report, as the importers' chapter shows",
           r"<trace-query-result>|<trace-toc>"),
    # Files beside a log.
    Unread("an ETDump of ExecuTorch", _INSPECTOR, head=(b"ED00",), head_at=4),
    Unread("a TensorFlow Lite model", "run it with benchmark_model and give what that prints",
           head=(b"TFL3",), head_at=4),
    Unread("an ExecuTorch program", "run it with --etdump_path and give what the Inspector saves of its ETDump",
           head=(b"ET12",), head_at=4),
    Unread("an ncnn model", "run it with benchncnn and give what that prints", r"^7767517$"),
    Unread("a web page", _TERMINAL, r"(?i)\A\s*<(?:!doctype html|html)\b"),
    Unread("a picture", _TERMINAL, head=(b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8")),
    Unread("a PDF", _TERMINAL, head=(b"%PDF-",)),
)
# fmt: on


def name_unread(log: Log) -> Unread | None:
    """What a file is that no importer claims; None where that is not known either."""
    return next((kind for kind in UNREAD if kind.fits(log)), None)
