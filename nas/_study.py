"""The Optuna study of a search: its journal file, its parameters, and a sampler without memory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalFileOpenLock
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from nas._evolution import Evaluated
from nas._evolution import evaluated_from
from nas._evolution import propose
from nas._limits import Tables
from nas.proxies._store import drop_torn_line
from subdit.errors import RunError
from subdit.errors import SearchError
from supernet.space import EncodedSpecs
from supernet.space import SearchSpace
from supernet.space import SubDiTSpec

OBJECTIVES = ("latency_ms", "quality")


class SubDiTSampler(BaseSampler):
    """NSGA-II over a search space and its tables, as an Optuna sampler; see `nas._evolution`.

    Each proposal is drawn from the seed, the number of trials and the trials themselves, so that a killed study goes on
    as if it had not been; Optuna's own samplers hold their random state in memory and do not. The initial points are
    proposed, not enqueued, for the same reason. Raises `SearchError` where no feasible spec is left.
    """

    redrawn = 0
    """Candidates that the limits ruled out before the last proposal."""

    def __init__(self, tables: Tables, initial: EncodedSpecs, *, seed: int) -> None:
        self._tables = tables
        self._initial = initial
        self._seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self._tables.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        evaluated = _evaluated(self._tables.space, study, without=trial.number)
        proposal = propose(self._tables, seed=self._seed, initial=self._initial, evaluated=evaluated)
        if proposal is None:
            raise SearchError("Every sub-DiT within the limits was evaluated; the search has nothing left to ask for.")
        self.redrawn = proposal.redrawn
        return self._tables.space.values(self._tables.space.decode(proposal.row[None])[0])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise RunError(f"The study asks for an unknown dimension {param_name!r}; search again under another name.")


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's parameters: each elastic dimension by its name in the space, with its listed values."""
    return {label: CategoricalDistribution(values) for label, values in space.dimensions.items()}


def open_study(path: Path, name: str, sampler: BaseSampler) -> Study:
    """Open the study in this journal file, or begin it; raises `RunError` where the file is damaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _quiet():
            storage = JournalStorage(_Journal(path))
            study = optuna.create_study(
                study_name=name,
                storage=storage,
                sampler=sampler,
                directions=[StudyDirection.MINIMIZE, StudyDirection.MINIMIZE],
                load_if_exists=True,
            )
            if study.metric_names is None:
                study.set_metric_names(list(OBJECTIVES))
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise RunError(f"The study at {path} is damaged ({error}); search again with --force.") from error
    return study


def next_trial(study: Study, space: SearchSpace) -> tuple[Trial, SubDiTSpec]:
    """Ask for a trial, or take up the one that a killed process left running, and its spec.

    The caller must be the study's only worker: a running trial is taken to be a dead one's.
    """
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    # The unfinished trial is gone on with, not failed and repeated, so that numbers are as if nothing had happened.
    trial = Trial(study, left[0]._trial_id) if left else study.ask()
    # Drawn here in any case, so that the sampler knows what it redrew for a trial whose values are stored already.
    _ = trial.relative_params
    values = {label: trial.suggest_categorical(label, allowed) for label, allowed in space.dimensions.items()}
    return trial, space.spec({label: int(value) for label, value in values.items() if value is not None})


def finish_trial(
    study: Study, trial: Trial, values: tuple[float, float], constraints: dict[str, float], notes: dict[str, Any]
) -> None:
    """Store objectives, constraints (kept where <= 0) and user attributes of a trial."""
    for key, note in notes.items():
        trial.set_user_attr(key, note)
    with _quiet():
        # A taken-up trial may hold the same constraint already, of which Optuna would warn.
        for key, exceeded in constraints.items():
            trial.set_constraint(key, exceeded)
    study.tell(trial, values)


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Complete trials in the order of their numbers."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def trial_spec(space: SearchSpace, trial: FrozenTrial) -> SubDiTSpec:
    """The spec a trial is about."""
    return space.spec(trial.params)


def _evaluated(space: SearchSpace, study: Study, *, without: int) -> Evaluated:
    rows, points = [], []
    labels = space.dimensions
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING)):
        if trial.number == without or len(trial.params) < len(labels):
            continue
        rows.append(np.asarray([values.index(trial.params[label]) for label, values in labels.items()], dtype=np.int64))
        first, second = trial.values if trial.values is not None else (float("nan"), float("nan"))
        points.append((first, second))
    return evaluated_from(space, rows, points)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its log lines and its notes on experimental features."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


class _Journal(JournalFileBackend):
    """Optuna's journal file without a wait for the disk at each of the thirty lines of a trial.

    What a killed process wrote is kept all the same. A power failure may cost the last trials, which are then drawn
    again alike, and what was dear in them is in the quality store, which does wait.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path), lock_obj=_FileLock(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lock = _FileLock(self._path)
        lock.acquire()
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs))
        finally:
            lock.release()


class _FileLock(JournalFileOpenLock):
    """A lock that dies with its process, and that mends the journal before anything is appended.

    Optuna's own locks are files that outlive a killed process for 30 seconds; and a line that a kill cut short would
    make the next one unreadable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        drop_torn_line(self._descriptor)
        return True

    def release(self) -> None:
        # Closing the descriptor gives the lock back.
        os.close(self._descriptor)
        self._descriptor = -1
