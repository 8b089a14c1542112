"""The error of plain sums of component latencies where no whole sub-DiT was measured: assumed, not measured.

A part that is timed alone has its weights in a cache, and includes the cost of starting a run. Both depend on the
device, and such a profile does not say how. So the error of other profiles is assumed: log(measured / plain sum) of
whole sub-DiTs, over every runtime and space with stored timings, as `benchmarks/interval_coverage.py` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_profiles._statistics import Z_95
from device_profiles._statistics import t_95


@dataclass(frozen=True)
class PlainSums:
    """Distribution of log(measured / plain sum).

    Attributes:
        mean: over groups of profiles of one runtime and space, each of the mean over its sub-DiTs.
        between: standard deviation of the groups' means: the error that all sub-DiTs of a profile share.
        within: standard deviation of sub-DiTs around the mean of their profile.
        groups: how many there are.
    """

    mean: float
    between: float
    within: float
    groups: int

    @property
    def half(self) -> float:
        """Half the 95 % interval of a sub-DiT of another device, around `mean`, in logarithms.

        By Student's t, because mean and standard deviation are estimates from `groups` groups.
        """
        variance = self.between**2 * (1 + 1 / self.groups) + self.within**2
        return t_95(self.groups - 1) * float(np.sqrt(variance))

    @property
    def half_apart(self) -> float:
        """The same of a sub-DiT's own error, without the error that all sub-DiTs of its profile share."""
        return Z_95 * self.within

    def statement(self) -> str:
        """One sentence on the interval of an estimate without whole measurements."""
        low, high = (100 * float(np.expm1(self.mean + sign * self.half)) for sign in (-1, 1))
        return (
            "Nothing whole was measured, so the 95 % interval is assumed, not measured: a sub-DiT is taken to need "
            f"{low:+.0f} to {high:+.0f} % more than its plain sum, as on other runtimes and spaces; calibrate on whole "
            "sub-DiTs for a narrower one."
        )


ASSUMED = PlainSums(mean=0.074, between=0.071, within=0.019, groups=8)
"""From 14 profiles of 8 pairs of runtime and space, all of one kind of processor: phones and browsers may be worse."""
