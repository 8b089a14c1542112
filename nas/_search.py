"""`search`: find the sub-DiTs of a run's supernet that are best on one device or several."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import cast

from nas._config import Budget
from nas._config import checked_name
from nas._config import default_trials
from nas._loop import run_search
from nas._problem import resolve
from nas._results import SearchResult
from nas._results import keep_profiles
from nas._results import pick_name
from nas.proxies import QualityProxy
from nas.study._location import StudyLocation
from subdit.core.errors import SearchError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run

if TYPE_CHECKING:
    from device_profiles import DeviceProfile


def search(
    run: Path | str,
    *,
    device: str | DeviceProfile | Sequence[str | DeviceProfile],
    name: str = "default",
    objectives: Sequence[str] | None = None,
    max_latency_ms: float | Sequence[float] | None = None,
    max_params: int | None = None,
    limits: Mapping[str, float] | None = None,
    pick_at: Mapping[str, float] | None = None,
    sampler: str = "nsga2",
    surrogate: bool = True,
    trials: int | None = None,
    budget_s: float | None = None,
    seed: int = 0,
    steps: int = 4,
    allow_noisy: bool = False,
    proxy: QualityProxy | None = None,
    storage: str | None = None,
    study_name: str | None = None,
    worker: bool = False,
    stale_s: float | None = None,
    verify: int = 0,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> SearchResult:
    """Search the run's space for the Pareto front of what it costs on a device and how good it is.

    Writes `searches/NAME/` of the run: the Optuna study, search.json, trials.csv, front.csv, picks.json. With `resume`
    a killed search goes on as if it had not been, a finished one is read, and one that was not begun is begun; with
    `force` it begins anew.

    Args:
        device: profiles by id, prefix, file or as objects; with several, each one's latency is an objective.
        objectives: of "latency", "pipeline" (a whole picture), "params", "memory", "file", "flops" and the ids of
            quality proxies (`nas.proxies.PROXIES`), at least one of each kind; latency and validation loss by default.
        max_latency_ms: hard limit on one step, for all devices or for each.
        max_params: hard limit on the number of parameters.
        limits: hard limits on other figures by name: "pipeline_ms", "memory_mb", "file_mb", "gflops"; or on a quality
            proxy by its id, where it is an objective.
        pick_at: further picks: the best quality of the front at most at this value of a figure.
        sampler: "nsga2", "tpe", "random", or "exhaustive" where few sub-DiTs are within the limits.
        surrogate: whether nsga2 lets a surrogate fitted on the evaluations so far choose among its children.
        trials, budget_s: when it ends, by sub-DiTs and by seconds; by default after 400, or all where it is exhaustive.
        seed: of the proposals.
        steps: of a picture, where "pipeline" is asked for.
        allow_noisy: accept profiles, and with `verify` measurements, of too noisy a machine.
        proxy: in place of the default quality proxy.
        storage: URL of an Optuna storage, see `nas.study._storage.open_storage`; by default a file in the run, or where
            the search that is resumed was begun.
        study_name: in that storage; by default the names of run and search, or as it was begun.
        worker: share the search with others that were started alike.
        stale_s: seconds without a sign of life after which a worker's trial is given to another.
        verify: export and measure so many of the most promising on this machine, and search again with what they say;
            for profiles of this machine on ONNX Runtime in fp32.

    A pick that the front turns out not to have raises `SearchError` when everything else is written, and so does a
    machine that is too noisy to verify on.

    Raises `RunError` where the search exists already or the run is damaged, `ProfileError` where the device is unknown,
    of another space or noisy, `InfeasibleError` where no sub-DiT keeps the limits (on qualities, none that was
    evaluated), `SearchError` where options are senseless or differ from those of the search to resume.
    """
    started = time.monotonic()
    checked_name(name)
    if resume and force:
        raise SearchError("Resuming and beginning anew exclude each other; give one of --resume and --force.")
    if worker and force:
        raise SearchError("A worker joins a search and replaces none; give one of --worker and --force.")
    if worker and verify:
        raise SearchError(
            "Workers end together and would all measure at once; when they are done give --verify to one command with "
            "--resume."
        )
    if verify < 0:
        raise SearchError(
            f"One cannot verify {verify} sub-DiTs; give --verify a number of at least 1, or leave it out."
        )
    budget = Budget(default_trials(sampler) if trials is None else trials, budget_s)
    where = Run(Path(run)).require()
    location = StudyLocation.of(
        where,
        name,
        storage=storage,
        study_name=study_name,
        worker=worker,
        stale_s=stale_s,
        resume=resume,
        force=force,
    )
    asked = resolve(
        where,
        devices=list(device) if isinstance(device, list | tuple) else [cast("str | DeviceProfile", device)],
        objectives=objectives,
        max_latency_ms=max_latency_ms,
        max_params=max_params,
        limits=limits or {},
        sampler=sampler,
        surrogate=surrogate,
        budget=budget,
        seed=seed,
        steps=steps,
        allow_noisy=allow_noisy,
        proxy=proxy,
    )
    if verify:
        from nas.verification._same_machine import check_same_machine

        # Now, not when hours were spent on what is then not measured.
        check_same_machine(asked.profiles[0])
    result = run_search(
        where,
        name,
        asked.tables,
        asked.proxies,
        asked.question,
        budget,
        location=location,
        pick_at=pick_at,
        resume=resume,
        force=force,
        progress=progress,
        started=started,
    )
    keep_profiles(result.folder, asked.profiles)
    if verify:
        from nas.verification._verify import verify_search

        result = verify_search(
            where, result, asked, count=verify, pick_at=pick_at, progress=progress, allow_noisy=allow_noisy
        )
    missed = result.config.get("missed_picks", {})
    for pick in (pick_name(figure, limit) for figure, limit in (pick_at or {}).items()):
        if pick not in result.picks:
            raise SearchError(f"{missed[pick].removesuffix('.')}, so the search is finished without that pick.")
    return result
