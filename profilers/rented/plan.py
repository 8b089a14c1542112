"""What is measured on a rented phone: which models of a kit, in which order, in how many sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from profilers.kits.kit import open_kit
from profilers.measuring.kit_selection import check_device
from profilers.measuring.kit_selection import select_models
from profilers.rented.rental import Rental
from subdit.core.errors import DeviceError
from subdit.core.errors import KitError

SESSIONS = 3
"""Sessions of each model where nothing else is asked for."""

FEWEST_SESSIONS = 2
"""One session alone shows nothing of what sessions differ by."""


@dataclass(frozen=True)
class Plan:
    """The sessions of a kit on one device.

    Attributes:
        kit: with those whole sub-DiTs that are measured.
        sessions: how often each model is measured.
    """

    kit: Kit
    rental: Rental
    sessions: int

    @property
    def count(self) -> int:
        return self.sessions * len(self.kit.entries)

    def order(self) -> Iterator[tuple[int, KitEntry]]:
        """Rounds from 1, and in each every model once, in an order of its own.

        What makes a phone slow for an hour then slows a round of all models, and not all sessions of one.
        """
        entries = self.kit.entries
        for round_ in range(1, self.sessions + 1):
            for index in np.random.default_rng([0, round_]).permutation(len(entries)):
                yield round_, entries[index]


def make_plan(
    kit_dir: Path,
    rental: Rental,
    *,
    sessions: int = SESSIONS,
    precision: str | None = None,
    calibrate: int | None = None,
) -> Plan:
    """The plan for a kit.

    Args:
        kit_dir: folder of the kit, of .tflite files.
        rental: the device.
        sessions: how often each model is measured.
        precision: None, or that of the weights which the kit must have.
        calibrate: number of the kit's whole sub-DiTs to measure; by default all.

    Raises:
        DeviceError: too few sessions.
        KitError: the kit is missing, damaged, or of another format.
        ProfileError: an impossible device name.
    """
    check_device(rental.device)
    if sessions < FEWEST_SESSIONS:
        raise DeviceError(f"{sessions} session shows nothing of what sessions differ by; pass --sessions 2 or more.")
    kit = open_kit(kit_dir)
    if kit.format != "tflite":
        raise KitError(
            f"Rented phones are measured with .tflite files, not {kit.format}; make a kit with --runtime litert."
        )
    chosen, _ = select_models(kit, precision=precision, calibrate=calibrate)
    return Plan(chosen, rental, sessions)
