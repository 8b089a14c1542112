"""`search`: find the sub-DiTs of a run's supernet that are best on a device."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from nas._evolution import initial_rows
from nas._limits import Limits
from nas._limits import Reach
from nas._limits import Tables
from nas._limits import find_reach
from nas._question import DEFAULT_TRIALS
from nas._question import Budget
from nas._question import Question
from nas._question import check_options
from nas._question import checked_name
from nas._question import describe
from nas._question import is_finished
from nas._results import SearchResult
from nas._results import TrialRow
from nas._results import load_search
from nas._results import write_results
from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from nas.proxies import ValidationLoss
from subdit.errors import ProfileError
from subdit.errors import SearchError
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from subdit.run import Run
from subdit.run import read_manifest
from subdit.run import write_json

if TYPE_CHECKING:
    from optuna.study import Study

    from device_profiles import DeviceProfile

STUDY_FILE = "study.journal"
PROFILE_FILE = "device.json"


def search(
    run: Path | str,
    *,
    device: str | DeviceProfile,
    name: str = "default",
    max_latency_ms: float | None = None,
    max_params: int | None = None,
    trials: int = DEFAULT_TRIALS,
    budget_s: float | None = None,
    seed: int = 0,
    allow_noisy: bool = False,
    proxy: QualityProxy | None = None,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> SearchResult:
    """Search the run's space for the Pareto front of latency on a device and quality loss.

    Latency comes from the device's profile, quality from the proxy (validation loss of the inherited weights where none
    is given). Writes `searches/NAME/` of the run: the Optuna study, search.json, trials.csv, front.csv, picks.json.
    With `resume` a killed search goes on as if it had not been, a finished one is read, and one that was not begun is
    begun; with `force` it begins anew.

    Raises `RunError` where the search exists already or the run is damaged, `ProfileError` where the device is unknown,
    of another space or noisy, `InfeasibleError` where no sub-DiT keeps the limits, `SearchError` where options are
    senseless or differ from those of the search to resume.
    """
    from device_profiles import save_profile

    started = time.monotonic()
    checked_name(name)
    budget, limits = Budget(trials, budget_s), Limits(max_latency_ms, max_params)
    check_options(budget, limits, seed)
    if resume and force:
        raise SearchError("Resuming and beginning anew exclude each other; give one of --resume and --force.")
    where = Run(Path(run)).require()
    profile = _profile(where, device)
    tables, facts, profile_id = device_tables(where, profile, limits=limits, allow_noisy=allow_noisy)
    if proxy is None:
        proxy = ValidationLoss(where.supernet, tables.space.name)
    result = run_search(
        where,
        name,
        tables,
        proxy,
        Question(profile_id, facts, limits, seed),
        budget,
        resume=resume,
        force=force,
        progress=progress,
        started=started,
    )
    # The profile as the search saw it: the registry's may be measured again, and a file may move.
    save_profile(profile, result.folder / PROFILE_FILE, force=True)
    return result


def _profile(run: Run, device: str | DeviceProfile) -> DeviceProfile:
    from device_profiles import load_profile

    space = str(read_manifest(run).get("space"))
    return load_profile(device, space=space) if isinstance(device, str) else device


def device_tables(
    run: Run, device: str | DeviceProfile, *, limits: Limits | None = None, allow_noisy: bool = False
) -> tuple[Tables, dict[str, Any], str]:
    """Tables of the run's space on a device, what readers must know of its profile, and the profile's id.

    Raises `ProfileError` where the device is unknown, of another space, or noisy and that is not allowed.
    """
    from device_profiles import LatencyEstimator
    from supernet.space import count_params
    from supernet.space import get_space

    space = get_space(str(read_manifest(run).get("space")))
    profile = _profile(run, device)
    if profile.noisy and not allow_noisy:
        raise ProfileError(
            f"The profile {profile.id} was measured on too noisy a machine; measure again with 'subdit profile', or "
            "search with it all the same with --allow-noisy."
        )
    facts = {"provenance": str(profile.provenance), "noisy": bool(profile.noisy)}
    return Tables(space, LatencyEstimator(profile, space), count_params, limits or Limits()), facts, profile.id


def run_search(
    run: Run,
    name: str,
    tables: Tables,
    proxy: QualityProxy,
    question: Question,
    budget: Budget,
    *,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
    started: float | None = None,
) -> SearchResult:
    """`search` with the tables and the proxy at hand; `started` is when its clock began, by `time.monotonic`."""
    started = time.monotonic() if started is None else started
    folder = run.search(name)
    asked = describe(tables, proxy, question)
    if not force and is_finished(folder, asked, budget, name, resume=resume):
        return load_search(run.path, name)
    progress(0.0, 1.0, "what the space reaches")
    reach = find_reach(tables)
    config = asked | {"reach": _reach_to_dict(reach)}
    with Run(folder).lock():
        # Once more, as another process may have begun it meanwhile.
        if not force and is_finished(folder, asked, budget, name, resume=resume):
            return load_search(run.path, name)
        initial = initial_rows(tables.space, tables, reach)
        store = QualityStore(run.quality, proxy)
        # Every search evaluates this one; before anything is replaced, as it may show that the supernet is damaged.
        store.value(tables.space.decode(initial[:1])[0])
        if force or not (folder / "search.json").exists():
            _remove(folder)
        write_json(folder / "search.json", config | {"state": "running", "budget": asdict(budget)})

        from nas._study import SubDiTSampler
        from nas._study import finished_trials
        from nas._study import open_study

        sampler = SubDiTSampler(tables, initial, seed=question.seed)
        study = open_study(folder / STUDY_FILE, name, sampler)
        seconds = _evaluate(study, sampler, tables, store, reach, budget, started, progress)

        done = finished_trials(study)
        rows = [_row(tables, trial) for trial in done]
        front, picks = write_results(folder, rows)
        redrawn = sum(int(trial.user_attrs["redrawn"]) for trial in done)
        summary = {
            "state": "finished",
            "budget": asdict(budget),
            "trials": len(done),
            "front_size": len(front),
            "redrawn": redrawn,
            "redrawn_share": redrawn / (redrawn + len(done)),
            "seconds": seconds,
        }
        config |= summary
        write_json(folder / "search.json", config)
        return SearchResult(folder, config, front, picks)


def _evaluate(
    study: Study,
    sampler: Any,
    tables: Tables,
    store: QualityStore,
    reach: Reach,
    budget: Budget,
    started: float,
    progress: ProgressCallback,
) -> float:
    """Run trials until the budget or the space is used up; returns the seconds spent, earlier attempts included."""
    from nas._study import finish_trial
    from nas._study import finished_trials
    from nas._study import next_trial

    earlier_s = sum(float(trial.user_attrs["seconds"]) for trial in finished_trials(study))
    done = len(finished_trials(study))
    goal = min(budget.trials, reach.feasible)
    while True:
        spent_s = earlier_s + time.monotonic() - started
        over = budget.budget_s is not None and spent_s >= budget.budget_s
        if done >= goal or (over and done > 0):
            break
        began = time.monotonic()
        trial, spec = next_trial(study, tables.space)
        known = tables.look_up(tables.space.encode([spec]))
        paid = store.evaluations
        quality = store.value(spec)
        latency_ms, params = float(known.latency_ms[0]), int(known.params[0])
        notes = {
            "spec": str(spec),
            "spec_hash": spec.hash,
            "latency_low_ms": float(known.low_ms[0]),
            "latency_high_ms": float(known.high_ms[0]),
            "params": params,
            "from_store": store.evaluations == paid,
            "redrawn": sampler.redrawn,
            "seconds": round(time.monotonic() - began, 4),
        }
        finish_trial(study, trial, (latency_ms, quality), tables.limits.violations(latency_ms, params), notes)
        done += 1
        spent_s = earlier_s + time.monotonic() - started
        share = max(done / goal, spent_s / budget.budget_s if budget.budget_s else 0.0)
        progress(min(share, 1.0), 1.0, f"{done} sub-DiTs evaluated")
    return round(earlier_s + time.monotonic() - started, 3)


def _remove(folder: Path) -> None:
    # search.json first: without it the rest is litter of a beginning that a kill cut short.
    for file in ("search.json", "picks.json", "front.csv", "trials.csv", STUDY_FILE):
        (folder / file).unlink(missing_ok=True)


def _row(tables: Tables, trial: Any) -> TrialRow:
    from nas._study import trial_spec

    latency_ms, quality = trial.values
    params = int(trial.user_attrs["params"])
    return TrialRow(
        number=trial.number,
        spec=trial_spec(tables.space, trial),
        latency_ms=latency_ms,
        latency_low_ms=trial.user_attrs["latency_low_ms"],
        latency_high_ms=trial.user_attrs["latency_high_ms"],
        quality=quality,
        params=params,
        feasible=all(exceeded <= 0 for exceeded in tables.limits.violations(latency_ms, params).values()),
    )


def _reach_to_dict(reach: Reach) -> dict[str, Any]:
    def end(extreme: Any) -> dict[str, Any]:
        return {"spec_hash": extreme.spec.hash, "latency_ms": extreme.latency_ms, "params": extreme.params}

    return {
        "size": reach.size,
        "feasible": reach.feasible,
        "tightest_latency": end(reach.fastest),
        "tightest_params": end(reach.smallest),
    }
