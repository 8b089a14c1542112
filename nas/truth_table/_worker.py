"""Fills a truth table in a folder, alone or beside other processes on any machines that share the folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from nas.truth_table._claims import Claims
from nas.truth_table._order import draw_specs
from nas.truth_table._order import training_order
from nas.truth_table._recipe import TruthOptions
from nas.truth_table._recipe import TruthRecipe
from nas.truth_table._recipe import make_recipe
from nas.truth_table._table import TrainedAlone
from nas.truth_table._table import TruthRow
from nas.truth_table._table import TruthTable
from nas.truth_table._table import read_truth_table
from nas.truth_table._table import write_truth_table
from nas.truth_table._training import StandaloneTraining
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.space import SubDiTSpec
from subdit.space import run_space

if TYPE_CHECKING:
    from supernet.evaluation.judge import Judge

TABLE_FILE = "table.json"
RECIPE_FILE = "recipe.json"
STALE_S = 300.0
"""Seconds of silence after which a worker's training is given to another: more than a network file system keeps what it
knows of a file."""
_POLL_S = 0.5


@dataclass(frozen=True)
class Job:
    """One training of one sub-DiT."""

    spec: SubDiTSpec
    number: int

    @property
    def name(self) -> str:
        return f"{self.spec.hash}-{self.number}"


@dataclass(frozen=True)
class TruthWork:
    """A truth table that is to be filled.

    Attributes:
        folder: recipe.json, claims/, results/, and table.json with all that is done.
        jobs: all trainings that are wanted, the most useful ones first.
    """

    folder: Path
    recipe: TruthRecipe
    jobs: tuple[Job, ...]
    train: StandaloneTraining

    @property
    def left(self) -> list[Job]:
        """The trainings that have no result."""
        return [job for job in self.jobs if not self._result(job).exists()]

    @property
    def file(self) -> Path:
        return self.folder / TABLE_FILE

    def _result(self, job: Job) -> Path:
        return self.folder / "results" / f"{job.name}.json"

    def begin(self) -> None:
        """Write the recipe, and take over what an earlier table knows; raises `SearchError` on another recipe."""
        known = self.folder / RECIPE_FILE
        if known.exists():
            _check_same(asdict(self.recipe), read_json(known, "recipe of the truth table"), known)
        if self.file.exists():
            earlier = read_truth_table(self.file)
            _check_same(asdict(self.recipe), asdict(earlier.recipe), self.file)
            for row in earlier.rows:
                for training in row.trainings:
                    result = self._result(Job(row.spec, training.number))
                    if not result.exists():
                        write_json(result, {"spec": row.spec.to_dict(), "training": training.to_dict()})
        write_json(known, asdict(self.recipe))

    def fill(self, *, stale_s: float, budget_s: float | None = None, progress: ProgressCallback = no_progress) -> None:
        """Train until nothing is left, also by others; with a budget no training is begun after it.

        Raises `SearchError` where `stale_s` or `budget_s` is no time.
        """
        for option, seconds in (("stale-s", stale_s), ("budget-s", budget_s)):
            if seconds is not None and not 0 < seconds < 1e9:
                raise SearchError(f"The option --{option} is {seconds}; give seconds above zero.")
        began, claims = time.monotonic(), Claims(self.folder / "claims", stale_s=stale_s)
        total = len(self.jobs)
        while left := self.left:
            if budget_s is not None and time.monotonic() - began >= budget_s:
                break
            claimed = next(((job, claim) for job in left if (claim := claims.take(job.name)) is not None), None)
            done = total - len(left)
            if claimed is None:
                progress(done, total, "other workers have the last trainings")
                time.sleep(min(_POLL_S, stale_s / 10))
                continue
            job, claim = claimed

            def part(
                step: float, steps: float, note: str, done: int = done, name: str = f"{done + 1} of {total}"
            ) -> None:
                progress(done + step / max(steps, 1), total, f"sub-DiT alone, {name}: {note}")

            with claims.working(claim):
                # Between the look at the results and the claim, another worker may have finished.
                if not self._result(job).exists():
                    training = self.train(job.spec, job.number, part)
                    write_json(self._result(job), {"spec": job.spec.to_dict(), "training": training.to_dict()})
            self.collect()
        if len(self.left) < total:
            self.collect()
        progress(total - len(self.left), total, "")

    def collect(self) -> TruthTable:
        """The table of all results that there are, in the order of the draw; also written as table.json.

        Raises `RunError` where there is none.
        """
        found: dict[SubDiTSpec, list[TrainedAlone]] = {job.spec: [] for job in self.jobs}
        for path in sorted((self.folder / "results").glob("*.json")):
            stored = read_json(path, "training of a sub-DiT")
            try:
                spec = SubDiTSpec.from_dict(stored["spec"])
                found.setdefault(spec, []).append(TrainedAlone.from_dict(stored["training"]))
            except (KeyError, TypeError, ValueError) as error:
                raise RunError(f"The training {path} is damaged ({error!r}); delete it to train again.") from error
        rows = tuple(
            TruthRow(spec, tuple(sorted(trainings, key=lambda training: training.number)))
            for spec, trainings in found.items()
            if trainings
        )
        if not rows:
            raise RunError(f"No sub-DiT of the truth table {self.folder} is trained yet; begin with --worker.")
        scores = read_truth_table(self.file).scores if self.file.exists() else ()
        table = TruthTable(self.recipe, rows, scores)
        write_truth_table(table, self.file)
        return table


def truth_work(run: Run, folder: Path, options: TruthOptions, *, progress: ProgressCallback = no_progress) -> TruthWork:
    """What is to be trained for the truth table of a run in a folder; nothing is written.

    Raises as `supernet.data.data_sets.checkpoint_data` and `supernet.evaluation.judge.Judge` do.
    """
    from supernet.data.data_sets import checkpoint_data

    space = run_space(run)
    data = checkpoint_data(run.supernet, space)
    progress(0, 1, "real images")
    judge = _judge(run, options.features) if options.samples != 0 else None
    recipe = make_recipe(run, options, judge, data.digest)
    specs = draw_specs(space, options.count, options.seed)
    if len(specs) < options.count:
        raise SearchError(f"The space {space.name!r} has {len(specs)} sub-DiTs; give --specs at most {len(specs)}.")
    jobs = tuple(Job(specs[index], number) for index, number in training_order(options.count, options.twice))
    return TruthWork(folder, recipe, jobs, StandaloneTraining(recipe, data, judge))


def _judge(run: Run, features: str | None) -> Judge:
    from supernet.evaluation.feature_spaces import make_feature_space
    from supernet.evaluation.judge import Judge
    from supernet.evaluation.run_reference import default_features
    from supernet.evaluation.run_reference import run_reference

    reference = run_reference(run.supernet, run_space(run))
    return Judge(reference, make_feature_space(features or default_features(reference), reference.train))


def _check_same(recipe: Mapping[str, Any], known: Mapping[str, Any], where: Path) -> None:
    for name, value in recipe.items():
        if known.get(name) != value:
            raise SearchError(
                f"The truth table at {where} was begun with {name} {known.get(name)!r}, not {value!r}; give the same, "
                "or another folder with --truth."
            )
