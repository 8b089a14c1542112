"""`measure_models`: latencies of exported models, each until its own interval is narrow."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profilers._reference_files import write_reference
from profilers._reference_kernel import reference_inputs
from profilers._rounds import REFERENCE
from profilers._rounds import Timings
from profilers._rounds import measure_rounds
from profilers._statistics import corrected_ms
from profilers._statistics import latency_of
from profilers._statistics import noise_of
from profilers._statistics import within
from profilers.runtimes import Runtime
from profilers.runtimes import Session
from profilers.runtimes import get_runtime
from subdit.core.errors import KitError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

_MIN_ROUNDS = 20


@dataclass(frozen=True)
class Measurement:
    """Latency of an exported model in milliseconds with its 95 % interval.

    Attributes:
        rounds: interleaved timings behind it.
        spread: interquartile range of those timings over the latency.
        split: disagreement of the two halves of the timings, half the difference over the latency.
        reference_ms: latency of the reference kernel meanwhile; over the profile's it says how much slower the machine
            was than when the profile was measured.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    spread: float
    split: float
    reference_ms: float

    @property
    def relative_ci(self) -> float:
        """Half the width of the interval over the latency."""
        return (self.high_ms - self.low_ms) / (2 * self.latency_ms)


def measure_models(
    paths: Mapping[str, Path],
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    budget_s: float = 60.0,
    relative_ci: float = 0.015,
    inputs: Mapping[str, Mapping[str, npt.NDArray[Any]]] | None = None,
    progress: ProgressCallback = no_progress,
) -> dict[str, Measurement]:
    """Measure models in interleaved rounds with a reference kernel, until each interval is within +-`relative_ci`.

    Args:
        paths: ONNX files by name.
        runtime: which runtime runs them.
        threads: threads that it may use.
        budget_s: seconds after which it stops all the same.
        relative_ci: half the 95 % interval over the latency.
        inputs: per model its inputs by name; where they are not given, drawn for the shapes in the file.
        progress: reports seconds of the budget.

    Raises:
        KitError: a file that the runtime cannot load, or whose inputs have no fixed shape.
    """
    if not paths:
        return {}
    chosen = get_runtime(runtime)
    given = inputs or {}
    sessions = {
        name: chosen.load(path, given[name] if name in given else read_static_inputs(path), threads=threads)
        for name, path in paths.items()
    }
    with reference_session(chosen) as reference:
        timings = measure_rounds(
            sessions,
            reference,
            is_enough=within(list(paths), relative_ci),
            budget_s=budget_s,
            min_rounds=_MIN_ROUNDS,
            progress=progress,
        )
    return measurements_of(timings, list(paths))


def measurements_of(timings: Timings, names: Sequence[str]) -> dict[str, Measurement]:
    """What raw timings say of some of the models that were timed, by name."""
    found = corrected_ms(timings)
    reference_ms = latency_of(found[REFERENCE]).latency_ms
    measured: dict[str, Measurement] = {}
    for name in names:
        latency = latency_of(found[name])
        low, high = np.quantile(found[name], [0.25, 0.75])
        split = noise_of(timings, [], [name], attempts=1).split
        measured[name] = Measurement(
            latency.latency_ms,
            latency.low_ms,
            latency.high_ms,
            latency.rounds,
            spread=float(high - low) / latency.latency_ms,
            split=split,
            reference_ms=reference_ms,
        )
    return measured


@contextlib.contextmanager
def reference_session(runtime: Runtime) -> Iterator[Session]:
    """The reference kernel, where there is no kit that brings it; always on one thread."""
    with tempfile.TemporaryDirectory(prefix="subdit-") as folder:
        yield runtime.load(
            write_reference(Path(folder) / f"reference{runtime.model_suffix}"), reference_inputs(), threads=1
        )


def read_static_inputs(path: Path, *, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Inputs by name for an ONNX file: standard normal, or 0 and 1 where they are whole numbers.

    Raises `KitError` where it cannot be read, or a shape is not fixed.
    """
    import onnx

    if not path.is_file():
        raise KitError(f"There is no model at {path}; export it first.")
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf's errors have no common base of their own.
        raise KitError(f"The model {path} is damaged; export it again.") from error
    weights = {weight.name for weight in graph.initializer}
    rng = np.random.default_rng(seed)
    drawn: dict[str, npt.NDArray[Any]] = {}
    for value in graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        shape = [dimension.dim_value for dimension in tensor.shape.dim]
        if not all(shape):
            raise KitError(f"The model {path} has no fixed shape for {value.name!r}; export it with static shapes.")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        # Of whole numbers, such as a text encoder's tokens, 0 and 1 are in every vocabulary and mean a mask.
        some = rng.standard_normal(shape) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, shape)
        drawn[value.name] = some.astype(dtype)
    return drawn
