"""Train sub-DiTs of a search on their own, learn from them what quality is, and search again by that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas._loop import run_search
from nas._problem import SearchProblem
from nas.calibration._choice import most_telling
from nas.calibration._model import leave_one_out
from nas.calibration._proxy import CalibratedQuality
from nas.calibration._report import calibration_report
from nas.calibration._report import with_doubts
from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from subdit.core.errors import SearchError
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.core.origin import NO_PART
from subdit.core.progress import ProgressCallback
from subdit.core.quantities import is_figure
from subdit.core.run import Run
from subdit.results import SearchResult
from subdit.results import write_search
from subdit.space import SubDiTSpec

Floats = npt.NDArray[np.float64]
Train = Callable[[Sequence[SubDiTSpec]], Floats]
"""Specs to their losses (n,) when each is trained on its own."""

CALIBRATION_FILE = "calibration.json"
FIRST_FILE = "calibrate.json"
STALE_S = 300.0


def check_calibrates(problem: SearchProblem) -> None:
    """Raise `SearchError` where something is asked of the proxy that a calibration replaces."""
    first = problem.objectives.qualities[0]
    if first in problem.objectives.limits or first in problem.config.pick_at:
        raise SearchError(
            f"A limit or a pick at a value of {first} says nothing of calibrated quality, which is another loss; leave "
            "it out, or search without --calibrate-quality."
        )


def calibrate_search(
    run: Run, first: SearchResult, problem: SearchProblem, *, progress: ProgressCallback, train: Train | None = None
) -> SearchResult:
    """Train `config.calibrate_quality` sub-DiTs of a search, correct its first proxy by them, and search again.

    Writes searches/NAME-calibrated/, with calibration.json, and searches/NAME/calibrate.json. The trainings are kept in
    proxies/ of the run, so that what was trained once is not trained again. Further objectives stay as they were.

    Raises `SearchError` where the search has too few trials to learn from.
    """
    config, space = problem.config, problem.tables.space
    chosen = most_telling(first, space, config.calibrate_quality)
    specs = [trial.spec for trial in chosen]
    if train is None:
        train = lambda specs: train_alone(run, specs, config.calibrate_updates, progress)  # noqa: E731
    truth = train(specs)
    stores = {name: QualityStore(run.quality, proxy) for name, proxy in problem.proxies.items()}
    quality, *others = problem.objectives.qualities
    digest = problem.proxies[quality].supernet_digest
    calibrated = CalibratedQuality(space, specs, truth, stores, supernet=digest, updates=config.calibrate_updates)
    left_out = leave_one_out(calibrated.features, truth)
    second = run_search(
        run, f"{first.folder.name}-calibrated", _calibrated(problem, calibrated, others), force=True, progress=progress
    )
    said = {
        KEY: first.config.get(KEY, NO_PART),
        "first_search": first.folder.name,
        "second_search": second.folder.name,
        **calibration_report(first, second, chosen, truth, left_out, calibrated, problem.objectives.weighed),
        "updates": config.calibrate_updates,
        "data_hash": calibrated.data_hash,
    }
    second = dataclasses.replace(second, picks=with_doubts(second))
    # Before the results, so that a search that says it is calibrated has what it was calibrated by.
    write_json(second.folder / CALIBRATION_FILE, said)
    write_search(second)
    problem.save_profiles(second.folder)
    write_json(first.folder / FIRST_FILE, said)
    return dataclasses.replace(second, config={**second.config, "calibrated": said})


def _calibrated(problem: SearchProblem, proxy: CalibratedQuality, others: Sequence[str]) -> SearchProblem:
    """The problem with this proxy in place of its first one."""
    proxies: dict[str, QualityProxy] = {proxy.id: proxy, **{name: problem.proxies[name] for name in others}}
    costs = [name for name in problem.config.objective_names if is_figure(name)]
    asked: tuple[str | QualityProxy, ...] = (*costs, *proxies.values())
    return dataclasses.replace(
        problem,
        config=dataclasses.replace(problem.config, objectives=asked, calibrate_quality=0),
        proxies=proxies,
        objectives=dataclasses.replace(problem.objectives, qualities=tuple(proxies)),
    )


def train_alone(run: Run, specs: Sequence[SubDiTSpec], updates: int, progress: ProgressCallback) -> Floats:
    """Losses (n,) of sub-DiTs on the split judge after trainings alone, on the same batches and noise; each is kept."""
    from nas.truth_table import TruthOptions
    from nas.truth_table import truth_work
    from nas.truth_table._worker import Job

    folder: Path = run.proxies / f"calibration-{updates}"
    options = TruthOptions(updates=updates, common_noise=True, samples=0)
    work = dataclasses.replace(truth_work(run, folder, options), jobs=tuple(Job(spec, 0) for spec in specs))
    work.begin()
    work.fill(stale_s=STALE_S, progress=progress)
    table = work.collect()
    losses = dict(zip(table.specs, table.losses("loss"), strict=True))
    return np.asarray([losses[spec][0] for spec in specs])
