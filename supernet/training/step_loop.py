"""The loop of a training: steps until its budget is spent, a resume state every few seconds, progress."""

from __future__ import annotations

import time
from collections.abc import Callable

from subdit.core.errors import StoppedError
from subdit.core.progress import ProgressCallback
from supernet.training.resume_state import ResumeState
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState
from supernet.training.step_budget import advance
from supernet.training.step_budget import expectation
from supernet.training.step_budget import last_step
from supernet.training.world import World


def run_steps(
    budget: StepBudget,
    begun: StepState,
    kept: ResumeState,
    work: Callable[[StepState], str],
    *,
    progress: ProgressCallback,
    each: Callable[[StepState], None] = lambda state: None,
    save_every_s: float = 10.0,
    world: World | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> StepState:
    """Call `work` for each step that is left, with the state before it, and return the state at the end.

    `begun` is what `kept` has loaded. `work` returns a note for `progress`, which counts steps; its time is all that
    counts towards the ceiling. `each` is called after a step, before the state is saved. A cut is saved at once. The
    processes of a `world` agree on the time that a step took, the longest of theirs, so that one cut is for all. Where
    `stopped` says so in one of them, after a step that is not the last, all save and leave with `StoppedError`.
    """
    world = world or World()
    state, saved_s = begun, begun.elapsed_s
    while state.step < last_step(budget, state):
        started, cut = time.perf_counter(), state.cut
        note = work(state)
        taken_s, told = world.largest(time.perf_counter() - started, float(stopped()))
        state = advance(budget, state, taken_s)
        each(state)
        leaves = bool(told) and state.step < last_step(budget, state)
        if state.elapsed_s - saved_s > save_every_s or state.cut != cut or leaves:
            saved_s = state.elapsed_s
            kept.save(budget, state)
        if leaves:
            raise StoppedError(
                f"The system told this training to end (SIGTERM), and it did after step {state.step:,}; go on with "
                "--resume."
            )
        progress(state.step, last_step(budget, state), ", ".join(filter(None, (expectation(budget, state), note))))
    return state
