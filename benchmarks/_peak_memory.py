"""What a model adds to a process of its own: run by `memory.py`, imports a runtime and nothing else.

    python benchmarks/_peak_memory.py {onnxruntime,litert} MODEL INPUTS.npz

Prints "ready" once the runtime is imported, waits for a line, loads the model, runs it twice on one thread and prints
what the kernel counted. Twice, since a picture takes several steps, and ONNX Runtime plans its memory by the first run.
Linux only: the peak is VmHWM, which a 5 written to clear_refs sets back to what is resident.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def resident() -> dict[str, int]:
    """Bytes that are resident: anonymous, of files, and the most that both were together since the peak was set."""
    names = {"VmHWM:": "peak", "RssAnon:": "anonymous", "RssFile:": "file"}
    with open("/proc/self/status") as status:
        lines = [line.split() for line in status]
    return {names[words[0]]: 1024 * int(words[1]) for words in lines if words and words[0] in names}


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def onnx_runtime(model: str, inputs: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1

    def load() -> Any:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    return load, lambda session: session.run(None, dict(np.load(inputs)))


def litert(model: str, inputs: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    from ai_edge_litert.interpreter import Interpreter

    def load() -> Any:
        interpreter = Interpreter(model_path=model, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

    def run(interpreter: Any) -> Any:
        drawn = dict(np.load(inputs))
        for entry in interpreter.get_input_details():
            interpreter.set_tensor(entry["index"], drawn[entry["name"]])
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return load, run


def main() -> None:
    runtime, model, inputs = sys.argv[1:]
    load, run = {"onnxruntime": onnx_runtime, "litert": litert}[runtime](model, inputs)
    print("ready", flush=True)
    sys.stdin.readline()
    before = resident()
    stood = before["anonymous"] + before["file"]
    peaks, seconds = {}, {}

    def watched(name: str, work: Callable[[], Any]) -> Any:
        forget_peak()
        began = time.perf_counter()
        result = work()
        seconds[f"{name}_s"] = round(time.perf_counter() - began, 3)
        peaks[f"{name}_peak_bytes"] = resident()["peak"] - stood
        return result

    loaded = watched("load", load)
    watched("first_run", lambda: run(loaded))
    output = watched("second_run", lambda: run(loaded))
    after = resident()
    found = {
        **peaks,
        "anonymous_bytes": after["anonymous"] - before["anonymous"],
        "file_bytes": after["file"] - before["file"],
        "runtime_bytes": stood,
        **seconds,
        "output_is_finite": bool(np.isfinite(output).all()),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
