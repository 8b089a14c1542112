"""Workers on a shared study: each trial belongs to one worker, and a dead worker's trial goes to another.

This works with every Optuna storage. A trial's attributes name its worker. Each living worker increments a counter in
the study's attributes; the others watch that counter by their own clocks, so clocks need not agree. When a counter has
not changed for too long, the worker counts as dead and its trials are failed, which a storage allows once per trial.
The worker that failed a trial puts its sub-DiT back into the queue.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from nas.study._storage import silence_optuna
from nas.study._trials import NothingLeftError
from nas.study._trials import SubDiTSampler
from nas.study._trials import suggested_spec
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec

_BEATS = 6
"""Heartbeats in the time after which a worker counts as dead."""
_ALIVE = "alive:"
_WORKER = "worker"


class Worker:
    """One worker's view of a shared study."""

    def __init__(self, study: Study, space: SearchSpace, sampler: SubDiTSampler, *, stale_s: float) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._study = study
        self._space = space
        self._sampler = sampler
        self._stale_s = stale_s
        self._watched: dict[int, tuple[Any, float]] = {}

    @contextlib.contextmanager
    def alive(self, open_study: Callable[[], Study]) -> Iterator[None]:
        """Send heartbeats meanwhile, over a connection of their own."""
        stop = threading.Event()
        own = open_study()

        def beat() -> None:
            count = 0
            while True:
                count += 1
                # A storage that is unreachable for a while must not end the worker; its trials fail if it stays so.
                with contextlib.suppress(Exception), silence_optuna():
                    own.set_user_attr(f"{_ALIVE}{self.name}", count)
                if stop.wait(self._stale_s / _BEATS):
                    return

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def next_trial(self, goal: int) -> tuple[Trial, SubDiTSpec] | None:
        """A trial and its spec; None where other workers have the goal's last trials, or these are finished."""
        self._give_back()
        if len(self._kept()) >= goal:
            return None
        trial = self._study.ask()
        trial.set_user_attr(_WORKER, self.name)
        try:
            spec = suggested_spec(trial, self._space)
        except NothingLeftError:
            self._drop(trial, "nothing was left to evaluate")
            return None
        # Write, then read: of two workers that took the same sub-DiT, or the last trial, at least one sees the other.
        others = [other for other in self._kept() if other.number != trial.number]
        if sum(other.number < trial.number for other in others) >= goal:
            self._drop(trial, "the goal was reached")
            return None
        if any(other.params == trial.params for other in others):
            self._drop(trial, "another worker had taken the same sub-DiT")
            return self.next_trial(goal)
        return trial, spec

    def is_mine(self, trial: Trial) -> bool:
        """Whether the trial was not given to another worker meanwhile."""
        state: TrialState = self._study._storage.get_trial(trial._trial_id).state
        return state == TrialState.RUNNING

    def _kept(self) -> list[FrozenTrial]:
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        return self._study.get_trials(deepcopy=False, states=states)

    def _drop(self, trial: Trial, why: str) -> None:
        trial.set_user_attr("dropped", why)
        with contextlib.suppress(UpdateFinishedTrialError), silence_optuna():
            self._study.tell(trial, state=TrialState.FAIL)

    def _give_back(self) -> None:
        """Put the trials of dead workers back into the queue."""
        now = time.monotonic()
        beats = self._study.user_attrs
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            worker = trial.user_attrs.get(_WORKER)
            if worker == self.name:
                continue
            sign = beats.get(f"{_ALIVE}{worker}")
            seen = self._watched.get(trial._trial_id)
            if seen is None or seen[0] != (worker, sign):
                self._watched[trial._trial_id] = ((worker, sign), now)
            elif now - seen[1] > self._stale_s:
                self._requeue(trial)

    def _requeue(self, trial: FrozenTrial) -> None:
        storage = self._study._storage
        try:
            if not storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL):
                return
        except UpdateFinishedTrialError:
            return
        # Read again: the dead worker may have written parameters since.
        params = storage.get_trial(trial._trial_id).params
        if len(params) == len(self._space.dimensions):
            with silence_optuna():
                self._study.enqueue_trial(dict(params), user_attrs={"retry_of": trial.number})


def tell(study: Study, trial: Trial, values: list[float]) -> bool:
    """Finish a trial; False where it was given to another worker meanwhile."""
    try:
        with silence_optuna():
            study.tell(trial, values)
    except (UpdateFinishedTrialError, ValueError):
        # Optuna refuses what is finished already with either.
        if study._storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
            raise
        return False
    return True
