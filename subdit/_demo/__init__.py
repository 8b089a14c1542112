"""`demo`: the whole road on real pictures, with this machine as the device. It only strings the verbs together."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subdit._demo import _preconditions
from subdit._demo import _steps
from subdit._demo._budget import CEILING_S
from subdit._demo._budget import QUICK
from subdit._demo._budget import DemoBudget
from subdit._demo._context import Bar
from subdit._demo._context import Demo
from subdit._demo._context import DemoDataSet
from subdit._demo._digits import Digits
from subdit._demo._emoji import Emoji
from subdit.core.errors import DataError
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.training_record import TrainingRecord
from subdit.core.training_record import cut_sentence
from subdit.space import get_space
from subdit.space import start_run

__all__ = ["CEILING_S", "DATA_SETS", "QUICK", "DemoBudget", "DemoResult", "demo"]

DATA_SETS: Mapping[str, DemoDataSet] = {each.name: each for each in (Digits(), Emoji())}
"""What the demo can be on."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        run: the run folder.
        picks: per pick what was predicted and what was measured, and where it lies.
        teacher: quality of the few-step teacher.
        noisy: whether the machine was too noisy to rank close sub-DiTs.
        speed: of the machine while the picks were measured, over that while the kit was.
        trained: how far supernet, few-step teacher and K-DMD came.
        cut: the sentence about those that the ceiling cut short, empty where none was.
        report: the page.
        samples: the picture of the balanced pick.
        data: name of the data set.
    """

    run: Path
    picks: dict[str, dict[str, Any]]
    teacher: dict[str, Any]
    noisy: bool
    speed: float
    trained: dict[str, TrainingRecord]
    cut: str
    report: Path
    samples: Path
    data: str


def demo(
    run_path: Path | None = None,
    *,
    data: str = Digits.name,
    budget: DemoBudget | None = None,
    seed: int = 0,
    ceiling_s: float | None = CEILING_S,
    constraints: Mapping[str, float] | None = None,
    say: Callable[[str], None] = lambda text: None,
    bar: Bar = lambda title: nullcontext(no_progress),
) -> DemoResult:
    """Data, supernet, device profile, search, K-DMD, export, measured picks, report; a killed demo resumes.

    `data` is a name of `DATA_SETS`, whose budget and run folder are taken where none are given. `ceiling_s` is of all
    training together and does not identify the demo: until something is cut short, it may be another one each time, or
    None.

    Raises:
        DataError: there is no such data set, or what it is made from is missing.
        RunError: the folder holds a demo of other budgets, another seed or an earlier version, or one that was cut
            short, and there is to be no ceiling.
        SubditError: whatever a step raises.
    """
    if data not in DATA_SETS:
        raise DataError(f"There is no demo on {data!r}; choose one of {', '.join(DATA_SETS)}.")
    on = DATA_SETS[data]
    run = Run(on.run if run_path is None else run_path)
    start_run(run, get_space(on.space))
    made = Demo(run, on, on.budget if budget is None else budget, seed, ceiling_s, constraints or {}, say, bar)
    _preconditions.require_same_demo(made)
    _preconditions.refuse_cut(made)
    reference = on.prepare(made)
    _steps.tell_duration(made, reference)
    _steps.train_supernet(made, reference)
    _preconditions.set_aside_stale(made)
    noisy = _steps.profile_machine(made)
    _steps.search_front(made)
    _steps.distill_pick(made)
    exports = _steps.export_picks(made)
    _steps.measure_picks(made, exports)
    samples = _steps.draw_samples(made, exports)
    qualities, teacher = _steps.judge_samples(made)
    say("Report: one page for the team, a picture, a table")
    from reports import report

    written = report(run.path, force=True)
    trained = _preconditions.training_records_of(run)
    return DemoResult(
        run=run.path,
        picks=_steps.closing_rows(run, exports, qualities),
        teacher=teacher,
        noisy=noisy,
        speed=_steps.machine_speed(run, exports["balanced"]),
        trained=trained,
        cut=cut_sentence(trained, space=on.space),
        report=written.html,
        samples=samples["balanced"],
        data=data,
    )
