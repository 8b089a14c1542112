"""`Guard` lets a phone cool and ends a measurement: a hot phone, or one of low charge, is slower."""

from __future__ import annotations

import time
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from profilers.adb.adb import Phone
from profilers.adb.adb import StoppedError
from profilers.adb.phone import PhoneState
from profilers.adb.phone import read_state
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import Timings
from subdit.core.errors import DeviceError

PAUSE_C = 38.0
"""At this temperature of battery or skin measuring pauses; phones begin to lower their clocks at about 40 degrees."""

END_C = 45.0
"""At this it ends."""

THROTTLED = 2
"""At this thermal status of Android, "moderate", measuring pauses."""

LOW_PERCENT = 20.0
"""Below this charge it ends: phones save power then."""

SLOW = 1.15
"""Measuring pauses where the reference kernel takes this factor longer than in its quickest quarter."""

MAX_PAUSES = 20
"""A phone that is still warm after this number of pauses in a row ends the measurement."""

# A kernel that stays slow for more pauses is not slow from heat; the correction for drift deals with it.
_MAX_SLOW_PAUSES = 3
_LOOK_EVERY_S = 5.0
_RECENT = 3
_ENOUGH = 12


@dataclass
class Guard:
    """Watches one phone while it is measured.

    Attributes:
        cooling_s: length of a pause.
        hottest_c, lowest_percent: seen so far; None where the phone does not tell.
        pauses: so far.
    """

    phone: Phone
    cooling_s: float
    hottest_c: float | None = None
    lowest_percent: float | None = None
    pauses: int = 0
    _looked: float = field(default=-np.inf)
    _slow_pauses: int = 0

    def look(self) -> str:
        """The reason to pause now, or an empty text; asks the phone every few seconds.

        Raises:
            DeviceError: the phone is too hot, or its battery too low, to go on.
        """
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return ""
        self._looked = time.monotonic()
        return self._judge(self._read())

    def is_slow(self, timings: Timings) -> bool:
        """Whether to pause because the reference kernel has become slow; to be asked after each timing of it."""
        self._slow_pauses = self._slow_pauses + 1 if slowdown(timings) > SLOW else 0
        return 0 < self._slow_pauses <= _MAX_SLOW_PAUSES

    def cool(self, why: str) -> None:
        """Pause until the reason is gone.

        Raises:
            DeviceError: it does not go, or the battery ran low.
            StoppedError: the event of the phone's adb was set.
        """
        for _ in range(MAX_PAUSES):
            self.pauses += 1
            if self.phone.adb.stop.wait(self.cooling_s):
                raise StoppedError
            why = self._judge(self._read())
            if not why:
                self._looked = time.monotonic()
                return
        raise DeviceError(
            f"The phone {self.phone.serial} does not cool ({why} after {MAX_PAUSES} pauses of {self.cooling_s:g} s); "
            "put it in a cool place, out of its case, and run the same command to go on where it was."
        )

    def _read(self) -> PhoneState:
        state = read_state(self.phone)
        if state.temperature_c is not None:
            self.hottest_c = max(state.temperature_c, self.hottest_c or state.temperature_c)
        if state.battery_percent is not None:
            lowest = state.battery_percent if self.lowest_percent is None else self.lowest_percent
            self.lowest_percent = min(state.battery_percent, lowest)
        return state

    def _judge(self, state: PhoneState) -> str:
        if state.battery_percent is not None and state.battery_percent < LOW_PERCENT:
            raise DeviceError(
                f"The battery of the phone {self.phone.serial} is at {state.battery_percent:.0f} %, below "
                f"{LOW_PERCENT:.0f} %; charge it and run the same command to go on where it was."
            )
        if state.temperature_c is not None and state.temperature_c >= END_C:
            raise DeviceError(
                f"The phone {self.phone.serial} has {state.temperature_c:.1f} C, above {END_C:.0f} C; let it cool and "
                "run the same command to go on where it was."
            )
        if state.temperature_c is not None and state.temperature_c >= PAUSE_C:
            return f"it has {state.temperature_c:.1f} C"
        return f"its thermal status is {state.throttling}" if state.throttling >= THROTTLED else ""


def slowdown(timings: Timings) -> float:
    """The reference kernel's latest timings over its quickest quarter; 1 while there are too few to say."""
    taken = [ms for name, ms in zip(timings.names, timings.wall_ms, strict=True) if name == REFERENCE]
    if len(taken) < _ENOUGH:
        return 1.0
    return float(np.median(taken[-_RECENT:]) / np.quantile(taken, 0.125))
