"""What a calibrated proxy is worth by the number of trainings that it is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.calibration import fit_model
from nas.proxy_benchmark._bands import banded_tau
from nas.proxy_benchmark._bands import latency_bands
from nas.proxy_benchmark._regret import regrets

Floats = npt.NDArray[np.float64]

_DRAWS = 12


@dataclass(frozen=True)
class CalibrationPoint:
    """A calibrated proxy fitted on some trainings and judged on the others, in the mean over draws.

    Attributes:
        trainings: that it was fitted on.
        within: Kendall tau over pairs within bands of latency.
        regret: by the name of a pick, and `front`.
    """

    trainings: int
    within: float
    regret: dict[str, float]


def calibration_curve(
    features: Floats, truth: Floats, latency: Floats, numbers: Sequence[int], *, seed: int = 0
) -> list[CalibrationPoint]:
    """One point for each number of trainings, drawn by the seed from features (n, columns) and truth (n,).

    Numbers that leave fewer than 8 sub-DiTs to judge on are left out.
    """
    points = []
    for number in numbers:
        if len(truth) - number < 8:
            continue
        rng = np.random.default_rng([seed, number])
        within, lost = [], []
        for _ in range(_DRAWS):
            rows = rng.permutation(len(truth))
            fitted, others = rows[:number], rows[number:]
            said = fit_model(features[fitted], truth[fitted])(features[others]).mean
            within.append(float(banded_tau(said, truth[others], latency_bands(latency[others]))))
            lost.append(regrets(latency[others], said, truth[others]))
        means = {name: float(np.mean([each[name] for each in lost])) for name in lost[0]}
        points.append(CalibrationPoint(number, float(np.mean(within)), means))
    return points
