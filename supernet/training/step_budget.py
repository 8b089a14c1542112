"""Budgets in steps, with a ceiling in seconds that may cut a training short.

While the ceiling does not bind, time enters nothing: the learning rate is a function of step and number of steps. When
nine tenths of the ceiling are spent and the steps that are left do not fit into the rest at the pace so far, the
training is cut: then and only then its last step is fixed, and the rate falls linearly to zero until there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace

from subdit.core.errors import RunError
from subdit.core.training_record import TrainingRecord
from subdit.core.training_record import duration

CUT_SHARE = 0.9
"""Share of the ceiling after which a training may be cut, so that a tenth is left to cool down in."""

PACE_STEPS = 3
"""Steps after which the pace says how long the training takes."""


@dataclass(frozen=True)
class StepBudget:
    """How long a training is.

    Attributes:
        steps: steps that are made where the ceiling allows them.
        ceiling_s: seconds that the steps may take, None for any number.

    Raises:
        RunError: there is no step, or no time.
    """

    steps: int
    ceiling_s: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise RunError(f"A training of {self.steps} steps learns nothing; give at least 1.")
        if self.ceiling_s is not None and not self.ceiling_s > 0:
            raise RunError(f"A ceiling of {self.ceiling_s:g} seconds leaves no time; give more, or --no-ceiling.")


@dataclass(frozen=True)
class Cut:
    """Where a training was cut: decided after `step` steps, it ends after `last`."""

    step: int
    last: int


@dataclass(frozen=True)
class StepState:
    """How far a training is: steps made, the seconds that they took in all processes, and its cut."""

    step: int = 0
    elapsed_s: float = 0.0
    cut: Cut | None = None


def last_step(budget: StepBudget, state: StepState) -> int:
    """After how many steps the training ends, as far as is known now."""
    return budget.steps if state.cut is None else state.cut.last


def advance(budget: StepBudget, state: StepState, seconds: float) -> StepState:
    """The state after a further step that took so many seconds, cut where what is left does not fit."""
    after = replace(state, step=state.step + 1, elapsed_s=state.elapsed_s + seconds)
    if after.cut is not None or budget.ceiling_s is None or after.elapsed_s < CUT_SHARE * budget.ceiling_s:
        return after
    left_s, pace_s = max(0.0, budget.ceiling_s - after.elapsed_s), after.elapsed_s / after.step
    last = after.step + max(1, int(left_s / pace_s))
    return after if last >= budget.steps else replace(after, cut=Cut(after.step, last))


def learning_rate_share(budget: StepBudget, state: StepState, schedule: Callable[[float], float]) -> float:
    """Share of the peak learning rate for the next step; `schedule` gives it for a share of the training, 0 to 1."""
    if state.cut is None:
        return schedule(state.step / budget.steps)
    start, last = state.cut.step, state.cut.last
    # The quotient first: it is exactly 1 where the cut begins.
    return schedule(start / budget.steps) * ((last - state.step) / (last - start))


def expectation(budget: StepBudget, state: StepState) -> str:
    """What a progress bar says, such as "step 40 of 1,235, about 5 minutes in all"."""
    said = f"step {state.step:,} of {last_step(budget, state):,}"
    if state.cut is not None:
        return f"{said}, cut from {budget.steps:,} by the ceiling in seconds"
    if state.step < PACE_STEPS:
        return said
    whole_s = state.elapsed_s / state.step * budget.steps
    if budget.ceiling_s is not None and whole_s > budget.ceiling_s:
        near = int(state.step * budget.ceiling_s / state.elapsed_s)
        return f"{said}, about {duration(whole_s)}; the ceiling of {duration(budget.ceiling_s)} cuts it near {near:,}"
    return f"{said}, about {duration(whole_s)} in all"


def record(budget: StepBudget, state: StepState) -> TrainingRecord:
    """What a finished training leaves of itself."""
    cut = None if state.cut is None else state.cut.step
    return TrainingRecord(state.step, budget.steps, round(state.elapsed_s, 1), cut)
