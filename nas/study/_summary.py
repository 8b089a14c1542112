"""A study's finished trials as trials of the results, and what search.json says of how they were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from nas._problem import SearchProblem
from nas.samplers._surrogate import surrogate_error
from nas.study._trials import trial_spec
from subdit.core.quantities import LATENCY
from subdit.core.quantities import PARAMS
from subdit.results import Trial
from subdit.results import upgrade_notes


def summarize(problem: SearchProblem, done: Sequence[FrozenTrial]) -> dict[str, Any]:
    """How many trials there are, what samplers rejected and scored, and how far the surrogate was off."""
    notes = [upgrade_notes(trial.user_attrs, problem.proxies) for trial in done]
    rejected = sum(int(each["rejected"]) for each in notes)
    scored = sum(int(each["candidates_scored"]) for each in notes)
    drawn = rejected + sum(max(int(each["candidates_scored"]), 1) for each in notes)
    summary: dict[str, Any] = {"trials": len(done), "rejected": rejected, "rejected_fraction": rejected / drawn}
    if scored:
        space, names = problem.tables.space, problem.objectives.names
        encoded = space.encode([trial_spec(space, trial) for trial in done])
        values = np.asarray([trial.values for trial in done])
        errors = {
            name: surrogate_error(space, encoded, values[:, names.index(name)]) for name in problem.objectives.qualities
        }
        summary["surrogate_error"] = {name: None if error is None else asdict(error) for name, error in errors.items()}
        summary["candidates_scored"] = scored
    return summary


def result_trial(problem: SearchProblem, trial: FrozenTrial) -> Trial:
    """A finished trial, whoever evaluated it; from the study and the tables alone."""
    tables, notes = problem.tables, upgrade_notes(trial.user_attrs, problem.proxies)
    spec = trial_spec(tables.space, trial)
    known = tables.look_up(tables.space.encode([spec]))
    # Costs that are objectives as they were evaluated, not as the last digit of another machine has them.
    values = known.row(0) | dict(zip(problem.objectives.names, trial.values, strict=True))
    return Trial(
        number=trial.number,
        spec=spec,
        latency_ms=values[LATENCY],
        latency_low_ms=notes["latency_low_ms"],
        latency_high_ms=notes["latency_high_ms"],
        params=int(notes["params"]),
        figures={name: value for name, value in values.items() if name not in (LATENCY, PARAMS)},
        feasible=all(exceeded <= 0 for exceeded in problem.violations(values).values()),
        noise=notes["half_widths"] | {name: float(half[0]) for name, half in known.half_width.items()},
    )
