"""`search`: find the sub-DiTs of a run's supernet that are best on a device."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nas._evolution import initial_rows
from nas._limits import Limits
from nas._limits import Reach
from nas._limits import Tables
from nas._limits import find_reach
from nas._results import SearchResult
from nas._results import TrialRow
from nas._results import load_search
from nas._results import write_results
from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from nas.proxies import ValidationLoss
from subdit.errors import ProfileError
from subdit.errors import RunError
from subdit.errors import SearchError
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from subdit.run import Run
from subdit.run import read_json
from subdit.run import read_manifest
from subdit.run import write_json

if TYPE_CHECKING:
    from optuna.study import Study

    from device_profiles import DeviceProfile

DEFAULT_TRIALS = 400
STUDY_FILE = "study.journal"
SAMPLER = "nsga2-stateless-1"
"""Named in search.json; a change of what it proposes is a new number, so that no study goes on with another sampler."""


@dataclass(frozen=True)
class Budget:
    """When a search ends: after so many trials or so many seconds, whichever is first.

    Seconds count the work of killed attempts too, as far as their trials were finished.
    """

    trials: int = DEFAULT_TRIALS
    budget_s: float | None = None


@dataclass(frozen=True)
class Question:
    """What is searched for; two searches with equal questions, seed and trials give the same study.

    Attributes:
        device: id of the device profile.
        device_facts: what readers of the results must know of the profile, such as provenance and noise.
        limits: hard limits.
        seed: of the proposals.
    """

    device: str
    device_facts: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    seed: int = 0


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
    started = time.monotonic()
    checked_name(name)
    budget, limits = Budget(trials, budget_s), Limits(max_latency_ms, max_params)
    check_options(budget, limits, seed)
    if resume and force:
        raise SearchError("Resuming and beginning anew exclude each other; give one of --resume and --force.")
    where = Run(Path(run)).require()
    tables, facts, profile_id = device_tables(where, device, limits=limits, allow_noisy=allow_noisy)
    if proxy is None:
        proxy = ValidationLoss(where.supernet, tables.space.name)
    return run_search(
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


def device_tables(
    run: Run, device: str | DeviceProfile, *, limits: Limits | None = None, allow_noisy: bool = False
) -> tuple[Tables, dict[str, Any], str]:
    """Tables of the run's space on a device, what readers must know of its profile, and the profile's id.

    Raises `ProfileError` where the device is unknown, of another space, or noisy and that is not allowed.
    """
    from device_profiles import LatencyEstimator
    from device_profiles import load_profile
    from supernet.space import count_params
    from supernet.space import get_space

    space = get_space(str(read_manifest(run).get("space")))
    profile = load_profile(device, space=space.name) if isinstance(device, str) else device
    if profile.noisy and not allow_noisy:
        raise ProfileError(
            f"The profile {profile.id} was measured on too noisy a machine; measure again with 'subdit profile', or search "
            "with it all the same with --allow-noisy."
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
    config = describe(tables, proxy, question)
    with Run(folder).lock():
        if not force and _is_finished(folder, config, budget, name, resume=resume):
            return load_search(run.path, name)
        reach = find_reach(tables, progress=progress)
        config |= {"reach": _reach_to_dict(reach)}
        if force or not (folder / "search.json").exists():
            _remove(folder)
        write_json(folder / "search.json", config | {"state": "running", "budget": asdict(budget)})

        from nas._study import SubDiTSampler
        from nas._study import finished_trials
        from nas._study import open_study

        sampler = SubDiTSampler(tables, initial_rows(tables.space, tables, reach), seed=question.seed)
        study = open_study(folder / STUDY_FILE, f"{run.path.name}/{name}", sampler)
        store = QualityStore(run.quality, proxy)
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


def describe(tables: Tables, proxy: QualityProxy, question: Question) -> dict[str, Any]:
    """What search.json says of the question; equal for equal questions and nothing else."""
    sample = tables.space.sample(np.random.default_rng(0), 256)
    latencies = np.asarray(tables.latencies.estimate(sample).latency_ms, dtype=np.float64)
    return {
        "subdit_search": 1,
        "subdit_version": _version(),
        "space": tables.space.name,
        "device": question.device,
        "device_facts": dict(question.device_facts),
        # A profile that was measured again under the same id is another question.
        "latency_hash": hashlib.sha256(np.round(latencies, 9).tobytes()).hexdigest()[:16],
        "limits": asdict(question.limits),
        "seed": question.seed,
        "sampler": SAMPLER,
        "proxy": {
            "id": proxy.id,
            "unit": proxy.unit,
            "supernet_digest": proxy.supernet_digest,
            "data_hash": proxy.data_hash,
        },
        "objectives": ["latency_ms", "quality"],
    }


def _is_finished(folder: Path, config: Mapping[str, Any], budget: Budget, name: str, *, resume: bool) -> bool:
    """Whether the search was asked before and is answered; raises where it may be neither read nor gone on with."""
    path = folder / "search.json"
    if not path.exists():
        return False
    stored = read_json(path, f"search {name!r}")
    if not isinstance(stored, dict):
        raise RunError(f"The search {name!r} at {folder} is damaged (search.json is no object); search again with --force.")
    finished = stored.get("state") == "finished"
    differing = [
        key for key, value in config.items() if key != "subdit_version" and stored.get(key) != value
    ]
    if differing:
        said = f"{differing[0]} {stored.get(differing[0])!r} instead of {config[differing[0]]!r}"
        if resume:
            raise SearchError(f"The search {name!r} cannot be resumed with other settings ({said}); give another --name or --force.")
        raise RunError(
            f"There is a search {name!r} in this run already, with other settings ({said}); give another --name, or --force to "
            "replace it."
        )
    if not resume:
        if not finished:
            raise RunError(
                f"The search {name!r} was begun with these settings and is not finished; go on with --resume, or begin anew with "
                "--force."
            )
        same = "" if stored.get("budget") == asdict(budget) else " but for the budget"
        raise RunError(
            f"The search {name!r} is finished already with these very settings{same}, its results are in {folder}; read those, "
            "or give --resume, --force or another --name."
        )
    return finished and stored.get("budget") == asdict(budget)


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


def _version() -> str:
    # Not subdit.__version__: the facade is a floor above.
    try:
        return metadata.version("subdit")
    except metadata.PackageNotFoundError:
        return "not installed"


def checked_name(name: str) -> str:
    """Return the search's name; raises `SearchError` where it cannot be a folder's."""
    if not name or name.startswith(".") or any(letter in name for letter in "/\\\0"):
        raise SearchError(f"A search cannot be named {name!r}; use letters, digits and dashes.")
    return name


def check_options(budget: Budget, limits: Limits, seed: int) -> None:
    """Raises `SearchError` where a number is out of range."""
    if budget.trials < 1:
        raise SearchError(f"A search of {budget.trials} trials finds nothing; give --trials at least 1.")
    for label, value in {
        "budget_s": budget.budget_s,
        "max_latency_ms": limits.max_latency_ms,
        "max_params": limits.max_params,
    }.items():
        if value is not None and not value > 0:
            raise SearchError(f"The option {label} is {value}; it must be above zero.")
    if seed < 0:
        raise SearchError(f"The seed is {seed}; it must not be negative.")
