"""What every step of the demo gets: the run, the options, and how to speak."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from subdit._demo._budget import DemoBudget
from subdit.core.progress import ProgressCallback
from subdit.core.run import Run
from subdit.core.run import read_manifest

SPACE = "digits"
PICKS = ("fastest", "balanced", "best")

Bar = Callable[[str], AbstractContextManager[ProgressCallback]]
"""A title to the progress bar of a step."""


@dataclass(frozen=True)
class Demo:
    """A demo on its way.

    Attributes:
        run: its run folder.
        budget: of its steps.
        seed: of training and search.
        ceiling_s: seconds that the steps of all training may take, None for no limit.
        constraints: of the search.
        say: is told what happens next.
        bar: shows progress.
    """

    run: Run
    budget: DemoBudget
    seed: int
    ceiling_s: float | None
    constraints: Mapping[str, float]
    say: Callable[[str], None]
    bar: Bar

    def has_done(self, step: str) -> bool:
        """Whether the run's manifest has the step as finished."""
        return step in read_manifest(self.run)["steps"]
