"""The Optuna study of a search: its parameters, its trials, and a sampler without memory."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from nas._config import SearchConfig
from nas._costs import CostTable
from nas._problem import Objectives
from nas.samplers._nsga2 import WARM_UP
from nas.samplers._nsga2 import Evaluated
from nas.samplers._nsga2 import evaluated_from
from nas.samplers._nsga2 import next_initial
from nas.samplers._nsga2 import seen_rows
from nas.samplers._proposal import nearest_usable
from nas.samplers._proposal import next_spec
from nas.study._database import retry_on_conflict
from nas.study._database import translate_errors
from nas.study._identity import SearchIdentity
from nas.study._storage import open_storage
from nas.study._storage import silence_optuna
from nas.study._url import redact
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.origin import stale_sentence
from subdit.results import upgrade_config
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec


class NothingLeftError(SearchError):
    """Every sub-DiT within the constraints was evaluated, or is being evaluated."""


class SubDiTSampler(BaseSampler):
    """The samplers of `nas.samplers._proposal` as a sampler of Optuna.

    Each proposal is drawn from the seed, the trial's number and the trials themselves, so that a study that was killed
    continues with the same proposals; Optuna's own samplers keep their random state in memory and lose it. The initial
    points are proposed and not enqueued for the same reason. Raises `NothingLeftError` where no feasible spec is left.
    """

    rejected = 0
    """Candidates beyond the constraints that were drawn before the last proposal."""
    candidates_scored = 0
    """Candidates that the surrogate predicted for the last proposal."""

    def __init__(self, tables: CostTable, initial: EncodedSpecs, config: SearchConfig, objectives: Objectives) -> None:
        self._tables = tables
        self._initial = initial
        self._config = config
        self._objectives = objectives

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self._tables.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        evaluated = evaluated_before(self._tables, study, self._objectives, without=trial.number)
        if self._config.sampler == "tpe":
            proposal = self._propose_tpe(study, trial, evaluated)
        else:
            proposal = next_spec(
                self._tables,
                self._config,
                self._objectives,
                initial=self._initial,
                evaluated=evaluated,
                number=trial.number,
            )
        if proposal is None:
            raise NothingLeftError("Every sub-DiT within the constraints was evaluated; the search is complete.")
        self.rejected, self.candidates_scored = proposal.rejected, proposal.candidates_scored
        return self._tables.space.values(self._tables.space.decode(proposal.row[None])[0])

    def _propose_tpe(self, study: Study, trial: FrozenTrial, evaluated: Evaluated) -> Any:
        """Optuna's multivariate TPE with a random state of this trial's own, repaired where the limits forbid it."""
        if (first := next_initial(self._initial, seen_rows(evaluated), trial.number)) is not None:
            return first
        seed = np.random.SeedSequence([self._config.seed, trial.number])
        values = {}
        if trial.number >= WARM_UP:
            with silence_optuna():
                tpe = optuna.samplers.TPESampler(
                    seed=int(seed.generate_state(1)[0]), multivariate=True, n_startup_trials=1, constant_liar=False
                )
                values = tpe.sample_relative(study, trial, distributions(self._tables.space))
        row = self._tables.space.sample(np.random.default_rng(seed), 1)[0]
        for index, (label, allowed) in enumerate(self._tables.space.dimensions.items()):
            row[index] = allowed.index(values[label]) if label in values else row[index]
        return nearest_usable(self._tables, row, evaluated, [self._config.seed, trial.number])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise RunError(f"The study asks for an unknown dimension {param_name!r}; search again under another name.")


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's parameters: each elastic dimension by its name in the space, with its listed values."""
    return {label: CategoricalDistribution(values) for label, values in space.dimensions.items()}


