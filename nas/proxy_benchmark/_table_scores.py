"""Scores of proxies as a truth table has them, as arrays in the order of its sub-DiTs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nas.truth_table import TruthTable
from subdit.core.errors import SearchError
from subdit.space import count_flops

Floats = npt.NDArray[np.float64]

BASELINE = "flop_count"
"""The proxy that every other one has to beat: minus the logarithm of FLOPs, which costs nothing."""


def scores_of(table: TruthTable) -> dict[str, tuple[Floats, float]]:
    """By proxy its scores (n,) and the seconds of a query, and `BASELINE` in any case.

    Raises `SearchError` where a proxy has scores by several supernets, or not of every sub-DiT.
    """
    found = {BASELINE: (-np.log(flops_of(table)), 0.0)}
    for each in table.scores:
        if missing := sum(spec.hash not in each.values for spec in table.specs):
            raise SearchError(
                f"The truth table lacks scores of {each.proxy!r} for {missing} sub-DiTs; name the run of supernet "
                f"{each.supernet}, so that they are asked for."
            )
        if each.proxy in found and each.proxy != BASELINE:
            raise SearchError(
                f"The truth table has scores of {each.proxy!r} by several supernets; name one run of them."
            )
        values = np.asarray([each.values[spec.hash] for spec in table.specs], dtype=np.float64)
        found[each.proxy] = (values, each.seconds_per_query)
    return found


def flops_of(table: TruthTable) -> Floats:
    """FLOPs of one step of each sub-DiT (n,)."""
    return count_flops(table.space, table.space.encode(table.specs)).astype(np.float64)


def only_of(table: TruthTable, supernet: str) -> TruthTable:
    """The table with scores by one supernet's weights alone."""
    return replace(table, scores=tuple(each for each in table.scores if each.supernet == supernet))
