"""A file that no importer reads is named where its kind is known; none that one reads is taken for such a kind."""

from __future__ import annotations

import pytest

from profilers.importers import make_log
from profilers.importers import read
from profilers.importers.unread import UNREAD
from profilers.importers.unread import name_unread
from subdit.core.errors import ImportLogError
from tests.profilers.importers.mutators import FILES

# Of each kind the words that are its own, in a file as people give it.
SAMPLES = {
    "Qualcomm AI Hub's scripts": "Performance results on-device for Block_A.\n---\n",
    "executor_runner": "I 00:00:00.1543 executorch:executor_runner.cpp:367] Model executed.\n",
    "snpe-diagview": "Average SNPE Statistics:\n----\nTotal Inference Time: 4100 us\n",
    "layer profile of TensorRT's": '[\n  { "count" : 100 }\n, { "name" : "conv", "timeMs" : 28.5 }\n]\n',
    "output of TensorRT's trtexec": "&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec\n",
    "OpenVINO's benchmark_app": "[Step 1/11] Parsing and validating input arguments\n",
    "PyTorch's profiler": "---\n    Name    Self CPU %      Self CPU\n---\naten::mm   1 %  2 us\n",
    "llama.cpp": "llama_perf_context_print:        load time =     120.11 ms\n",
    "stable-diffusion.cpp": "[INFO ] stable-diffusion.cpp:1398 - sampling completed, taking 99.22s\n",
    "MACE's benchmark": "model_name     device_name   soc   abi   runtime   init   warmup   run_avg   tuned\n",
    "MediaTek's Neuron": "Total Execution Time: 12.5 ms over 10 times inference\n",
    "TensorFlow Mobile's": "native : stat_summarizer.cc:85] 50 runs, avg 182.9 ms\n",
    "piece of an ONNX Runtime profile": '{"cat" : "Node","pid" :7838,"tid" :7838,"dur" :1,"ts" :9,"ph" : "X"},\n',
    "Nsight Systems": b"SQLite format 3\0\x10\0",
    "Perfetto or Chrome trace": '{"displayTimeUnit": "ns", "traceEvents": [{"ph": "X", "name": "a", "dur": 1}]}\n',
    "recorded Perfetto trace": bytes.fromhex("0a15a2021082477a76b28d42ba81dc33326d57a0791800"),
    "systrace or Perfetto page": "<!DOCTYPE html>\n<html><head><title>Android System Trace (systrace)</title>\n",
    "xctrace": '<?xml version="1.0"?>\n<trace-query-result>\n',
    "ETDump": b"\x18\0\0\0ED00\0\0",
    "TensorFlow Lite model": b"\x1c\0\0\0TFL3\0\0",
    "ExecuTorch program": b"\x30\0\0\0ET12\0\0",
    "ncnn model": "7767517\n75 83\nInput data 0 1 data\n",
    "web page": "<!doctype html>\n<html><body>1.2 ms</body></html>\n",
    "picture": b"\x89PNG\r\n\x1a\n\0\0",
    "PDF": b"%PDF-1.7\n",
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_file_that_is_not_read_is_named(kind: str) -> None:
    sample = SAMPLES[kind]
    data = sample if isinstance(sample, bytes) else sample.encode()
    with pytest.raises(ImportLogError, match="^x: this is ") as caught:
        read(make_log(data, "x"))
    named, _, rest = str(caught.value).partition(", which subdit does not read; ")
    assert kind in named and rest


def test_every_kind_has_a_sample() -> None:
    assert len(SAMPLES) == len(UNREAD)


@pytest.mark.parametrize("name", FILES)
def test_no_golden_file_is_taken_for_such_a_kind(name: str) -> None:
    assert name_unread(make_log(FILES[name], name)) is None


@pytest.mark.parametrize("text", ["\n" * 200_000 + "x", "{" + " " * 200_000, "[" + "\n" * 200_000, "<html" * 50_000])
def test_long_input_is_looked_at_once(text: str) -> None:
    with pytest.raises(ImportLogError, match="no log of a known format"):
        read(make_log(("x\n" + text + "\n").encode(), "x"))
