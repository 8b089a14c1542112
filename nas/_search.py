"""`search`: find the sub-DiTs of a run's supernet that are best on one device or several."""

from __future__ import annotations

import time
from pathlib import Path

from nas._config import SearchConfig
from nas._loop import run_search
from nas._picks import pick_name
from nas._problem import resolve
from nas.study._location import StudyLocation
from nas.study._location import StudyOptions
from subdit.core.errors import SearchError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.results import SearchResult


def search(
    run: Path | str,
    config: SearchConfig,
    *,
    name: str = "default",
    study: StudyOptions | None = None,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> SearchResult:
    """Search the run's space for the Pareto front of what sub-DiTs cost and how good they are.

    Writes `searches/NAME/` of the run: the Optuna study, search.json, trials.csv, front.csv, picks.json.

    Args:
        study: where the study is kept and who works on it; by default a file in the folder, and this process.
        resume: continue a killed search, to the same end as without the kill; read a finished one; or start one.
        force: replace the search of that name.

    A pick that the front turns out not to have raises `SearchError` when everything else is written, and so does a
    machine that is too noisy to verify on.

    Raises `RunError` where the search exists already or the run is damaged, `ProfileError` where a device is unknown,
    of another space or noisy, `InfeasibleError` where no sub-DiT keeps the constraints (on qualities, none that was
    evaluated), `SearchError` where options contradict each other or differ from those of the search to resume.
    """
    started = time.monotonic()
    study = study or StudyOptions()
    _check_name(name)
    if resume and force:
        raise SearchError("Resuming a search and replacing it exclude each other; give one of --resume and --force.")
    if study.worker and force:
        raise SearchError("A worker joins a search and replaces none; give one of --worker and --force.")
    if study.worker and config.verify:
        raise SearchError(
            "Workers end together and would all measure at once; when they are done give --verify to one command with "
            "--resume."
        )
    if study.worker and config.calibrate_quality:
        raise SearchError(
            "Workers end together and would all train the same; when they are done give --calibrate-quality to one "
            "command with --resume."
        )
    where = Run(Path(run)).require()
    location = StudyLocation.of(where, name, study, resume=resume, force=force)
    problem = resolve(where, config)
    if config.verify:
        from nas.verification._same_machine import check_same_machine

        # Before the search and not after hours of it.
        check_same_machine(problem.profiles[0])
    if config.calibrate_quality:
        from nas.calibration._search import check_calibrates

        check_calibrates(problem)
    result = run_search(
        where, name, problem, location=location, resume=resume, force=force, progress=progress, started=started
    )
    problem.save_profiles(result.folder)
    if config.verify:
        from nas.verification._verify import verify_search

        result = verify_search(where, result, problem, progress=progress)
    if config.calibrate_quality:
        from nas.calibration._search import calibrate_search

        result = calibrate_search(where, result, problem, progress=progress)
    missed = result.config.get("missed_picks", {})
    for pick in (pick_name(figure, limit) for figure, limit in problem.config.pick_at.items()):
        if pick not in result.picks:
            raise SearchError(f"{missed[pick].removesuffix('.')}, so the search is finished without that pick.")
    return result


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or any(letter in name for letter in "/\\\0"):
        raise SearchError(f"A search cannot be named {name!r}; use letters, digits and dashes.")
