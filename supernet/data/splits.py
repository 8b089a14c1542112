"""Which pictures train, which validate, and which only judge: a pure function of their group."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from subdit.core.errors import DataError

SPLITS = ("train", "validation", "judge")


@dataclass(frozen=True)
class SplitRule:
    """How pictures are divided. Pictures of one group are never apart, whatever else the source holds.

    Attributes:
        validation: fraction that nothing is trained on, but choices may be made by.
        judge: fraction that only judges.
        seed: of the division.
        group_by: column whose value is the group; None where the group is the content of the picture file, so that
            copies stay together.

    Raises:
        DataError: the fractions are none, or leave nothing to train on.
    """

    validation: float = 0.05
    judge: float = 0.1
    seed: int = 0
    group_by: str | None = None

    def __post_init__(self) -> None:
        if not (self.validation >= 0 and self.judge >= 0 and self.validation + self.judge < 1):
            raise DataError(
                f"Fractions of {self.validation:g} for validation and {self.judge:g} for judging leave nothing to "
                "train on; give two of at least 0 that are below 1 together."
            )

    def split(self, group: str) -> str:
        """The split of a group, of `SPLITS`."""
        digest = hashlib.sha256(f"{self.seed}\0{group}".encode("utf-8", "surrogateescape")).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        if place < self.judge:
            return "judge"
        return "validation" if place < self.judge + self.validation else "train"
