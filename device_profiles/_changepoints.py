"""Change points: where in the order of measurement a device changed its speed, found in the residuals of a fit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_ROWS = 4
"""Rows that a segment has at least."""

# Penalty of a change point over log(rows), in twice the log likelihood: its place and its level are two parameters of
# the Bayesian information criterion, and a third makes false alarms rarer than one in a hundred sequences.
_PENALTY = 3.0
# Residuals are clipped to this number of standard deviations around the median of their neighbours.
_CLIP = 3.0
_NEIGHBOURS = 9


def find_segments(residuals: Floats, noise: float) -> Ints:
    """Cut a sequence into segments of constant level, by least squares with a penalty for each cut.

    The optimum over all cuts, by dynamic programming (Jackson et al., An algorithm for optimal partitioning of data on
    an interval, 2005). Single outliers are clipped to their neighbours first, so that none becomes a segment.

    Args:
        residuals: logarithms of measured over expected latency in the order of measurement, shape (n,).
        noise: standard deviation of a residual within a segment.

    Returns:
        Number of the segment of each row, from 0 on without a gap, shape (n,).
    """
    rows = len(residuals)
    if rows < 2 * MIN_ROWS:
        return np.zeros(rows, dtype=np.int64)
    values = clip_outliers(residuals, noise) / noise
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(values))])
    penalty = _PENALTY * np.log(rows)
    cheapest = np.full(rows + 1, np.inf)
    cheapest[0] = -penalty
    begin_of = np.zeros(rows + 1, dtype=np.int64)
    for end in range(MIN_ROWS, rows + 1):
        begins = np.arange(0, end - MIN_ROWS + 1)
        inside = squares[end] - squares[begins] - np.square(sums[end] - sums[begins]) / (end - begins)
        costs = cheapest[begins] + inside + penalty
        begin_of[end] = begins[np.argmin(costs)]
        cheapest[end] = costs.min()
    segments = np.zeros(rows, dtype=np.int64)
    end = rows
    while end:
        segments[begin_of[end] : end] = begin_of[end]
        end = begin_of[end]
    return np.unique(segments, return_inverse=True)[1].astype(np.int64)


def clip_outliers(residuals: Floats, noise: float) -> Floats:
    """Residuals clipped to a distance from the median of their neighbours, shape (n,)."""
    window = min(_NEIGHBOURS, len(residuals) // 2 * 2 - 1)
    padded = np.pad(residuals, window // 2, mode="edge")
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
    return median + np.clip(residuals - median, -_CLIP * noise, _CLIP * noise)
