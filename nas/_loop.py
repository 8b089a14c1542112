"""A search from its looked-up names to its results; alone or beside other workers, what it leaves is the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence

from nas._feasible_region import check_picks
from nas._feasible_region import find_feasible_region
from nas._picks import find_picks
from nas._problem import SearchProblem
from nas.proxies import QualityStore
from nas.samplers._nsga2 import initial_rows
from nas.samplers._proposal import check_sampler
from nas.study._identity import identify
from nas.study._identity import is_finished
from nas.study._identity import judged_weights
from nas.study._location import StudyLocation
from nas.study._location import StudyOptions
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
from subdit.results import SearchResult
from subdit.results import Trial
from subdit.results import load_search
from subdit.results import write_search


def run_search(
    run: Run,
    name: str,
    problem: SearchProblem,
    *,
    location: StudyLocation | None = None,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
    started: float | None = None,
) -> SearchResult:
    """`nas.search` of a problem whose names were looked up; `started` is when its clock began, by `time.monotonic`.

    Where the front turns out to have no point for one of `pick_at`, the search ends without it and says why in
    `missed_picks` of its config; a search that was finished before raises `SearchError` and stays as it was.
    """
    started = time.monotonic() if started is None else started
    folder, config, tables = run.search(name), problem.config, problem.tables
    location = location or StudyLocation.of(run, name, StudyOptions(), resume=resume, force=force)
    identity = identify(problem)
    weights = {KEY: judged_weights(problem.proxies, run_digest(run))}
    resume = resume or location.shared

    def answered() -> bool:
        if force:
            return False
        finished = is_finished(folder, identity, config.budget, resume=resume)
        check_same_study(folder, location, identity, name)
        return finished

    if answered() and not config.pick_at:
        return load_search(run.path, name)

    from nas.study._create import create_study
    from nas.study._database import translate_errors
    from nas.study._evaluation import SearchState
    from nas.study._evaluation import evaluate_alone
    from nas.study._evaluation import evaluate_shared
    from nas.study._storage import open_storage
    from nas.study._summary import result_trial
    from nas.study._summary import summarize
    from nas.study._trials import SubDiTSampler
    from nas.study._trials import finished_trials

    # Before anything is written or replaced: an address where nothing answers must cost nothing.
    if not force:
        check_study_exists(folder, location, name)
    storage = open_storage(location.where) if isinstance(location.where, str) else None
    progress(0.0, 1.0, "costs of the whole space")
    region = find_feasible_region(tables)
    check_picks(region, config.pick_at, problem.objectives.qualities[1:])
    check_sampler(config.sampler, region.feasible, config.trial_limit)
    said = {**identity.settings} | {"feasible_region": region.to_dict()} | weights
    with lock_folder(folder, shared=location.shared, force=force) as prepared, translate_errors(location.where):
        # Once more, as another process may have started it meanwhile.
        only_picks = answered()
        if only_picks and not config.pick_at:
            return load_search(run.path, name)
        initial = initial_rows(tables.space, tables, region)
        stores = {name: QualityStore(run.quality, proxy) for name, proxy in problem.proxies.items()}
        for store in stores.values():
            # Every search evaluates this one; before anything is replaced, as it may show that the supernet is damaged.
            store.value(tables.space.decode(initial[:1])[0])
        new = force or not (folder / "search.json").exists()
        sampler = SubDiTSampler(tables, initial, config, problem.objectives)
        said["study"] = location.record.to_dict()
        study = create_study(folder, location, storage, sampler, identity, new=new, force=force)
        if new or not (location.shared or only_picks):
            write_json(folder / "search.json", said | {"state": "running", "budget": config.budget})
        prepared()
        goal = min(config.trial_limit, region.feasible)
        state = SearchState(problem, stores, study, sampler, goal, started, progress)
        if only_picks:
            seconds = float(load_search(run.path, name).config["seconds"])
        else:
            seconds = evaluate_shared(state, location) if location.shared else evaluate_alone(state)

        done = finished_trials(study)
        trials = [result_trial(problem, trial) for trial in done]
        _check_qualities(trials, problem.objectives.limits)
        found = find_picks(trials, problem.objectives, config.pick_at)
        if only_picks:
            for missed in found.missed.values():
                raise SearchError(missed)
        said |= {"state": "finished", "budget": config.budget, "seconds": seconds} | summarize(problem, done)
        said |= {"front_size": sum(trial.on_front for trial in found.trials)}
        if found.missed:
            said["missed_picks"] = dict(found.missed)
        result = SearchResult(folder, said, found.trials, found.picks)
        write_search(result)
        return result


def _check_qualities(trials: Sequence[Trial], limits: Mapping[str, float]) -> None:
    """Raises `InfeasibleError` where none of at least one trial keeps the limits on quality proxies."""
    if not limits or any(trial.feasible for trial in trials):
        return
    said = []
    for name, limit in limits.items():
        best = min(trials, key=lambda trial: trial.value(name))
        said.append(
            f"of {noun(name)} at most {limit:g} is asked for, and the least is {best.value(name):.6g}, of "
            f"{best.spec} ({best.spec.hash})"
        )
    raise InfeasibleError(
        f"None of the {len(trials)} sub-DiTs that were evaluated keeps the limits on quality: {'; '.join(said)}; give "
        "more --trials with --resume, or looser limits under another --name."
    )
