"""What plain sums of component latencies are off by where nothing whole was measured: assumed, not measured.

A part that is timed alone finds its weights in a nearer cache than in a whole sub-DiT, and pays by itself for being
started. How much either is depends on the device, which such a profile does not tell. So what is known of others is
assumed: log(measured / plain sum) of whole sub-DiTs on every runtime and space that there are stored timings of, as
`benchmarks/interval_coverage.py` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_profiles._statistics import Z_95
from device_profiles._statistics import t_95


@dataclass(frozen=True)
class PlainSums:
    """How far log(measured / plain sum) is from 0.

    Attributes:
        mean: over groups of profiles of one runtime and space, each of the mean over its sub-DiTs.
        between: standard deviation of the groups' means: what all sub-DiTs of a profile are off by alike.
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

        Student's t: the mean and the spread of the groups are themselves known from so many groups only.
        """
        variance = self.between**2 * (1 + 1 / self.groups) + self.within**2
        return t_95(self.groups - 1) * float(np.sqrt(variance))

    @property
    def half_apart(self) -> float:
        """The same of what a sub-DiT is off by beside what all of its profile are off by alike."""
        return Z_95 * self.within

    def statement(self) -> str:
        """What the interval of an estimate without whole measurements is, in one sentence."""
        low, high = (100 * float(np.expm1(self.mean + sign * self.half)) for sign in (-1, 1))
        return (
            "Nothing whole was measured, so the 95 % interval is assumed, not measured: a sub-DiT is taken to need "
            f"{low:+.0f} to {high:+.0f} % more than its plain sum, as on other runtimes and spaces; calibrate on whole "
            "sub-DiTs for a narrower one."
        )


ASSUMED = PlainSums(mean=0.074, between=0.071, within=0.019, groups=8)
"""From 14 profiles of 8 pairs of runtime and space, all of one kind of processor: phones and browsers may be worse."""
