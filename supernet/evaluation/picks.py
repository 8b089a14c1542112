"""Quality of a pick by its samples, in each of its sampling modes, kept in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.core.origin import Freshness
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import set_aside
from subdit.core.origin import stale_sentence
from subdit.core.origin import warn_of_stale_search
from subdit.core.origin import warn_stale
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.core.students import STEPS
from subdit.core.students import few_step_folder
from subdit.core.students import steps_name
from subdit.core.students import student_mode
from subdit.core.students import students
from subdit.space import SubDiTSpec
from subdit.space import run_space
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.evaluation.run_reference import run_judge
from supernet.evaluation.samples import PER_CLASS
from supernet.evaluation.samples import Judgement
from supernet.evaluation.samples import judge_plain_few_steps
from supernet.evaluation.samples import judge_sampling
from supernet.export.export_pick import student_origin
from supernet.few_step_adapter import load_few_step_teacher
from supernet.recipe import MANY_STEPS
from supernet.recipe import few_step_recipe
from supernet.recipe import read_recipe

STUDENT_STEPS = {"4_steps": 4, "2_steps": 2, "1_step": 1}
"""Euler steps of the student of four steps, by their names in quality.json."""


def judge_pick(
    run_path: Path,
    *,
    pick: str,
    search: str = "default",
    seeds: int = 1,
    per_class: int = PER_CLASS,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Judge a pick at 28 steps, at 4 plain steps and, if it is distilled, at 4, 2 and 1; writes quality.json.

    Each student of another number of steps is judged in as many, beside as many plain ones. The 28 steps have the shift
    that the supernet's checkpoint names: that of its training.

    Modes that quality.json has are not judged again, so a call after a kill goes on. A quality.json of other weights is
    set aside, with a warning. Raises `RunError`, also if the distilled sub-DiT is of other weights, and
    `CheckpointError`.
    """
    run = Run(run_path)
    spec = SubDiTSpec.from_dict(read_pick(run, pick, search=search)["spec"])
    folder, digest = run.pick(spec.hash), run_digest(run)
    warn_of_stale_search(run, search, digest)
    distilled = students(folder)
    origins = [student_origin(run, pick, path, digest) for path in distilled.values()]
    # Of an unknown one among them the figures are of unknown weights.
    made_from = None if None in origins else next(iter(origins), digest)
    model, shift = load_supernet(run.supernet).extract(spec), read_recipe(run.supernet)[0].shift
    shared: dict[str, Any] = {"judge": run_judge(run.supernet, run_space(run)), "seeds": seeds, "per_class": per_class}
    modes: dict[str, Callable[[], Judgement]] = {
        "28_steps": lambda: judge_sampling(model, spec.space, steps=MANY_STEPS.steps, shift=shift, **shared),
        "plain_4_steps": lambda: judge_plain_few_steps(model, spec.space, **shared),
    }
    for of_steps, path in distilled.items():
        student, recipe = load_sub_dit(path), read_recipe(path)[0]
        if of_steps == STEPS:
            drawn = STUDENT_STEPS
        else:
            drawn = {student_mode(of_steps): of_steps}
            plain = partial(judge_plain_few_steps, model, spec.space, steps=of_steps, **shared)
            modes[f"plain_{steps_name(of_steps)}"] = plain
        for name, steps in drawn.items():
            how: dict[str, Any] = {**shared, "steps": steps, "shift": recipe.shift}
            modes[name] = partial(judge_sampling, student, spec.space, **how)
    _set_aside_quality(run, folder / "quality.json", modes, digest)
    return _judge(folder / "quality.json", modes, made_from, progress)


def judge_teacher(
    run_path: Path,
    *,
    steps: int = STEPS,
    seeds: int = 1,
    per_class: int = PER_CLASS,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Judge a few-step teacher: the full network at 28 steps, at few plain steps, and at as many with its adapter."""
    run, recipe = Run(run_path), few_step_recipe(steps)
    teacher = load_few_step_teacher(run, steps)
    space, shift = teacher.spec.space, read_recipe(run.supernet)[0].shift
    judge = run_judge(run.supernet, run_space(run))
    shared: dict[str, Any] = {"judge": judge, "seeds": seeds, "per_class": per_class}

    def with_adapter(on: bool, judged: Callable[[], Judgement]) -> Judgement:
        (teacher.enable_adapters if on else teacher.disable_adapters)()
        return judged()

    modes: dict[str, Callable[[], Judgement]] = {
        "28_steps": lambda: with_adapter(
            False, lambda: judge_sampling(teacher, space, steps=MANY_STEPS.steps, shift=shift, **shared)
        ),
        f"plain_{steps_name(steps)}": lambda: with_adapter(
            False, lambda: judge_plain_few_steps(teacher, space, steps=steps, **shared)
        ),
        steps_name(steps): lambda: with_adapter(
            True, lambda: judge_sampling(teacher, space, **asdict(recipe), **shared)
        ),
    }
    # quality.json lies in the teacher's folder, whose origin it shares.
    return _judge(few_step_folder(run, steps) / "quality.json", modes, origin(run.teacher), progress)


def _set_aside_quality(run: Run, path: Path, modes: dict[str, Callable[[], Judgement]], digest: str | None) -> None:
    """Set aside figures of other weights, and incomplete figures of unknown weights; warn of complete ones."""
    if not path.exists():
        return
    made_from, known = origin(path), read_json(path, "quality of a pick")
    what = f"The quality at {path}"
    match freshness(made_from, digest):
        case Freshness.UNKNOWN if isinstance(known, dict) and modes.keys() <= known.keys():
            warn_stale(stale_sentence(what, made_from, digest, "to be sure delete the file and judge again"))
        case Freshness.UNKNOWN | Freshness.STALE:
            folder = set_aside(run, made_from, path)
            warn_stale(
                stale_sentence(what, made_from, digest, f"it now lies in {folder}, and the pick is judged again")
            )


def _judge(
    path: Path, modes: dict[str, Callable[[], Judgement]], made_from: str | None, progress: ProgressCallback
) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path, "quality of a pick") if path.exists() else {}
    if not isinstance(found, dict):
        raise RunError(f"The file {path} is damaged (no object); delete it and judge again.")
    for index, (name, judged) in enumerate(modes.items()):
        progress(index, len(modes), name.replace("_", " "))
        if name not in found:
            found[name] = asdict(judged())
            write_json(path, found if made_from is None else {**found, KEY: made_from})
    progress(len(modes), len(modes), "")
    return {name: figures for name, figures in found.items() if name != KEY}
