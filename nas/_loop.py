"""Working on a search: alone, or with others on a shared study; what is left is the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nas._config import Budget
from nas._config import Question
from nas._config import describe
from nas._config import is_finished
from nas._config import weights_asked
from nas._costs import CostTable
from nas._feasible_region import check_picks
from nas._feasible_region import find_feasible_region
from nas._results import SearchResult
from nas._results import TrialRow
from nas._results import find_picks
from nas._results import load_search
from nas._results import write_results
from nas._search_state import SearchState
from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from nas.samplers._nsga2 import initial_rows
from nas.samplers._proposal import check_sampler
from nas.samplers._surrogate import surrogate_error
from nas.study._location import StudyLocation
from nas.study._location import check_same_study
from nas.study._location import check_study_exists
from nas.study._lock import lock_folder
from subdit.core.errors import InfeasibleError
from subdit.core.errors import SearchError
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.core.origin import run_digest
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.quantities import noun
from subdit.core.run import Run

if TYPE_CHECKING:
    from optuna.trial import Trial

    from subdit.space import SubDiTSpec

_POLL_S = 0.2


def run_search(
    run: Run,
    name: str,
    tables: CostTable,
    proxy: QualityProxy | Mapping[str, QualityProxy],
    question: Question,
    budget: Budget,
    *,
    location: StudyLocation | None = None,
    pick_at: Mapping[str, float] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
    started: float | None = None,
) -> SearchResult:
    """`search` with the tables and the proxies at hand; `started` is when its clock began, by `time.monotonic`.

    Where the front turns out to have no point for one of `pick_at`, the search ends without it and says why in
    `missed_picks` of its config; a search that was finished before raises `SearchError` and stays as it was.
    """
    started = time.monotonic() if started is None else started
    folder = run.search(name)
    location = location or StudyLocation.of(
        run, name, storage=None, study_name=None, worker=False, stale_s=None, resume=resume, force=force
    )  # fmt: skip
    proxies = dict(proxy) if isinstance(proxy, Mapping) else {"quality": proxy}
    asked = describe(tables, proxies, question)
    weights = {KEY: weights_asked(proxies, run_digest(run))}
    resume = resume or location.shared

    def answered() -> bool:
        if force:
            return False
        finished = is_finished(folder, asked, budget, name, resume=resume)
        check_same_study(folder, location, asked, name)
        return finished

    if answered() and not pick_at:
        return load_search(run.path, name)

    from nas.study._create import create_study
    from nas.study._database import translate_errors
    from nas.study._storage import open_storage
    from nas.study._trials import SubDiTSampler
    from nas.study._trials import finished_trials

    # Before anything is written or replaced: an address where nothing answers must cost nothing.
    if not force:
        check_study_exists(folder, location, name)
    storage = open_storage(location.where) if isinstance(location.where, str) else None
    progress(0.0, 1.0, "what the space reaches")
    reach = find_feasible_region(tables)
    check_picks(reach, pick_at or {}, [label for label in proxies if label != "quality"])
    check_sampler(question.sampler, reach.feasible, budget.trials)
    config = asked | {"reach": reach.to_dict()} | weights
    with lock_folder(folder, shared=location.shared, force=force) as prepared, translate_errors(location.where):
        # Once more, as another process may have begun it meanwhile.
        only_picks = answered()
        if only_picks and not pick_at:
            return load_search(run.path, name)
        initial = initial_rows(tables.space, tables, reach)
        stores = {label: QualityStore(run.quality, one) for label, one in proxies.items()}
        for store in stores.values():
            # Every search evaluates this one; before anything is replaced, as it may show that the supernet is damaged.
            store.value(tables.space.decode(initial[:1])[0])
        anew = force or not (folder / "search.json").exists()
        sampler = SubDiTSampler(tables, initial, question.way)
        config["study"] = location.record.to_dict()
        study = create_study(folder, location, storage, sampler, question, asked, anew=anew, force=force)
        if anew or not (location.shared or only_picks):
            write_json(folder / "search.json", config | {"state": "running", "budget": asdict(budget)})
        prepared()
        goal = min(budget.trials, reach.feasible)
        state = SearchState(tables, stores, question, study, sampler, goal, budget, started, progress)
        if only_picks:
            seconds = float(load_search(run.path, name).config["seconds"])
        else:
            seconds = _work_shared(state, location) if location.shared else _work_alone(state)

        done = finished_trials(study)
        rows = [_row(state, trial) for trial in done]
        _check_qualities(rows, question.limits.qualities)
        found = find_picks(rows, question.objectives, pick_at)
        if only_picks:
            for missed in found.missed.values():
                raise SearchError(missed)
        write_results(folder, rows, found)
        config |= {"state": "finished", "budget": asdict(budget), "seconds": seconds}
        config |= _summary(state, done, len(found.front))
        if found.missed:
            config["missed_picks"] = dict(found.missed)
        write_json(folder / "search.json", config)
        return SearchResult(folder, config, found.front, found.picks)


def _work_alone(state: SearchState) -> float:
    """Run trials until the budget or the space is used up; returns the seconds spent, earlier attempts included."""
    from nas.study._trials import finished_trials
    from nas.study._trials import next_trial

    earlier_s = sum(float(trial.user_attrs["seconds"]) for trial in finished_trials(state.study))
    state.finished = len(finished_trials(state.study))
    while not _is_over(state, state.finished, earlier_s):
        began = time.monotonic()
        trial, spec = next_trial(state.study, state.tables.space)
        state.study.tell(trial, _evaluate(state, trial, spec, began))
        state.finished += 1
        _report(state, state.finished, earlier_s)
    return round(earlier_s + time.monotonic() - state.started, 3)


def _work_shared(state: SearchState, location: StudyLocation) -> float:
    """Run trials beside other workers until the study's goal is reached; returns the seconds spent by this one."""
    from nas.study._trials import finished_trials
    from nas.study._trials import open_study
    from nas.study._worker import Worker
    from nas.study._worker import tell

    worker = Worker(state.study, state.tables.space, state.sampler, stale_s=location.stale_s)
    objectives = state.question.objectives
    with worker.alive(lambda: open_study(location.where, location.study_name, state.sampler, objectives)):
        while True:
            done = len(finished_trials(state.study))
            _report(state, done, 0.0)
            if _is_over(state, done, 0.0):
                break
            began = time.monotonic()
            found = worker.next_trial(state.goal)
            if found is None:
                time.sleep(min(_POLL_S, location.stale_s / 10))
                continue
            trial, spec = found
            values = _evaluate(state, trial, spec, began, own=lambda trial=trial: worker.is_mine(trial))
            if values is not None:
                state.finished += tell(state.study, trial, values)
    return round(time.monotonic() - state.started, 3)


