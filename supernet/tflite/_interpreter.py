"""The interpreters that run .tflite files: LiteRT and its predecessor tflite-runtime, which share an interface."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from subdit.core.errors import MissingExtraError
from supernet.tflite._silence import silence_libraries

# A model without operators, which every working runtime can open.
_EMPTY_MODEL = bytes.fromhex(
    "1800000054464c3300000e00140010000c000800000004000e000000100000001c00000050000000"
    "030000000100000008000000040004000400000001000000100000000c00140010000c0008000400"
    "0c000000100000001000000010000000100000000000000000000000000000000000000000000000"
)


@dataclass(frozen=True)
class Library:
    """A runtime's name in messages, the module of its interpreter, and its package."""

    title: str
    module: str
    package: str

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module.partition(".")[0]) is not None

    @property
    def version(self) -> str:
        return metadata.version(self.package)


LIBRARIES = {
    "litert": Library("LiteRT", "ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite": Library("tflite-runtime", "tflite_runtime.interpreter", "tflite-runtime"),
}
"""Libraries by the name of the runtime, which is also the name of the extra."""


@functools.cache
def interpreter_class(name: str) -> Any:
    """The class `Interpreter` of a library that is installed and runs; raises `MissingExtraError` otherwise."""
    library = LIBRARIES[name]
    remedy = f"pip install 'subdit[{name}]'"
    if not library.installed:
        where = " on Linux with Python 3.11" if name == "tflite" else ""
        raise MissingExtraError(f"{library.title} is not installed; install it with {remedy}{where}.")
    try:
        with silence_libraries():
            interpreter = importlib.import_module(library.module).Interpreter
            # A tflite-runtime built for numpy 1 can be imported beside numpy 2, and fails only here.
            interpreter(model_content=_EMPTY_MODEL)
    except (ImportError, SystemError, AttributeError, RuntimeError, ValueError) as error:
        raise MissingExtraError(
            f"{library.title} is installed but does not run beside numpy {np.__version__}; install it with {remedy}."
        ) from error
    return interpreter


def any_library() -> str:
    """The name of the first library that runs, LiteRT before tflite-runtime; raises `MissingExtraError` without any."""
    refusals = []
    for name, library in LIBRARIES.items():
        try:
            interpreter_class(name)
        except MissingExtraError as error:
            if library.installed:
                refusals.append(error)
        else:
            return name
    if refusals:
        raise refusals[0]
    raise MissingExtraError(
        "A .tflite file needs LiteRT or tflite-runtime, and neither is installed; install one with pip install "
        "'subdit[litert]' or pip install 'subdit[tflite]'."
    )
