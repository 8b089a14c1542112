"""Quantiles and rank correlations; scipy is imported where it computes, since it takes long to load."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Z_95 = 1.96
"""Half the 95 % interval of a normal variable over its standard deviation."""


def t_95(degrees: int) -> float:
    """Half the 95 % interval of a variable over its standard deviation, by Student's t with `degrees` of freedom.

    Raises `ValueError` where there is no degree of freedom, and so no standard deviation.
    """
    if degrees < 1:
        raise ValueError(f"a standard deviation needs at least 1 degree of freedom, not {degrees}")
    # What scipy.stats.t.ppf calls, without the second that scipy.stats takes to load.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def kendall_tau(first: Floats, second: Floats) -> float:
    """Kendall's tau-b of two samples of shape (n,); 0 where either is constant."""
    from scipy.stats import kendalltau

    return 0.0 if _has_constant(first, second) else float(kendalltau(first, second).statistic)


def spearman_rho(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation of two samples of shape (n,), ties at their mean rank; 0 where either is constant."""
    from scipy.stats import spearmanr

    return 0.0 if _has_constant(first, second) else float(spearmanr(first, second).statistic)


def _has_constant(*samples: Floats) -> bool:
    return any(len(sample) == 0 or np.min(sample) == np.max(sample) for sample in samples)
