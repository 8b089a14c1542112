"""`measure_models`: latencies of exported models, each measured until its own interval is narrow."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profilers.measuring.rounds import measure_rounds
from profilers.measuring.statistics import corrected_ms
from profilers.measuring.statistics import latency_of
from profilers.measuring.statistics import noise_of
from profilers.measuring.statistics import within
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import Timings
from profilers.runtimes import DEFAULT_RUNTIME
from profilers.runtimes import Array
from profilers.runtimes import Runtime
from profilers.runtimes import Session
from profilers.runtimes import get_runtime
from profilers.runtimes import reference_inputs
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

_MIN_ROUNDS = 20


@dataclass(frozen=True)
class Measurement:
    """Latency of an exported model in milliseconds with its 95 % interval.

    Attributes:
        rounds: interleaved timings behind it.
        relative_iqr: interquartile range of those timings over the latency.
        split: disagreement of the two halves of the timings, half the difference over the latency.
        reference_ms: latency of the reference kernel meanwhile; over the profile's it says how much slower the machine
            was than when the profile was measured.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    relative_iqr: float
    split: float
    reference_ms: float

    @property
    def relative_ci(self) -> float:
        """Half the width of the interval over the latency."""
        return (self.high_ms - self.low_ms) / (2 * self.latency_ms)


def measure_models(
    paths: Mapping[str, Path],
    *,
    runtime: str = DEFAULT_RUNTIME,
    precision: str = "fp32",
    threads: int = 1,
    budget_s: float = 60.0,
    relative_ci: float = 0.015,
    inputs: Mapping[str, Mapping[str, Array]] | None = None,
    progress: ProgressCallback = no_progress,
) -> dict[str, Measurement]:
    """Measure models in interleaved rounds with a reference kernel, until each interval is within +-`relative_ci`.

    Args:
        paths: model files of the runtime's format, by name.
        runtime: which runtime runs them.
        precision: of their weights.
        threads: threads that it may use.
        budget_s: seconds after which measuring ends, however wide the intervals are.
        relative_ci: half the 95 % interval over the latency.
        inputs: per model its inputs by name; those not given are drawn for the shapes in the file.
        progress: reports seconds of the budget.

    Raises:
        KitError: a file that the runtime cannot load, or whose inputs have no fixed shape.
    """
    if not paths:
        return {}
    chosen = get_runtime(runtime, precision=precision)
    given = inputs or {}
    sessions = {
        name: chosen.load(path, given[name] if name in given else chosen.draw_inputs(path), threads=threads)
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
    """Latencies of some of the models that were timed, by name."""
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
            relative_iqr=float(high - low) / latency.latency_ms,
            split=split,
            reference_ms=reference_ms,
        )
    return measured


@contextlib.contextmanager
def reference_session(runtime: Runtime) -> Iterator[Session]:
    """The reference kernel, where there is no kit that brings it; always on one thread."""
    with tempfile.TemporaryDirectory(prefix="subdit-") as folder:
        path = Path(folder) / f"reference{runtime.suffix}"
        runtime.export_reference(path)
        yield runtime.load(path, reference_inputs(), threads=1)
