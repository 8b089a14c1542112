"""What every step of the demo gets: the run, the data set, the options, and how to speak."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol

from subdit._demo._budget import DemoBudget
from subdit.core.progress import ProgressCallback
from subdit.core.run import Run
from subdit.core.run import read_manifest

PICKS = ("fastest", "balanced", "best")

Bar = Callable[[str], AbstractContextManager[ProgressCallback]]
"""A title to the progress bar of a step."""


class DemoDataSet(Protocol):
    """A data set that the demo can take.

    Attributes:
        name: on the command line, and what its pictures are called.
        space: whose supernet is trained.
        budget: of a demo that is told none.
        ceiling_s: likewise, of all training.
        run: likewise, its folder.
        guidance_scale: of samples that no distillation has put guidance into.
        training: what its supernet's training has other than the defaults.
    """

    name: str
    space: str
    budget: DemoBudget
    ceiling_s: float
    run: Path
    guidance_scale: float
    training: Mapping[str, Any]

    def prepare(self, demo: Demo) -> str:
        """See to it that the data set is there, and say what it is; returns what training opens it by."""
        ...

    def prompts(self, run: Run) -> list[str]:
        """A hundred captions that each pick draws, the same ones in every run."""
        ...

    def rest_steps(self, budget: DemoBudget) -> float:
        """How many steps of the supernet take as long as exporting, searching, drawing and judging."""
        ...


@dataclass(frozen=True)
class Demo:
    """A demo on its way.

    Attributes:
        run: its run folder.
        data: what is trained on.
        budget: of its steps.
        seed: of training and search.
        ceiling_s: seconds that the steps of all training may take, None for no limit.
        constraints: of the search.
        say: is told what happens next.
        bar: shows progress.
    """

    run: Run
    data: DemoDataSet
    budget: DemoBudget
    seed: int
    ceiling_s: float | None
    constraints: Mapping[str, float]
    say: Callable[[str], None]
    bar: Bar

    def has_done(self, step: str) -> bool:
        """Whether the run's manifest has the step as finished."""
        return step in read_manifest(self.run)["steps"]
