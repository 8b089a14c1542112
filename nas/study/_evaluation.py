"""Trials evaluated until a search's budget is used up: by one process, or by workers on a shared study."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from optuna.study import Study
from optuna.trial import Trial

from nas._problem import SearchProblem
from nas.proxies import QualityStore
from nas.study._location import StudyLocation
from nas.study._trials import SubDiTSampler
from nas.study._trials import finished_trials
from nas.study._trials import next_trial
from nas.study._trials import note_trial
from nas.study._trials import open_study
from nas.study._worker import Worker
from nas.study._worker import tell
from subdit.core.progress import ProgressCallback
from subdit.core.quantities import LATENCY
from subdit.core.quantities import PARAMS
from subdit.space import SubDiTSpec

_POLL_S = 0.2


@dataclass(frozen=True)
class SearchState:
    """A search at work.

    Attributes:
        stores: quality evaluations by proxy.
        goal: finished trials at which the search ends.
        started: by `time.monotonic`.
    """

    problem: SearchProblem
    stores: Mapping[str, QualityStore]
    study: Study
    sampler: SubDiTSampler
    goal: int
    started: float
    progress: ProgressCallback

    def is_over(self, done: int, earlier_s: float = 0.0) -> bool:
        """Report progress, and whether the goal is reached or the seconds are spent; `earlier_s` by killed attempts."""
        spent_s, budget_s = earlier_s + time.monotonic() - self.started, self.problem.config.budget_s
        fraction = max(done / self.goal, spent_s / budget_s if budget_s else 0.0)
        self.progress(min(fraction, 1.0), 1.0, f"{done} sub-DiTs evaluated")
        return done >= self.goal or (budget_s is not None and spent_s >= budget_s and done > 0)


def evaluate_alone(state: SearchState) -> float:
    """Run trials until the search is over; returns the seconds spent, those of killed attempts included."""
    done = finished_trials(state.study)
    earlier_s, count = sum(float(trial.user_attrs["seconds"]) for trial in done), len(done)
    while not state.is_over(count, earlier_s):
        began = time.monotonic()
        trial, spec = next_trial(state.study, state.problem.tables.space)
        state.study.tell(trial, _evaluate(state, trial, spec, began))
        count += 1
    return round(earlier_s + time.monotonic() - state.started, 3)


def evaluate_shared(state: SearchState, location: StudyLocation) -> float:
    """Run trials beside other workers until the search is over; returns the seconds spent by this one."""
    worker = Worker(state.study, state.problem.tables.space, state.sampler, stale_s=location.stale_s)
    names = state.problem.objectives.names
    with worker.alive(lambda: open_study(location.where, location.study_name, state.sampler, names)):
        while not state.is_over(len(finished_trials(state.study))):
            began = time.monotonic()
            found = worker.next_trial(state.goal)
            if found is None:
                time.sleep(min(_POLL_S, location.stale_s / 10))
                continue
            trial, spec = found
            values = _evaluate(state, trial, spec, began, is_mine=partial(worker.is_mine, trial))
            if values is not None:
                tell(state.study, trial, values)
    return round(time.monotonic() - state.started, 3)


def _evaluate(
    state: SearchState, trial: Trial, spec: SubDiTSpec, began: float, *, is_mine: Callable[[], bool] = lambda: True
) -> list[float] | None:
    """Objective values of a trial, its notes stored; None where it was given to another worker meanwhile."""
    problem, stores = state.problem, state.stores
    known = problem.tables.look_up(problem.tables.space.encode([spec]))
    paid = sum(store.evaluations for store in stores.values())
    values = known.row(0) | {name: store.value(spec) for name, store in stores.items()}
    if not is_mine():
        return None
    notes = {
        "spec": str(spec),
        "spec_hash": spec.hash,
        "latency_low_ms": float(known.low_ms[0]),
        "latency_high_ms": float(known.high_ms[0]),
        "params": int(known.params[0]),
        **{name: values[name] for name in known.figures if name not in (LATENCY, PARAMS)},
        # For workers on other machines: what this one paid for is in the study and not in their stores.
        "half_widths": {name: store.half_width(spec) for name, store in stores.items()},
        "from_store": sum(store.evaluations for store in stores.values()) == paid,
        "rejected": state.sampler.rejected,
        "candidates_scored": state.sampler.candidates_scored,
        "seconds": round(time.monotonic() - began, 4),
    }
    note_trial(trial, problem.violations(values), notes)
    return [values[name] for name in problem.objectives.names]
