"""`ImportedLog`: what a log of another tool says, in milliseconds and bytes."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

from profilers.importers.log import Log
from profilers.importers.log import is_text
from subdit.core.errors import ImportLogError

UNCONFIRMED = "unconfirmed format: read from the tool's source or from reports, never checked on a file it wrote"

CPU = "cpu"
"""The `delegate` of a log that says that the plain CPU path ran."""

COARSE = 0.02
"""A latency that is rounded to more than this share of it, up or down, is said to be."""

_PRECISIONS = {"float": "fp32", "float32": "fp32", "float16": "fp16", "q8": "int8", "w8a8": "int8"}
# Tools print six digits of a mean.
_DIGITS = 1e-5


@dataclass(frozen=True)
class OperatorRow:
    """One operator.

    Attributes:
        name: as the log writes it.
        type: kind of operator.
        mean_ms: mean time in one inference, all its calls together; None where the log gives none.
        share: of the time of all rows, 0 to 1.
        times_called: in one inference.
        node: position or index in the graph.
        estimated: apportioned by the tool, not measured.
    """

    name: str
    type: str
    mean_ms: float | None
    share: float | None
    times_called: int
    node: int | None
    estimated: bool = False


@dataclass(frozen=True)
class ImportedLog:
    """One measurement; None where the log does not say.

    Attributes:
        format: name of the importer.
        tool: what wrote the log.
        model_file: file name of the model.
        count: timed inferences behind the statistics.
        mean_ms, median_ms, min_ms, max_ms, std_ms: over those inferences.
        percentiles_ms: such as {"p95": 1.2}.
        operators: rows of its operator table.
        peak_memory_bytes: peak memory that the tool reports.
        delegate: accelerator or execution provider, `CPU` for the plain path of the processor.
        runtime_version: of the runtime that ran the model.
        confirmed: whether the importer was checked on a file that the tool wrote.
        warnings: what a reader should know.
        label: which measurement of a log that holds several.
        estimated_ms: a latency that the tool estimates, where it has one beside the timings.
        threads: of the runtime.
        delegated_share: of the operators, on an accelerator that took some of them or all; without one, on XNNPACK.
        graph_operators: how many those are all together.
        device: that was measured, in the words of who rents it out.
        sessions_ms: the latency of each session, where this is several of them together.
        model_sha256: of the model's file, in hexadecimal digits.
        kit_hash: of the kit whose model it is.
        step_ms: to what the latency is rounded, where that is more than the tools' microsecond.
        partitions: stretches of the graph in which the accelerator, or else XNNPACK, and the rest take turns.
        precision: of the weights, in the words of kits where they have one.
        declined: an accelerator that was asked for and ran nothing, where none ran anything.
        partly_delegated: True where the accelerator took some of the operators, also where no log says how many.
    """

    format: str
    tool: str
    model_file: str | None = None
    count: int | None = None
    mean_ms: float | None = None
    median_ms: float | None = None
    percentiles_ms: Mapping[str, float] = field(default_factory=dict)
    min_ms: float | None = None
    max_ms: float | None = None
    std_ms: float | None = None
    operators: tuple[OperatorRow, ...] = ()
    peak_memory_bytes: int | None = None
    delegate: str | None = None
    runtime_version: str | None = None
    confirmed: bool = False
    warnings: tuple[str, ...] = ()
    label: str | None = None
    estimated_ms: float | None = None
    threads: int | None = None
    delegated_share: float | None = None
    graph_operators: int | None = None
    partly_delegated: bool | None = None
    precision: str | None = None
    declined: str | None = None
    partitions: int | None = None
    model_sha256: str | None = None
    device: str | None = None
    sessions_ms: tuple[float, ...] = ()
    kit_hash: str | None = None
    step_ms: float | None = None

    @property
    def latency_ms(self) -> float | None:
        """The best single figure: median, else mean, else the tool's own estimate."""
        return next((value for value in (self.median_ms, self.mean_ms, self.estimated_ms) if value is not None), None)


def run_statistics(runs_ms: npt.ArrayLike) -> dict[str, Any]:
    """The fields of an `ImportedLog` that the times of its runs give; none of no runs, no deviation of a single one."""
    ms = np.asarray(runs_ms, dtype=np.float64)
    if not ms.size:
        return {}
    return {
        "count": ms.size,
        "mean_ms": float(ms.mean()),
        "median_ms": float(np.median(ms)),
        "min_ms": float(ms.min()),
        "max_ms": float(ms.max()),
        "std_ms": float(ms.std(ddof=1)) if ms.size > 1 else None,
    }