def _is_over(state: SearchState, done: int, earlier_s: float) -> bool:
    spent_s = earlier_s + time.monotonic() - state.started
    return done >= state.goal or (state.budget.budget_s is not None and spent_s >= state.budget.budget_s and done > 0)


def _report(state: SearchState, done: int, earlier_s: float) -> None:
    spent_s = earlier_s + time.monotonic() - state.started
    share = max(done / state.goal, spent_s / state.budget.budget_s if state.budget.budget_s else 0.0)
    state.progress(min(share, 1.0), 1.0, f"{done} sub-DiTs evaluated")


def _evaluate(state: SearchState, trial: Trial, spec: SubDiTSpec, began: float, own: Any = None) -> Any:
    """Objectives of a trial, its notes stored; None where it was given to another worker meanwhile."""
    from nas.study._trials import note_trial

    known = state.tables.look_up(state.tables.space.encode([spec]))
    figures = known.row(0)
    paid = sum(store.evaluations for store in state.stores.values())
    qualities = {label: store.value(spec) for label, store in state.stores.items()}
    if own is not None and not own():
        return None
    notes = {
        "spec": str(spec),
        "spec_hash": spec.hash,
        "latency_low_ms": float(known.low_ms[0]),
        "latency_high_ms": float(known.high_ms[0]),
        "params": int(known.params[0]),
        **{name: value for name, value in figures.items() if name not in ("latency_ms", "params")},
        # For workers whose stores lack it: what was paid for elsewhere is in the study, not in their files.
        "half_widths": {label: store.half_width(spec) for label, store in state.stores.items()},
        "other_qualities": {
            label: value for label, value in qualities.items() if label not in state.question.objectives
        },
        "from_store": sum(store.evaluations for store in state.stores.values()) == paid,
        "redrawn": state.sampler.redrawn,
        "looked_at": state.sampler.looked_at,
        "seconds": round(time.monotonic() - began, 4),
    }
    note_trial(trial, state.tables.limits.violations(figures | qualities), notes)
    return [figures[name] if name in figures else qualities[name] for name in state.question.objectives]


