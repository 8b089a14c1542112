"""Working on a search: alone, or with others on a shared study; what is left is the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nas._evolution import initial_rows
from nas._held import held
from nas._kept import check_is_same
from nas._kept import check_is_there
from nas._kept import kept_now
from nas._limits import Tables
from nas._question import Budget
from nas._question import Question
from nas._question import describe
from nas._question import is_finished
from nas._question import weights_asked
from nas._reach import check_picks
from nas._reach import find_reach
from nas._results import SearchResult
from nas._results import TrialRow
from nas._results import find_picks
from nas._results import load_search
from nas._results import write_results
from nas._samplers import check_sampler
from nas._surrogate import surrogate_error
from nas._team import Job
from nas._team import Team
from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from subdit.errors import InfeasibleError
from subdit.errors import SearchError
from subdit.figures import noun
from subdit.origin import KEY
from subdit.origin import run_digest
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from subdit.run import Run
from subdit.run import write_json

if TYPE_CHECKING:
    from optuna.trial import Trial

    from supernet.space import SubDiTSpec

_POLL_S = 0.2


def run_search(
    run: Run,
    name: str,
    tables: Tables,
    proxy: QualityProxy | Mapping[str, QualityProxy],
    question: Question,
    budget: Budget,
    *,
    team: Team | None = None,
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
    team = team or Team.of(
        run, name, storage=None, study_name=None, worker=False, stale_s=None, resume=resume, force=force
    )  # fmt: skip
    proxies = dict(proxy) if isinstance(proxy, Mapping) else {"quality": proxy}
    asked = describe(tables, proxies, question)
    weights = {KEY: weights_asked(proxies, run_digest(run))}
    resume = resume or team.shared

    def answered() -> bool:
        if force:
            return False
        finished = is_finished(folder, asked, budget, name, resume=resume)
        check_is_same(folder, team, name)
        return finished

    if answered() and not pick_at:
        return load_search(run.path, name)

    from nas._begin import begin
    from nas._database import in_words
    from nas._storage import open_storage
    from nas._study import SubDiTSampler
    from nas._study import finished_trials

    # Before anything is written or replaced: an address where nothing answers must cost nothing.
    if not force:
        check_is_there(folder, team, name)
    storage = open_storage(team.where) if isinstance(team.where, str) else None
    progress(0.0, 1.0, "what the space reaches")
    reach = find_reach(tables)
    check_picks(reach, pick_at or {}, [label for label in proxies if label != "quality"])
    check_sampler(question.sampler, reach.feasible, budget.trials)
    config = asked | {"reach": reach.to_dict()} | weights
    with held(folder, shared=team.shared, force=force) as prepared, in_words(team.where):
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
        kept = kept_now(folder, team, anew=anew)
        config["study"] = kept.to_dict()
        study = begin(folder, team, storage, kept, sampler, question, asked, anew=anew, force=force)
        if anew or not (team.shared or only_picks):
            write_json(folder / "search.json", config | {"state": "running", "budget": asdict(budget)})
        prepared()
        goal = min(budget.trials, reach.feasible)
        job = Job(tables, stores, question, study, sampler, goal, budget, started, progress)
        if only_picks:
            seconds = float(load_search(run.path, name).config["seconds"])
        else:
            seconds = _work_shared(job, team) if team.shared else _work_alone(job)

        done = finished_trials(study)
        rows = [_row(job, trial) for trial in done]
        _check_qualities(rows, question.limits.qualities)
        found = find_picks(rows, question.objectives, pick_at)
        if only_picks:
            for missed in found.missed.values():
                raise SearchError(missed)
        write_results(folder, rows, found)
        config |= {"state": "finished", "budget": asdict(budget), "seconds": seconds}
        config |= _summary(job, done, len(found.front))
        if found.missed:
            config["missed_picks"] = dict(found.missed)
        write_json(folder / "search.json", config)
        return SearchResult(folder, config, found.front, found.picks)


def _work_alone(job: Job) -> float:
    """Run trials until the budget or the space is used up; returns the seconds spent, earlier attempts included."""
    from nas._study import finished_trials
    from nas._study import next_trial

    earlier_s = sum(float(trial.user_attrs["seconds"]) for trial in finished_trials(job.study))
    job.finished = len(finished_trials(job.study))
    while not _is_over(job, job.finished, earlier_s):
        began = time.monotonic()
        trial, spec = next_trial(job.study, job.tables.space)
        job.study.tell(trial, _evaluate(job, trial, spec, began))
        job.finished += 1
        _report(job, job.finished, earlier_s)
    return round(earlier_s + time.monotonic() - job.started, 3)


def _work_shared(job: Job, team: Team) -> float:
    """Run trials beside other workers until the study's goal is reached; returns the seconds spent by this one."""
    from nas._crowd import Crowd
    from nas._crowd import tell
    from nas._study import finished_trials
    from nas._study import open_study

    crowd = Crowd(job.study, job.tables.space, job.sampler, stale_s=team.stale_s)
    with crowd.alive(lambda: open_study(team.where, team.study_name, job.sampler, job.question.objectives)):
        while True:
            done = len(finished_trials(job.study))
            _report(job, done, 0.0)
            if _is_over(job, done, 0.0):
                break
            began = time.monotonic()
            found = crowd.next_trial(job.goal)
            if found is None:
                time.sleep(min(_POLL_S, team.stale_s / 10))
                continue
            trial, spec = found
            values = _evaluate(job, trial, spec, began, own=lambda trial=trial: crowd.is_mine(trial))
            if values is not None:
                job.finished += tell(job.study, trial, values)
    return round(time.monotonic() - job.started, 3)


