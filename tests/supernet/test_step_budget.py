"""Budgets in steps: what a ceiling decides, and when."""

from __future__ import annotations

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from subdit.core.errors import RunError
from supernet.training.optimizers import schedule
from supernet.training.step_budget import CUT_SHARE
from supernet.training.step_budget import Cut
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState
from supernet.training.step_budget import advance
from supernet.training.step_budget import expectation
from supernet.training.step_budget import last_step
from supernet.training.step_budget import learning_rate_share
from supernet.training.step_budget import record


def walked(budget: StepBudget, paces: list[float]) -> list[StepState]:
    """All states of a training whose steps take so long, the last pace repeated."""
    states = [StepState()]
    while (state := states[-1]).step < last_step(budget, state):
        states.append(advance(budget, state, paces[min(state.step, len(paces) - 1)]))
    return states


paces = st.lists(st.floats(0.01, 10), min_size=1, max_size=60)


@given(st.integers(1, 60), st.floats(0.05, 300), paces)
@example(54, 137.0, [1.0, 4.0])
def test_a_training_ends_cooled_down_whatever_its_pace(steps: int, ceiling_s: float, seconds: list[float]) -> None:
    budget = StepBudget(steps, ceiling_s)
    states = walked(budget, seconds)
    end = states[-1]
    cuts = {state.cut for state in states if state.cut is not None}
    assert len(cuts) <= 1, "a cut is decided once"
    assert end.step <= steps and (end.step == steps) == (end.cut is None)
    rates = [learning_rate_share(budget, state, lambda share: schedule(share, 0.05)) for state in states[:-1]]
    plain = [schedule(step / steps, 0.05) for step in range(end.step)]
    if end.cut is None:
        assert rates == plain
        return
    decided = states[end.cut.step]
    assert decided.cut is not None and states[end.cut.step - 1].cut is None
    assert decided.elapsed_s >= CUT_SHARE * ceiling_s
    assert decided.elapsed_s + (steps - decided.step) * decided.elapsed_s / decided.step > ceiling_s
    assert rates[: decided.step + 1] == plain[: decided.step + 1]
    falling = rates[decided.step :]
    expected = [falling[0] * (1 - index / len(falling)) for index in range(len(falling))]
    assert falling == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 60), paces)
def test_what_fits_is_never_cut(steps: int, seconds: list[float]) -> None:
    whole_s = sum(seconds[min(index, len(seconds) - 1)] for index in range(steps))
    slowest = max(seconds)
    for budget in (StepBudget(steps), StepBudget(steps, max(whole_s, slowest * steps) * 1.2)):
        assert walked(budget, seconds)[-1].cut is None


def test_an_even_pace_fills_the_ceiling() -> None:
    budget = StepBudget(1000, 50.0)
    end = walked(budget, [0.125])[-1]
    assert end == StepState(400, 50.0, Cut(360, 400))
    assert record(budget, end).whole_s == 125.0


def test_what_is_expected_is_said() -> None:
    budget = StepBudget(1235, 495.0)
    assert expectation(budget, StepState(2, 0.5)) == "step 2 of 1,235"
    assert expectation(budget, StepState(10, 2.5)) == "step 10 of 1,235, about 5 minutes in all"
    slow = "step 10 of 1,235, about 21 minutes; the ceiling of 8 minutes cuts it near 495"
    assert expectation(budget, StepState(10, 10.0)) == slow
    assert expectation(budget, StepState(460, 460.0, Cut(446, 495))).startswith("step 460 of 495, cut from 1,235")


@pytest.mark.parametrize(("steps", "ceiling_s"), [(0, None), (-3, 5.0), (5, 0.0), (5, float("nan"))])
def test_no_steps_and_no_time_are_refused(steps: int, ceiling_s: float | None) -> None:
    with pytest.raises(RunError):
        StepBudget(steps, ceiling_s)