def open_study(
    where: Path | str, name: str, sampler: BaseSampler, objectives: Sequence[str], *, storage: BaseStorage | None = None
) -> Study:
    """Open the study of that name in a storage, or begin it; raises `RunError` where its file is damaged.

    Over a connection of its own, or over `storage`, which was opened there before.
    """
    try:
        with silence_optuna(), translate_errors(where):
            opened = open_storage(where) if storage is None else storage
            return retry_on_conflict(lambda: _study(opened, name, sampler, objectives))
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        # A shared study is not replaced: other workers may be able to read it.
        remedy = "search again with --force" if isinstance(where, Path) else "take another study name"
        raise RunError(f"The study {name!r} at {redact(where)} is damaged ({error}); {remedy}.") from error


def _study(storage: BaseStorage, name: str, sampler: BaseSampler, objectives: Sequence[str]) -> Study:
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        directions=[StudyDirection.MINIMIZE] * len(objectives),
        load_if_exists=True,
    )
    if study.metric_names is None:
        study.set_metric_names(list(objectives))
    return study


def settle_identity(study: Study, identity: SearchIdentity) -> None:
    """Write into the study what it searches for; raises `SearchError` where it searches for something else."""
    stored = study.user_attrs.get("question")
    if stored is None:
        study.set_user_attr("question", identity.question)
        return
    stored = upgrade_config(stored)
    if weights := identity.differing_weights(stored):
        remedy = "take another study name, or start again with --force"
        raise SearchError(stale_sentence(f"The study {study.study_name!r}", *weights, remedy))
    if said := identity.difference(stored):
        raise SearchError(f"The study {study.study_name!r} is of another search ({said}); take another study name.")


def next_trial(study: Study, space: SearchSpace) -> tuple[Trial, SubDiTSpec]:
    """Ask for a trial, or continue the one that a killed process left running; returns it with its spec.

    The caller must be the study's only worker: a running trial counts as that of a dead process.
    """
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    # The unfinished trial is continued, not failed and repeated, so that numbers are those of a search without a kill.
    trial = Trial(study, left[0]._trial_id) if left else study.ask()
    return trial, suggested_spec(trial, space)


def suggested_spec(trial: Trial, space: SearchSpace) -> SubDiTSpec:
    """The spec that the sampler proposes for a trial, or that is stored in it already."""
    # Drawn here in any case, so that the sampler counts rejections for a trial whose values are stored already, too.
    _ = trial.relative_params
    values = {label: trial.suggest_categorical(label, allowed) for label, allowed in space.dimensions.items()}
    return space.spec({label: int(value) for label, value in values.items() if value is not None})


def note_trial(trial: Trial, constraints: Mapping[str, float], notes: Mapping[str, Any]) -> None:
    """Store constraints (kept where <= 0) and user attributes of a trial."""
    for key, note in notes.items():
        trial.set_user_attr(key, note)
    with silence_optuna():
        # A continued trial may hold the same constraint already, and Optuna would warn of that.
        for key, exceeded in constraints.items():
            trial.set_constraint(key, exceeded)


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Complete trials in the order of their numbers."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def trial_spec(space: SearchSpace, trial: FrozenTrial) -> SubDiTSpec:
    """The spec a trial is about."""
    return space.spec(trial.params)


def evaluated_before(tables: CostTable, study: Study, objectives: Objectives, *, without: int) -> Evaluated:
    """What was proposed so far, with objectives; qualities are NaN where another worker is not finished."""
    rows, qualities = [], []
    labels, count = tables.space.dimensions, len(objectives.names)
    unknown = [float("nan")] * len(objectives.qualities)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING)):
        if trial.number == without or len(trial.params) < len(labels):
            continue
        rows.append(np.asarray([values.index(trial.params[label]) for label, values in labels.items()], dtype=np.int64))
        qualities.append(unknown if trial.values is None else trial.values[len(objectives.costs) :])
    encoded = evaluated_from(tables.space, rows, [], count).encoded
    if not len(encoded):
        return evaluated_from(tables.space, [], [], count)
    figures = tables.look_up(encoded).figures
    columns = [figures[name] for name in objectives.costs]
    points = np.column_stack([*columns, np.asarray(qualities, dtype=np.float64)])
    return Evaluated(encoded, points, objectives.excess(points))
