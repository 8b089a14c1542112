"""Runs a .tflite file once in LiteRT, to compare what it computes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

from supernet.tflite._graph import Array


def run_tflite(path: Path, inputs: Mapping[str, Array]) -> Array:
    """What LiteRT computes from a file of one output, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    with without_banners():
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    for entry in interpreter.get_input_details():
        interpreter.set_tensor(entry["index"], inputs[entry["name"]])
    interpreter.invoke()
    (output,) = interpreter.get_output_details()
    computed: Array = interpreter.get_tensor(output["index"])
    return computed


@contextlib.contextmanager
def without_banners() -> Iterator[None]:
    """Keep what the libraries print while they load, greetings and errors that they raise as well, off the terminal.

    They print past Python, into the middle of a progress bar.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # Closed, as a daemon's is.
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