def _summary(state: SearchState, done: list[Any], front_size: int) -> dict[str, Any]:
    redrawn = sum(int(trial.user_attrs["redrawn"]) for trial in done)
    looked_at = sum(int(trial.user_attrs["looked_at"]) for trial in done)
    drawn = redrawn + sum(max(int(trial.user_attrs["looked_at"]), 1) for trial in done)
    summary: dict[str, Any] = {
        "trials": len(done),
        "front_size": front_size,
        "redrawn": redrawn,
        "redrawn_share": redrawn / drawn,
    }
    if looked_at:
        space = state.tables.space
        from nas.study._trials import trial_spec

        encoded = space.encode([trial_spec(space, trial) for trial in done])
        errors = {}
        for name in state.question.objectives[len(state.question.way.figures) :]:
            at = state.question.objectives.index(name)
            error = surrogate_error(space, encoded, np.asarray([trial.values[at] for trial in done]))
            errors[name] = None if error is None else asdict(error)
        summary["surrogate_error"] = errors
        summary["looked_at"] = looked_at
    return summary


def _check_qualities(rows: list[TrialRow], limits: Mapping[str, float]) -> None:
    """Raises `InfeasibleError` where none of at least one row keeps the limits on qualities."""
    if not limits or any(row.feasible for row in rows):
        return
    said = []
    for name, limit in limits.items():
        best = min(rows, key=lambda row: row.value(name))
        said.append(
            f"of {noun(name)} at most {limit:g} is asked for, and the least is {best.value(name):.6g}, of "
            f"{best.spec} ({best.spec.hash})"
        )
    raise InfeasibleError(
        f"None of the {len(rows)} sub-DiTs that were evaluated keeps the limits on quality: {'; '.join(said)}; give "
        "more --trials with --resume, or looser limits under another --name."
    )


def _row(state: SearchState, trial: Any) -> TrialRow:
    """A finished trial, whoever evaluated it; from the study and the tables alone."""
    from nas.study._trials import trial_spec

    tables, notes = state.tables, trial.user_attrs
    spec = trial_spec(tables.space, trial)
    known = tables.look_up(tables.space.encode([spec]))
    values = dict(zip(state.question.objectives, trial.values, strict=True))
    qualities = {label: values[label] for label in state.stores if label in values} | notes.get("other_qualities", {})
    noise = notes.get("half_widths")
    if noise is None:
        # A trial of an earlier version, which noted nothing of it.
        qualities = {label: store.value(spec) for label, store in state.stores.items()} | qualities
        noise = {label: store.half_width(spec) for label, store in state.stores.items()}
    figures = known.row(0) | {name: value for name, value in values.items() if name in tables.names}
    return TrialRow(
        number=trial.number,
        spec=spec,
        latency_ms=figures["latency_ms"],
        latency_low_ms=notes["latency_low_ms"],
        latency_high_ms=notes["latency_high_ms"],
        quality=qualities["quality"],
        params=int(notes["params"]),
        feasible=all(exceeded <= 0 for exceeded in tables.limits.violations(figures | qualities).values()),
        more={
            **{name: figures[name] for name in tables.columns},
            **{label: qualities[label] for label in state.stores if label != "quality"},
        },
        noise=noise | {name: float(half[0]) for name, half in known.half_width.items()},
    )
