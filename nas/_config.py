"""What a search is asked for: one frozen configuration, written alike in Python, on the command line and in files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

from subdit.core.errors import SearchError
from subdit.core.quantities import FIGURES
from subdit.core.quantities import LATENCY
from subdit.core.quantities import is_figure

if TYPE_CHECKING:
    from device_profiles import DeviceProfile
    from nas.proxies import QualityProxy

DEFAULT_PROXY = "validation_loss"
DEFAULT_TRIALS = 400
SAMPLERS = ("nsga2", "tpe", "random", "exhaustive")
FEWEST_TRAININGS = 8
"""Of sub-DiTs on their own, from which a calibration learns."""
MOST_EXHAUSTIVE = 20_000
"""Sub-DiTs within the constraints beyond which not everything is evaluated."""


@dataclass(frozen=True)
class SearchConfig:
    """A search. Raises `SearchError` where a setting is out of range; names are looked up by `nas.search`.

    Names are those of `subdit.core.quantities`: figures (`latency_ms`, `pipeline_ms`, `params`, `memory_mb`, `file_mb`,
    `gflops`) and ids of quality proxies. `latency_ms` and `pipeline_ms` stand for every device; `latency_ms@DEVICE` for
    one.

    Attributes:
        devices: device profiles by id, beginning of an id, file, or as objects; the first one names the search.
        objectives: what is minimised, at least one figure and one quality proxy, a proxy also as an object.
        constraints: upper limits by name, on figures and on those quality proxies that are objectives.
        sampler: one of `SAMPLERS`; "exhaustive" needs few sub-DiTs within the constraints.
        surrogate: whether "nsga2" lets a model fitted on the evaluations so far choose among its children.
        seed: of the proposals.
        steps: of a picture, for `pipeline_ms`.
        trials: evaluations after which the search ends; by default 400, or all of an exhaustive search.
        budget_s: seconds after which it ends, if that is sooner; those of killed attempts count.
        pick_at: further picks: by name of a figure or proxy the largest value; the best quality within it is picked.
        verify: how many sub-DiTs of the front to export and measure on this machine before searching again.
        calibrate_quality: how many sub-DiTs to train on their own, to correct the first quality proxy by them and to
            search again.
        calibrate_updates: of each of these trainings.
        allow_noisy: accept profiles, and what `verify` measures, of a noisy machine.

    The attributes up to `steps` identify a study: only searches that agree in them share one or resume each other.
    """

    devices: tuple[str | DeviceProfile, ...]
    objectives: tuple[str | QualityProxy, ...] = (LATENCY, DEFAULT_PROXY)
    constraints: Mapping[str, float] = field(default_factory=dict)
    sampler: str = "nsga2"
    surrogate: bool = True
    seed: int = 0
    steps: int = 4
    trials: int | None = None
    budget_s: float | None = None
    pick_at: Mapping[str, float] = field(default_factory=dict)
    verify: int = 0
    calibrate_quality: int = 0
    calibrate_updates: int = 600
    allow_noisy: bool = False

    def __post_init__(self) -> None:
        for name in ("devices", "objectives"):
            # One alone may stand for itself, and a list for a tuple.
            given = getattr(self, name)
            object.__setattr__(self, name, tuple(given) if isinstance(given, list | tuple) else (given,))
        if not self.devices:
            raise SearchError("No device is named; give --device.")
        if self.sampler not in SAMPLERS:
            raise SearchError(f"There is no sampler {self.sampler!r}; there is {', '.join(SAMPLERS)}.")
        if self.trial_limit < 1:
            raise SearchError(f"A search of {self.trials} trials finds nothing; give --trials at least 1.")
        if self.budget_s is not None and not (self.budget_s > 0 and math.isfinite(self.budget_s)):
            raise SearchError(f"The option budget_s is {self.budget_s}; it must be a finite number above zero.")
        qualities = [name for name in self.objective_names if not is_figure(name)]
        for name, limit in self.constraints.items():
            if not is_figure(name) and name not in qualities:
                raise SearchError(
                    f"There is no {name!r} to limit; there is {', '.join(FIGURES)}, and of quality proxies those that "
                    f"are objectives: {', '.join(qualities)}."
                )
            # What a proxy says may be negative.
            if not math.isfinite(limit) or (limit <= 0 and is_figure(name)):
                raise SearchError(f"The limit on {name} is {limit}; it must be a finite number above zero.")
        if self.seed < 0:
            raise SearchError(f"The seed is {self.seed}; it must not be negative.")
        if self.steps < 1:
            raise SearchError(f"A picture cannot be drawn in {self.steps} steps; take at least 1.")
        if self.verify < 0:
            raise SearchError(
                f"One cannot verify {self.verify} sub-DiTs; give --verify a number of at least 1, or leave it out."
            )

        if self.calibrate_quality and self.calibrate_quality < FEWEST_TRAININGS:
            raise SearchError(
                f"Of {self.calibrate_quality} trainings no quality can be learned; give --calibrate-quality at least "
                f"{FEWEST_TRAININGS}."
            )
        if self.calibrate_updates < 1:
            raise SearchError(f"A training of {self.calibrate_updates} updates is none; give --calibrate-updates more.")
        if self.calibrate_quality and self.verify:
            raise SearchError(
                "Latency and quality are corrected one after the other; give one of --verify and --calibrate-quality."
            )

    @property
    def objective_names(self) -> list[str]:
        """Names of the objectives as they were given, of a proxy that is an object its id."""
        return [each if isinstance(each, str) else each.id for each in self.objectives]

    @property
    def trial_limit(self) -> int:
        """Trials after which the search ends."""
        if self.trials is not None:
            return self.trials
        return MOST_EXHAUSTIVE if self.sampler == "exhaustive" else DEFAULT_TRIALS

    @property
    def budget(self) -> dict[str, Any]:
        """When the search ends, as search.json holds it."""
        return {"trials": self.trial_limit, "budget_s": self.budget_s}