def _is_over(job: Job, done: int, earlier_s: float) -> bool:
    spent_s = earlier_s + time.monotonic() - job.started
    return done >= job.goal or (job.budget.budget_s is not None and spent_s >= job.budget.budget_s and done > 0)


def _report(job: Job, done: int, earlier_s: float) -> None:
    spent_s = earlier_s + time.monotonic() - job.started
    share = max(done / job.goal, spent_s / job.budget.budget_s if job.budget.budget_s else 0.0)
    job.progress(min(share, 1.0), 1.0, f"{done} sub-DiTs evaluated")


def _evaluate(job: Job, trial: Trial, spec: SubDiTSpec, began: float, own: Any = None) -> Any:
    """Objectives of a trial, its notes stored; None where it was given to another worker meanwhile."""
    from nas._study import note_trial

    known = job.tables.look_up(job.tables.space.encode([spec]))
    figures = known.row(0)
    paid = sum(store.evaluations for store in job.stores.values())
    qualities = {label: store.value(spec) for label, store in job.stores.items()}
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
        "half_widths": {label: store.half_width(spec) for label, store in job.stores.items()},
        "other_qualities": {label: value for label, value in qualities.items() if label not in job.question.objectives},
        "from_store": sum(store.evaluations for store in job.stores.values()) == paid,
        "redrawn": job.sampler.redrawn,
        "looked_at": job.sampler.looked_at,
        "seconds": round(time.monotonic() - began, 4),
    }
    note_trial(trial, job.tables.limits.violations(figures | qualities), notes)
    return [figures[name] if name in figures else qualities[name] for name in job.question.objectives]


def _summary(job: Job, done: list[Any], front_size: int) -> dict[str, Any]:
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
        space = job.tables.space
        from nas._study import trial_spec

        encoded = space.encode([trial_spec(space, trial) for trial in done])
        errors = {}
        for name in job.question.objectives[len(job.question.way.figures) :]:
            at = job.question.objectives.index(name)
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


def _row(job: Job, trial: Any) -> TrialRow:
    """A finished trial, whoever evaluated it; from the study and the tables alone."""
    from nas._study import trial_spec

    tables, notes = job.tables, trial.user_attrs
    spec = trial_spec(tables.space, trial)
    known = tables.look_up(tables.space.encode([spec]))
    values = dict(zip(job.question.objectives, trial.values, strict=True))
    qualities = {label: values[label] for label in job.stores if label in values} | notes.get("other_qualities", {})
    noise = notes.get("half_widths")
    if noise is None:
        # A trial of an earlier version, which noted nothing of it.
        qualities = {label: store.value(spec) for label, store in job.stores.items()} | qualities
        noise = {label: store.half_width(spec) for label, store in job.stores.items()}
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
            **{label: qualities[label] for label in job.stores if label != "quality"},
        },
        noise=noise | {name: float(half[0]) for name, half in known.half_width.items()},
    )
