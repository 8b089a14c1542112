"""The report of a verification: how far predictions were off, which limits were broken, what the first front lacks."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import numpy.typing as npt

from nas._pareto import hypervolume
from nas._pareto import on_front
from nas._pareto import scaled
from subdit.core.errors import SearchError
from subdit.core.quantities import LATENCY
from subdit.core.quantities import PIPELINE
from subdit.core.quantities import noun
from subdit.results import SearchResult
from subdit.results import Trial

if TYPE_CHECKING:
    from device_profiles import CorrectedLatencies
    from nas._problem import SearchProblem
    from profilers import Measurement

Floats = npt.NDArray[np.float64]

MOST_SLOWER = 1.25
"""Largest ratio, either way, of the reference kernel's time to that in the profile that is divided out of measurements.
Beyond it the measurements are doubted: the kernel stays in a cache, so a machine that busy, or another machine, changes
whole sub-DiTs by another factor."""


def doubts(found: Mapping[str, Measurement], reference_kernel_ratio: float) -> list[str]:
    """Why measurements cannot be trusted, in words; a profile of such a machine would count as noisy."""
    from profilers import NOISE_LIMIT

    said = []
    if not 1 / MOST_SLOWER <= reference_kernel_ratio <= MOST_SLOWER:
        said.append(
            f"the reference kernel took {reference_kernel_ratio:.2f} of its time in the profile, which is only "
            f"believed from {1 / MOST_SLOWER:.2f} to {MOST_SLOWER:.2f}"
        )
    interval = float(np.median([one.relative_ci for one in found.values()]))
    split = float(np.sqrt(np.mean(np.square([one.split for one in found.values()]))))
    for value, what in ((interval, "95 % intervals are"), (split, "the two halves of the measurement differ by")):
        if value > NOISE_LIMIT:
            said.append(f"{what} +-{value:.1%}, of which +-{NOISE_LIMIT:.0%} is believed")
    return said


def measured_report(
    chosen: Sequence[Trial],
    found: Mapping[str, Measurement],
    corrected: CorrectedLatencies,
    problem: SearchProblem,
    *,
    reference_kernel_ratio: float,
    doubted: Sequence[str] = (),
) -> dict[str, Any]:
    """How far predictions of the first front were off, which limits it broke, and why to doubt the measurements."""
    limits = problem.tables.constraints
    limited = [name for name in (LATENCY, PIPELINE) if name in limits]
    rows: list[dict[str, Any]] = []
    after = corrected.estimate(problem.tables.space.encode([row.spec for row in chosen])).latency_ms.tolist()
    for row, corrected_ms in zip(chosen, after, strict=True):
        measured = found[row.spec.hash]
        rows.append(
            {
                "spec": str(row.spec),
                "spec_hash": row.spec.hash,
                "predicted_ms": row.latency_ms,
                "measured_ms": measured.latency_ms,
                "measured_low_ms": measured.low_ms,
                "measured_high_ms": measured.high_ms,
                "corrected_ms": corrected_ms,
                "relative_error": row.latency_ms / measured.latency_ms - 1,
                "violates_limit": any(_taken_ms(name, measured, problem) > limits[name] for name in limited),
            }
        )
    errors = np.abs([entry["relative_error"] for entry in rows])
    violations = sum(bool(entry["violates_limit"]) for entry in rows)
    broken = f"{violations} of them break the latency limit" if limited else "there was no latency limit to break"
    said = (
        f"{len(rows)} sub-DiTs of the first front measured: predictions off by {errors.mean():.1%} in the mean and "
        f"{errors.max():.1%} at worst, by a factor of {np.exp(corrected.log_scale):.3f} in common; {broken}."
    )
    if reference_kernel_ratio != 1.0:
        said += (
            f" The reference kernel took {reference_kernel_ratio:.2f} of its time in the profile; that is taken out."
        )
    if doubted:
        said = f"Not to be believed, as {'; '.join(doubted)}. {said}"
    return {
        "measured": rows,
        "mean_relative_error": float(errors.mean()),
        "worst_relative_error": float(errors.max()),
        "measured_over_predicted": float(np.exp(corrected.log_scale)),
        "residual_ci": corrected.residual_ci,
        "violation_count": violations,
        "reference_kernel_ratio": reference_kernel_ratio,
        "doubted": bool(doubted),
        "doubts": list(doubted),
        "summary": said,
    }


def _taken_ms(name: str, measured: Measurement, problem: SearchProblem) -> float:
    """Milliseconds of one step, or of a picture whose steps take as long as was measured."""
    if name == LATENCY:
        return measured.latency_ms
    from device_profiles import LatencyEstimate
    from device_profiles import pipeline_latency

    step = LatencyEstimate(*(np.asarray([value]) for value in (measured.latency_ms, measured.low_ms, measured.high_ms)))
    picture = pipeline_latency(problem.profiles[0], problem.tables.space, step, steps=problem.config.steps)
    return float(picture.latency_ms[0])


def report(
    measured: Mapping[str, Any], first: SearchResult, second: SearchResult, problem: SearchProblem
) -> dict[str, Any]:
    """What was measured, and what the first front lacks of what both searches found; `problem` is the corrected one."""
    weighed, names = problem.objectives.weighed, problem.objectives.names
    regret = _regret(first, second, problem)
    said = (
        f"{measured['summary']} By the corrected table the first front lacks {regret:.2%} of the hypervolume of both "
        f"fronts together, in {' and '.join(map(noun, weighed))}"
    )
    if len(names) > len(weighed):
        said += ", the two objectives that picks weigh"
    said += "."
    if not any(map(_is_corrected, (*names, *problem.tables.constraints))):
        said += " The latency that was corrected is neither an objective nor limited, so correcting it changes nothing."
    return {
        **measured,
        "hypervolume_regret": regret,
        "hypervolume_figures": list(weighed),
        "second_search": second.folder.name,
        "picks": {name: pick.to_dict() for name, pick in second.picks.items()},
        "summary": said,
    }


def _is_corrected(name: str) -> bool:
    """Whether a figure is a time on the first device, the one that was measured."""
    return name in (LATENCY, PIPELINE)


def _regret(first: SearchResult, second: SearchResult, problem: SearchProblem) -> float:
    """Fraction of both fronts' hypervolume that the first lacks, by the corrected costs and the constraints."""
    cost, quality = problem.objectives.weighed
    tables = problem.tables

    def points(rows: Sequence[Trial]) -> Floats:
        known = tables.look_up(tables.space.encode([row.spec for row in rows]))
        return np.c_[known.figures[cost], [row.value(quality) for row in rows]].astype(np.float64)[known.feasible]

    before, after = points(first.front), points(second.front)
    both = np.concatenate([before, after])
    if not len(both):
        raise SearchError("By the corrected table no sub-DiT of either front keeps the limits; set wider ones.")
    front = both[on_front(both)]
    whole = hypervolume(scaled(front, front), (1.1, 1.1))
    return float(1 - hypervolume(scaled(before, front), (1.1, 1.1)) / whole) if len(before) else 1.0
