"""What a calibration says: how far quality was foretold, what the first front lacks, and what is not told apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nas._pareto import hypervolume
from nas._pareto import on_front
from nas._pareto import scaled
from nas.calibration._model import Prediction
from nas.calibration._proxy import CalibratedQuality
from subdit.core.quantities import noun
from subdit.results import Pick
from subdit.results import SearchResult
from subdit.results import Trial

Floats = npt.NDArray[np.float64]

CHANCE = 0.01
"""Probability of ranks that agree as well by chance, above which nothing counts as learned."""


def calibration_report(
    first: SearchResult,
    second: SearchResult,
    chosen: Sequence[Trial],
    truth: Floats,
    left_out: Prediction,
    calibrated: CalibratedQuality,
    weighed: tuple[str, str],
) -> dict[str, Any]:
    """The report as JSON; predictions are of sub-DiTs that were left out of their fits.

    Args:
        chosen: what was trained on its own, and `truth` its losses (n,).
        weighed: the cost and the proxy of the first search that picks weigh.
    """
    from scipy.stats import kendalltau

    from device_profiles import kendall_tau

    cost, quality = weighed
    before = np.asarray([trial.value(quality) for trial in chosen])
    rows = [
        {
            "spec": str(trial.spec),
            "spec_hash": trial.spec.hash,
            quality: trial.value(quality),
            "predicted": float(mean),
            "predicted_low": float(mean - 1.96 * std),
            "predicted_high": float(mean + 1.96 * std),
            "true": float(true),
        }
        for trial, true, mean, std in zip(chosen, truth, left_out.mean, left_out.std, strict=True)
    ]
    errors = truth - left_out.mean
    error, spread = float(np.sqrt(np.mean(np.square(errors)))), float(truth.std(ddof=1))
    held = float(np.mean(np.abs(errors) <= 1.96 * left_out.std))
    taus = {"before": float(kendall_tau(before, truth)), "after": float(kendall_tau(left_out.mean, truth))}
    # One-sided; what is left out of a fit on noise ranks the wrong way round, if anything.
    learned = bool(kendalltau(left_out.mean, truth, alternative="greater").pvalue < CHANCE)
    regret = _regret(first, second, cost, calibrated)
    before_picks = {name: pick.spec for name, pick in first.picks.items()}
    changed = [name for name, pick in second.picks.items() if pick.spec != before_picks.get(name)]
    said = (
        f"{len(rows)} sub-DiTs were trained alone. {noun(quality).capitalize()} ranks them with tau "
        f"{taus['before']:.2f}; left out in turn, they are foretold with tau {taus['after']:.2f}, off by {error:.3g} "
        f"where they differ by {spread:.3g}, and 95 % intervals held {held:.0%} of them. "
    )
    if not learned:
        said += "That may be chance: by these trainings, quality cannot be told apart here. "
    said += (
        f"By calibrated quality the first front lacks {regret:.2%} of the hypervolume of both fronts together, in "
        f"{noun(cost)} and {noun(calibrated.id)}; "
    )
    said += f"other picks are {', '.join(changed)}." if changed else "the picks are the same."
    return {
        "trained": rows,
        "quality": quality,
        "kendall_tau": taus,
        "error": error,
        "spread": spread,
        "coverage": held,
        "learned": learned,
        "hypervolume_regret": regret,
        "hypervolume_figures": [cost, calibrated.id],
        "changed_picks": changed,
        "summary": said,
    }


def with_doubts(result: SearchResult) -> dict[str, Pick]:
    """The picks of a search, each saying of which others its quality is not told apart."""
    picks = {}
    for name, pick in result.picks.items():
        others = [
            other
            for other, another in result.picks.items()
            if another.spec != pick.spec and not told_apart(pick.trial, another.trial, result.quality)
        ]
        doubt = f" By quality not told apart from {' and '.join(others)}." if others else ""
        picks[name] = dataclasses.replace(pick, why=pick.why + doubt)
    return picks


def told_apart(one: Trial, other: Trial, quality: str) -> bool:
    """Whether two trials differ in quality by more than the noise of a difference of independent values."""
    noise = np.hypot(one.noise.get(quality, 0.0), other.noise.get(quality, 0.0))
    return bool(abs(one.value(quality) - other.value(quality)) > noise)


def _regret(first: SearchResult, second: SearchResult, cost: str, calibrated: CalibratedQuality) -> float:
    """Fraction of both fronts' hypervolume that the first lacks, both by calibrated quality."""

    def points(rows: Sequence[Trial]) -> Floats:
        return np.asarray([(row.value(cost), calibrated.evaluate(row.spec).value) for row in rows])

    before, after = points(first.front), points(second.front)
    both = np.concatenate([before, after])
    front = both[on_front(both)]
    whole = hypervolume(scaled(front, front), (1.1, 1.1))
    return float(1 - hypervolume(scaled(before, front), (1.1, 1.1)) / whole) if whole else 0.0
