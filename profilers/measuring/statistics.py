"""Raw timings to latencies: interruptions are left out, drift is divided out, the lower quartile gets an interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from device_profiles import NOISE_LIMIT
from device_profiles import Z_95
from device_profiles import Latency
from device_profiles import Noise
from device_profiles import t_95
from profilers.measuring.rounds import REFERENCE_LONG_MS
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import Timings

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

QUANTILE = 0.25
"""The latency is the lower quartile of the timings.

Interference only adds time, and on a shared machine it adds more to long runs than to short ones. A median would show
that as a missing component. A minimum would select the noise of the correction for drift."""

# A timing was interrupted where the thread had a core for less of it than this.
_RUNNING_FRACTION = 0.98
_CLOCK_MS = 0.002
# Reference timings before and after each, whose median says how fast the machine was.
_NEIGHBOURS = 2
# Models of more than `REFERENCE_LONG_MS` are corrected by each other where there are at least `_FEWEST_LONG` of them.
# A timing's weight falls with its distance in time, by `_LEVEL_MS`, and grows with its length, up to `_COUNTED_MS`.
_FEWEST_LONG = 4
_LEVEL_MS = 1000.0
_COUNTED_MS = 300.0
_MOST_SLOWER = 0.15
_PASSES = 3
_TINY = 1e-300
# Where fewer timings of a model than this went undisturbed, all of them count.
_MIN_UNDISTURBED = 8


def corrected_ms(timings: Timings) -> dict[str, Floats]:
    """Undisturbed timings by name, corrected for drift; those of `REFERENCE` are not corrected.

    Each is multiplied by the reference kernel's typical time over its time around that moment. That kernel takes a
    fraction of a millisecond and stays in a cache; what slows memory down for models of more than `REFERENCE_LONG_MS`
    is seen by other such models only, so theirs are also divided by how slow all others were around them, beyond what
    the kernel says (`_correct_long_models`).
    """
    names = np.asarray(timings.names)
    wall, cpu = np.asarray(timings.wall_ms), np.asarray(timings.cpu_ms)
    undisturbed = cpu >= _RUNNING_FRACTION * wall - _CLOCK_MS
    is_reference = names == REFERENCE
    if not (is_reference & undisturbed).any():
        undisturbed = np.ones_like(undisturbed)
    references = np.flatnonzero(is_reference & undisturbed)
    typical = float(np.median(wall[references]))
    after = np.searchsorted(references, np.arange(len(names)))
    around = [
        references[np.clip(after + offset, 0, len(references) - 1)] for offset in range(-_NEIGHBOURS, _NEIGHBOURS)
    ]
    corrected = np.where(is_reference, wall, wall * typical / np.median(wall[np.stack(around)], axis=0))
    labels, model = np.unique(names, return_inverse=True)
    corrected = _correct_long_models(wall, corrected, model, undisturbed)
    found: dict[str, Floats] = {}
    order = np.argsort(model, kind="stable")
    starts = np.searchsorted(model[order], np.arange(1, len(labels)))
    for label, rows in zip(labels.tolist(), np.split(order, starts), strict=True):
        kept = rows[undisturbed[rows]]
        found[label] = corrected[kept if len(kept) >= min(_MIN_UNDISTURBED, len(rows)) else rows]
    return found


def _correct_long_models(wall: Floats, corrected: Floats, model: Rows, undisturbed: Flags) -> Floats:
    """`corrected`, but timings of long models are divided by how slow the other long models were around them.

    The slowness of a timing is its corrected length over the typical one of its model, which each pass computes again.
    Its weight grows with its length and falls with the time between the two timings, on a clock of the timings
    themselves. Slowness is clipped at 15 %: a timing of twice the length, as a page's first use makes it, says no more.
    The median correction is none, or noise that only adds time would be taken for a machine that is slow throughout.

    Args:
        wall: all timings in the order in which they were taken, in ms.
        corrected: the same, corrected by the reference kernel.
        model: number of what was timed.
        undisturbed: which of them say how slow the machine was.
    """
    kinds = range(int(model.max()) + 1)
    typical = np.asarray([np.median(corrected[model == kind]) for kind in kinds])
    is_long = typical[model] > REFERENCE_LONG_MS
    # Nothing else of its length, nothing better than the reference kernel.
    if len(np.unique(model[is_long])) < _FEWEST_LONG:
        return corrected
    end = np.cumsum(wall)
    begin = end - wall
    weight = np.minimum(typical, _COUNTED_MS)[model] * undisturbed
    rows = np.flatnonzero(is_long)
    levelled = corrected.copy()
    for _ in range(_PASSES):
        slower = np.clip(np.log(corrected / typical[model]), -_MOST_SLOWER, _MOST_SLOWER)
        for row in rows:
            gap = np.maximum(np.maximum(begin - end[row], begin[row] - end), 0.0)
            around = np.exp(-gap / _LEVEL_MS) * weight * (model != model[row])
            levelled[row] = corrected[row] * math.exp(-float(around @ slower) / max(float(around.sum()), _TINY))
        levelled[rows] *= np.median(corrected[rows] / levelled[rows])
        typical = np.asarray([np.median(levelled[model == kind]) for kind in kinds])
    return levelled


# Of fewer timings even the smallest and the largest hold the lower quartile less than 19 times in 20.
_FEWEST_ORDERED = 11
# Standard error of the lower quartile of normal numbers, over that of their mean.
_QUARTILE = 1.362


def latency_of(timings_ms: Floats) -> Latency:
    """Lower quartile with a 95 % interval from order statistics, which assumes no distribution.

    Fewer than 11 timings, as models of seconds have, give no such interval: theirs is that of Student's t for normal
    numbers, and a single timing's is as wide as the latency itself.
    """
    ordered = np.sort(timings_ms)
    count, value = len(ordered), float(np.quantile(ordered, QUANTILE))
    if count < 2:
        return Latency(value, 0.0, 2 * value, count)
    if count < _FEWEST_ORDERED:
        error = t_95(count - 1) * _QUARTILE * float(ordered.std(ddof=1)) / math.sqrt(count)
        return Latency(value, max(value - error, 0.0), value + error, count)
    half = Z_95 * math.sqrt(count * QUANTILE * (1 - QUANTILE))
    low = int(np.clip(math.floor(count * QUANTILE - half), 0, count - 1))
    high = int(np.clip(math.ceil(count * QUANTILE + half), 0, count - 1))
    return Latency(value, float(ordered[low]), float(ordered[high]), count)


def latencies(timings: Timings) -> dict[str, Latency]:
    """Latency of everything that was timed, the reference kernel too."""
    return {name: latency_of(values) for name, values in corrected_ms(timings).items()}


def within(names: Sequence[str], relative_ci: float) -> Callable[[Timings], bool]:
    """A stopping rule: the interval of each of these is within +-`relative_ci`."""

    def is_enough(timings: Timings) -> bool:
        found = corrected_ms(timings)
        return all(latency_of(found[name]).relative_ci <= relative_ci for name in names)

    return is_enough


def noise_of(timings: Timings, components: Sequence[str], whole: Sequence[str], *, attempts: int) -> Noise:
    """How quiet the machine was; see `Noise`."""
    found = corrected_ms(timings)
    reference = found[REFERENCE]
    quartiles = np.quantile(reference, [0.25, 0.5, 0.75])
    intervals: Mapping[str, float] = {name: latency_of(values).relative_ci for name, values in found.items()}
    halves = [_latency_by_name(found, 0), _latency_by_name(found, 1)]
    splits = [abs(halves[0][name] - halves[1][name]) / (halves[0][name] + halves[1][name]) for name in whole]
    if components:
        sums = [sum(half[name] for name in components) for half in halves]
        splits.append(abs(sums[0] - sums[1]) / (sums[0] + sums[1]))
    return Noise(
        drift=float((quartiles[2] - quartiles[0]) / quartiles[1]),
        component_ci=float(np.median([intervals[name] for name in components])) if components else 0.0,
        whole_ci=float(np.median([intervals[name] for name in whole])) if whole else 0.0,
        split=float(np.sqrt(np.mean(np.square(splits)))) if splits else 0.0,
        limit=NOISE_LIMIT,
        attempts=attempts,
    )


def is_noisy(noise: Noise) -> bool:
    """Whether the noise is above its limit."""
    return largest_noise(noise) > noise.limit


def largest_noise(noise: Noise) -> float:
    """The figure of a `Noise` that its limit is for: the larger median interval, or what the halves differ by."""
    return max(noise.component_ci, noise.whole_ci, noise.split)


def _latency_by_name(found: Mapping[str, Floats], half: int) -> dict[str, float]:
    """Latency by the first (0) or second (1) half of the timings; a single timing is both."""
    parts = {name: np.split(values, [len(values) // 2])[half] for name, values in found.items()}
    return {name: float(np.quantile(part if len(part) else found[name], QUANTILE)) for name, part in parts.items()}