def check_log(log: Log, made: ImportedLog, *, step_ms: float = 0.0, line: int | None = None) -> ImportedLog:
    """`made` to the picosecond, where its numbers can be true together.

    Args:
        step_ms: to what the log rounds its times.
        line: where its statistics stand, for the message.

    Raises:
        ImportLogError: a name is no text, or a number is not finite, below zero, or out of order with another.
    """
    _all_text(log, line, made)
    times = {"mean": made.mean_ms, "median": made.median_ms, "std": made.std_ms, "estimate": made.estimated_ms}
    times |= {"min": made.min_ms, "max": made.max_ms, **made.percentiles_ms}
    times |= {f"the mean of {row.name}": row.mean_ms for row in made.operators}
    for what, stated in times.items():
        if stated is not None and not (math.isfinite(stated) and stated >= 0):
            raise log.refuse(line, f"{what} is {stated}, which no time can be", "repeat the measurement")
    if made.count is not None and made.count < 1:
        raise log.refuse(line, "no inference was timed", "run the tool with at least one timed run")
    if made.peak_memory_bytes is not None and made.peak_memory_bytes < 0:
        raise log.refuse(line, f"the peak memory is {made.peak_memory_bytes} bytes", "repeat the measurement")
    ranked = [("min", times["min"])]
    quantiles = [*((rank_of(key), key, value) for key, value in made.percentiles_ms.items())]
    quantiles += [(50.0, "median", made.median_ms)] if made.median_ms is not None else []
    ranked += [(key, value) for _, key, value in sorted(quantiles)]
    ranked += [("max", times["max"])]
    present = [(key, value) for key, value in ranked if value is not None]
    for (low_key, low), (high_key, high) in zip(present, present[1:], strict=False):
        _in_order(log, line, low_key, low, high_key, high, step_ms)
    if made.mean_ms is not None:
        if made.min_ms is not None:
            _in_order(log, line, "min", made.min_ms, "mean", made.mean_ms, step_ms)
        if made.max_ms is not None:
            _in_order(log, line, "mean", made.mean_ms, "max", made.max_ms, step_ms)
    if made.std_ms is not None and made.min_ms is not None and made.max_ms is not None:
        _in_order(log, line, "std", made.std_ms, "the range max - min", made.max_ms - made.min_ms, 2 * step_ms + 1e-3)
    return _rounded(_with_coarseness(made))


def rank_of(percentile: str) -> float:
    """The per cent of a name such as 'p95'; 'p999' is 99.9."""
    digits = percentile[1:]
    return float(digits[:2] + "." + digits[2:]) if len(digits) > 2 else float(digits)


def contradiction(log: Log, line: int | None, what: str, first: object, second: object) -> ImportLogError:
    """The refusal of a log that states a fact twice, differently."""
    return log.refuse(
        line, f"{what}: {first} here, {second} there", "the log was changed or joined; give it as written"
    )


def precision_word(stated: str) -> str | None:
    """A tool's word for the numbers of the weights as one of kits, or as it is; None where it has none.

    Weights and activations of 8 bits are int8; other mixtures have latencies of their own, and keep their names.
    """
    word = re.sub(r"[^a-z0-9._]+", "_", stated.lower()).strip("._")
    return _PRECISIONS.get(word, word) or None


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def _all_text(log: Log, line: int | None, made: ImportedLog) -> None:
    """Refuse names that JSON, YAML and protocol buffers can hold and a terminal should not be given."""
    names = [(key, getattr(made, key)) for key in ("model_file", "runtime_version", "delegate", "label")]
    names += [(f"the {key} of an operator", getattr(row, key)) for row in made.operators for key in ("name", "type")]
    for what, value in names:
        if value is not None and not is_text(value):
            raise log.refuse(
                line,
                f"{what} is {ascii(value[:60])}, with characters that are no text",
                "name the model and its operators in plain text and run the tool again",
            )


def _in_order(log: Log, line: int | None, low_key: str, low: float, high_key: str, high: float, step: float) -> None:
    if low > high * (1 + _DIGITS) + step:
        raise log.refuse(
            line, f"{low_key} ({low:.6g} ms) is above {high_key} ({high:.6g} ms)", "give the log as the tool wrote it"
        )


def _with_coarseness(made: ImportedLog) -> ImportedLog:
    """With a warning where the latency is rounded to more than it should be known to."""
    if made.step_ms is None or not made.latency_ms or made.step_ms <= 2 * COARSE * made.latency_ms:
        return made
    known = 50 * made.step_ms / made.latency_ms
    said = f"the tool rounds to {made.step_ms:g} ms: this latency is known to within {known:.0f} % only"
    return dataclasses.replace(made, warnings=(*made.warnings, said))


def _rounded(made: ImportedLog) -> ImportedLog:
    """Without the digits that a division by 1000 adds."""
    return dataclasses.replace(
        made,
        mean_ms=_round(made.mean_ms),
        median_ms=_round(made.median_ms),
        min_ms=_round(made.min_ms),
        max_ms=_round(made.max_ms),
        std_ms=_round(made.std_ms),
        estimated_ms=_round(made.estimated_ms),
        percentiles_ms={key: round(value, 9) for key, value in made.percentiles_ms.items()},
        operators=tuple(dataclasses.replace(row, mean_ms=_round(row.mean_ms)) for row in made.operators),
    )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 9)
