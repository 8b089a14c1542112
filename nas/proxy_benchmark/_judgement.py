"""How good proxies are by a truth table: as they are used, beside what a perfect proxy would read."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.proxy_benchmark._bands import Difference
from nas.proxy_benchmark._bands import banded_agreement
from nas.proxy_benchmark._bands import compare
from nas.proxy_benchmark._bands import latency_bands
from nas.proxy_benchmark._bands import power
from nas.proxy_benchmark._bias import SizeBias
from nas.proxy_benchmark._bias import size_bias
from nas.proxy_benchmark._calibrated import coverage
from nas.proxy_benchmark._calibrated import predicted_qualities
from nas.proxy_benchmark._ceiling import Ceiling
from nas.proxy_benchmark._ceiling import expected_reading
from nas.proxy_benchmark._ceiling import find_ceiling
from nas.proxy_benchmark._ceiling import training_noise
from nas.proxy_benchmark._correlation import Agreement
from nas.proxy_benchmark._correlation import agreement
from nas.proxy_benchmark._correlation import kendall_tau
from nas.proxy_benchmark._correlation import spearman_rho
from nas.proxy_benchmark._regret import Regret
from nas.proxy_benchmark._regret import noise_regret
from nas.proxy_benchmark._regret import regret_intervals
from nas.proxy_benchmark._selection import HalfSelection
from nas.proxy_benchmark._selection import cross_fitted
from nas.proxy_benchmark._table_scores import BASELINE
from nas.proxy_benchmark._table_scores import flops_of
from nas.proxy_benchmark._table_scores import scores_of
from nas.truth_table import TruthTable
from subdit.core.errors import SearchError

Floats = npt.NDArray[np.float64]

INHERITED_LOSS = "validation_loss"
BASELINE_TAU = 0.15
"""Within bands, about what FLOPs read there: for the power that is stated before any proxy is looked at."""
STEPS_AHEAD = (0.1, 0.2, 0.3)
_FEWEST = 4
_FEWEST_FOR_HALVES = 16


@dataclass(frozen=True)
class ProxyJudgement:
    """What one proxy is worth.

    Attributes:
        kendall, spearman: over all sub-DiTs.
        within: Kendall tau over pairs within bands of latency alone.
        ahead: `within` less that of `BASELINE`.
        regret: by the name of a pick, and `front`; in the unit of the quality.
    """

    proxy: str
    seconds_per_query: float
    kendall: Agreement
    spearman: Agreement
    within: Agreement
    ahead: Difference
    regret: Mapping[str, Regret]


@dataclass(frozen=True)
class TableJudgement:
    """What proxies are worth by one quality of a truth table.

    Attributes:
        bands: sub-DiTs in each band of latency.
        noise: standard deviation between two trainings of a sub-DiT; None where too few are trained twice, as are
        ceiling: what a perfect proxy reads, over all sub-DiTs and
        ceiling_within: within bands of latency.
        noise_regret: of a perfect proxy, because of the truth's noise.
        early: by number of updates, tau of the loss then with the loss at the end, of the same training.
        selections: what each half of the sub-DiTs chose, judged on the other; None with too few.
        bias: of inherited weights by size; None without the loss of inherited weights, or by another quality.
        calibrated: the same of predictions of calibrated proxies, each sub-DiT left out when its own is made.
        coverage: by name of these, the share of qualities that their 95 % intervals held.
        verdicts: what cannot be told apart, in sentences.
    """

    quality: str
    count: int
    twice: int
    bands: tuple[int, ...]
    noise: float | None
    ceiling: Ceiling | None
    ceiling_within: Ceiling | None
    noise_regret: Mapping[str, float] | None
    early: Mapping[int, float]
    proxies: tuple[ProxyJudgement, ...]
    selections: tuple[HalfSelection, HalfSelection] | None
    bias: SizeBias | None
    calibrated: tuple[ProxyJudgement, ...]
    coverage: Mapping[str, float]
    verdicts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "early": {str(updates): tau for updates, tau in self.early.items()}}


def stated_power(latency: Floats) -> dict[float, float]:
    """By how far a proxy's tau within bands is above `BASELINE_TAU`, how often it would be found ahead.

    It needs latencies (n,) alone, so it is said before any proxy is looked at.
    """
    sizes = [len(rows) for rows in latency_bands(latency)]
    return {step: power(sizes, BASELINE_TAU + step, BASELINE_TAU, seed=1) for step in STEPS_AHEAD}


def judge_table(table: TruthTable, latency: Floats, *, quality: str = "loss", seed: int = 0) -> TableJudgement:
    """Judge the table's proxies, and `BASELINE` in any case, by the mean of all trainings of each sub-DiT.

    Args:
        latency: of each sub-DiT (n,), by which bands and fronts are made.
        quality: one of `table.qualities`.

    Raises `SearchError` where the table has no such quality, or fewer than four sub-DiTs.
    """
    losses = table.losses(quality)
    if len(losses) < _FEWEST:
        raise SearchError(f"The truth table has {len(losses)} sub-DiTs; train at least {_FEWEST}.")
    truth = np.asarray([each.mean() for each in losses])
    bands = latency_bands(latency)
    noise = training_noise(losses)
    scores = scores_of(table)

    def judged(name: str, values: Floats, seconds: float) -> ProxyJudgement:
        return ProxyJudgement(
            name,
            seconds,
            agreement(kendall_tau, values, truth, seed=seed),
            agreement(spearman_rho, values, truth, seed=seed),
            banded_agreement(values, truth, bands, seed=seed),
            compare(values, scores[BASELINE][0], truth, bands, seed=seed),
            regret_intervals(latency, values, truth, seed=seed),
        )

    predicted = predicted_qualities(table, {name: values for name, (values, _) in scores.items()}, truth)
    ceiling = find_ceiling(losses, seed=seed)
    within = ceiling_within(losses, latency, seed=seed)
    apart = None
    if noise is not None:
        apart = noise_regret(latency, truth, noise / np.sqrt([len(each) for each in losses]), seed=seed)
    selections = None
    if len(truth) >= _FEWEST_FOR_HALVES:
        selections = cross_fitted({name: values for name, (values, _) in scores.items()}, truth, latency, seed=seed)
    bias = None
    if quality == "loss" and INHERITED_LOSS in scores:
        bias = size_bias(flops_of(table), scores[INHERITED_LOSS][0], truth, seed=seed)
    return TableJudgement(
        quality,
        len(truth),
        sum(len(each) > 1 for each in losses),
        tuple(map(len, bands)),
        noise,
        ceiling,
        within,
        apart,
        early_ranks(table),
        tuple(judged(name, values, seconds) for name, (values, seconds) in scores.items()),
        selections,
        bias,
        tuple(judged(name, one.mean, 0.0) for name, one in predicted.items()),
        {name: coverage(one, truth) for name, one in predicted.items()},
        tuple(_verdicts(quality, ceiling, within)),
    )


def ceiling_within(losses: Sequence[Floats], latency: Floats, *, seed: int = 0) -> Ceiling | None:
    """The ceiling within bands of latency: `find_ceiling` of pairs within bands alone."""
    twice = np.flatnonzero([len(each) > 1 for each in losses])
    if len(twice) < _FEWEST:
        return None
    pairs = np.asarray([losses[row][:2] for row in twice])
    found = banded_agreement(pairs[:, 0], pairs[:, 1], latency_bands(latency[twice]), seed=seed)
    trainings = [len(each) for each in losses]
    return Ceiling(found, *(expected_reading(tau, trainings) for tau in (found.value, found.low, found.high)))


def early_ranks(table: TruthTable) -> dict[int, float]:
    """By number of updates, Kendall tau of the first trainings' loss then with their loss at the end.

    Both are of one training each, so noise that they share counts as agreement.
    """
    firsts = [row.trainings[0] for row in table.rows]
    known = set.intersection(*(set(training.curve) for training in firsts))
    last = np.asarray([training.qualities["loss"] for training in firsts])
    return {
        updates: float(kendall_tau(np.asarray([training.curve[updates] for training in firsts]), last))
        for updates in sorted(known)
    }


def _verdicts(quality: str, ceiling: Ceiling | None, within: Ceiling | None) -> list[str]:
    if ceiling is None:
        return ["Fewer than three sub-DiTs are trained twice, so nothing is known of the noise of the truth."]
    said = "{place} two trainings of a sub-DiT agree with tau {pair.value:.2f} ({pair.low:.2f} to {pair.high:.2f})"
    for place, found in (("Over all sub-DiTs,", ceiling), ("Within bands of latency,", within)):
        if found is not None and not found.tells_apart:
            return [
                f"{said.format(place=place, pair=found.pair)}, which may be chance: by {quality.replace('_', ' ')}, "
                "quality cannot be told apart there on this data, and no proxy can be judged there."
            ]
    return []
