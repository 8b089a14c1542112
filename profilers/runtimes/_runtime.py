"""`Runtime` and `Session`: what a runtime must do to be profiled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Timing:
    """One timing of some runs in a row, per run; `cpu_ms` is the time the calling thread really had a core."""

    wall_ms: float
    cpu_ms: float


class Session(Protocol):
    """A loaded model with its inputs bound: nothing but the run itself is left to do."""

    def run(self, times: int = 1) -> None: ...

    def output(self) -> Array:
        """Output of the last run."""
        ...


class Runtime(Protocol):
    """A runtime on this machine, at one precision.

    Attributes:
        name: such as "onnxruntime".
        version: of the library that is installed.
        precision: of the weights.
        compute_precision: numbers that products are computed in; None where they are those of the weights.
        delegate: accelerator, None for the plain CPU path.
        delegated_share: operators that run on the delegate over all operators, of all sessions loaded so far together;
            None where that is not known, or there is no delegate.
        model_suffix: of the files that it loads, such as ".onnx".
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def compute_precision(self) -> str | None: ...

    @property
    def delegate(self) -> str | None: ...

    @property
    def delegated_share(self) -> float | None: ...

    @property
    def model_suffix(self) -> str: ...

    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> Session:
        """Load a model for running; raises `KitError` where the runtime refuses it."""
        ...


def time_runs(session: Session, times: int) -> Timing:
    """Time runs in a row. The processor time tells a run that was interrupted from one that was slow."""
    cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
    session.run(times)
    wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
    return Timing(wall_ms=wall / times / 1e6, cpu_ms=cpu / times / 1e6)
