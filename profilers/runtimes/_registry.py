"""The runtimes there are, by name; what each needs is imported when it is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from collections.abc import Mapping

from profilers.runtimes._runtime import Runtime
from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError


def get_runtime(name: str, *, precision: str = "fp32", delegate: str | None = None) -> Runtime:
    """The runtime of that name, see `RUNTIMES`.

    Raises:
        ProfileError: there is no such runtime, or it has no such precision or delegate.
        MissingExtraError: it is not installed.
    """
    if name not in RUNTIMES:
        raise ProfileError(f"There is no runtime {name!r}; there is {', '.join(RUNTIMES)}.")
    return RUNTIMES[name](precision, delegate)


def _onnxruntime(precision: str, delegate: str | None) -> Runtime:
    from profilers.runtimes._onnxruntime import COMPUTED
    from profilers.runtimes._onnxruntime import OnnxRuntime

    _require("onnxruntime", precision, tuple(COMPUTED), delegate)
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingExtraError("ONNX Runtime is not installed; install it with pip install 'subdit[onnx]'.")
    return OnnxRuntime(precision)


def _litert(precision: str, delegate: str | None) -> Runtime:
    from profilers.runtimes._tflite import TfliteRuntime

    return TfliteRuntime("litert", precision, delegate)


def _tflite(precision: str, delegate: str | None) -> Runtime:
    from profilers.runtimes._tflite import TfliteRuntime

    return TfliteRuntime("tflite", precision, delegate)


def _torch(precision: str, delegate: str | None) -> Runtime:
    from profilers.runtimes._torch import TorchRuntime

    _require("torch", precision, ("fp32",), delegate)
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch is not installed; install it with pip install 'subdit[torch]'.")
    return TorchRuntime()


RUNTIMES: Mapping[str, Callable[[str, str | None], Runtime]] = {
    "onnxruntime": _onnxruntime,
    "litert": _litert,
    "tflite": _tflite,
    "torch": _torch,
}
"""Name of a runtime to what makes it from a precision and a delegate."""


def _require(name: str, precision: str, precisions: tuple[str, ...], delegate: str | None) -> None:
    if precision not in precisions:
        raise ProfileError(f"{name} runs no {precision} here; choose {', '.join(precisions)}, or another runtime.")
    if delegate is not None:
        raise ProfileError(f"{name} has no delegate {delegate!r} here; leave it out.")
