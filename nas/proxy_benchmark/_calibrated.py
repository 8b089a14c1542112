"""Calibrated proxies, judged by predictions of sub-DiTs that were left out of their fits."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nas.calibration import FEWEST
from nas.calibration import Prediction
from nas.calibration import leave_one_out
from nas.calibration import quality_features
from nas.proxy_benchmark._calibration_curve import CalibrationPoint
from nas.proxy_benchmark._calibration_curve import calibration_curve
from nas.proxy_benchmark._table_scores import BASELINE
from nas.proxy_benchmark._table_scores import scores_of
from nas.truth_table import TruthTable

Floats = npt.NDArray[np.float64]

CALIBRATED = "calibrated"
DIMENSIONS = "dimensions"
"""A calibrated proxy that asks no supernet: FLOPs and dimensions alone."""
QUARTERS = "validation_loss_quarter_"
NUMBERS = (8, 12, 16, 24, 32, 40, 60, 80)
"""Trainings, of which a calibrated proxy is fitted to see how many it takes."""


def predicted_qualities(table: TruthTable, scores: Mapping[str, Floats], truth: Floats) -> dict[str, Prediction]:
    """By name of a calibrated proxy its predictions of the truth (n,), each sub-DiT left out; none of too few.

    `calibrated` with all scores, `dimensions` without any, and `noise_levels` of the losses at each quarter of the
    noise levels alone, which fits their weighting.
    """
    if len(truth) <= FEWEST:
        return {}
    encoded = table.space.encode(table.specs)
    features = quality_features(table.space, encoded, _without_baseline(scores))
    found = {CALIBRATED: leave_one_out(features, truth)}
    found[DIMENSIONS] = leave_one_out(quality_features(table.space, encoded, {}), truth)
    if quarters := [scores[name] for name in sorted(scores) if name.startswith(QUARTERS)]:
        found["noise_levels"] = leave_one_out(np.column_stack(quarters), truth)
    return found


def coverage(predicted: Prediction, truth: Floats) -> float:
    """Share of qualities (n,) within the 95 % intervals of their predictions."""
    return float(np.mean(np.abs(truth - predicted.mean) <= 1.96 * predicted.std))


def calibration_points(
    table: TruthTable, latency: Floats, *, quality: str = "loss", numbers: Sequence[int] = NUMBERS
) -> list[CalibrationPoint]:
    """What ridge on all of a table's scores is worth by the number of trainings that it is fitted on."""
    truth = np.asarray([each.mean() for each in table.losses(quality)])
    scores = {name: values for name, (values, _) in scores_of(table).items()}
    features = quality_features(table.space, table.space.encode(table.specs), _without_baseline(scores))
    return calibration_curve(features, truth, latency, numbers)


def _without_baseline(scores: Mapping[str, Floats]) -> dict[str, Floats]:
    """FLOPs are a feature of every model already."""
    return {name: values for name, values in scores.items() if name != BASELINE}
