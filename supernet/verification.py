"""Quality of a pick by its samples, at every way of sampling that it has, kept in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from subdit.errors import RunError
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from subdit.run import Run
from subdit.run import read_json
from subdit.run import read_pick
from subdit.run import write_json
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.data import load_data
from supernet.distillation import load_few_step_teacher
from supernet.judging import PER_CLASS
from supernet.judging import Judgement
from supernet.judging import judge_plain_few_steps
from supernet.judging import judge_sampling
from supernet.space import SubDiTSpec

FEW_STEPS = {"4_steps": 4, "2_steps": 2, "1_step": 1}


def judge_pick(
    run_path: Path,
    *,
    pick: str,
    search: str = "default",
    seeds: int = 1,
    per_class: int = PER_CLASS,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Judge a pick at 28 steps, at 4 plain steps and, where it is distilled, at 4, 2 and 1; writes quality.json.

    What has been judged already is not judged again, so a killed call goes on. Raises `RunError` and `CheckpointError`.
    """
    run = Run(run_path)
    spec = SubDiTSpec.from_dict(read_pick(run, pick, search=search)["spec"])
    data, folder = load_data(spec.space), run.pick(spec.hash)
    model = load_supernet(run.supernet).extract(spec)
    shared: dict[str, Any] = {"data": data, "seeds": seeds, "per_class": per_class}
    ways: dict[str, Callable[[], Judgement]] = {
        "28_steps": lambda: judge_sampling(model, spec.space, steps=28, shift=1.0, **shared),
        "plain_4_steps": lambda: judge_plain_few_steps(model, spec.space, **shared),
    }
    if (folder / "distilled" / "config.json").exists():
        student = load_sub_dit(folder / "distilled")
        for name, steps in FEW_STEPS.items():
            ways[name] = lambda steps=steps: judge_sampling(student, spec.space, steps=steps, shift=3.0, **shared)  # type: ignore[misc]
    return _judge(folder / "quality.json", ways, progress)


def judge_teacher(
    run_path: Path, *, seeds: int = 1, per_class: int = PER_CLASS, progress: ProgressCallback = no_progress
) -> dict[str, Any]:
    """Judge the few-step teacher: the full network at 28 steps, at 4 plain steps, and at 4 with its adapter."""
    run = Run(run_path)
    teacher = load_few_step_teacher(run)
    space = teacher.spec.space
    shared: dict[str, Any] = {"data": load_data(space), "seeds": seeds, "per_class": per_class}

    def with_adapter(on: bool, judged: Callable[[], Judgement]) -> Judgement:
        (teacher.enable_adapters if on else teacher.disable_adapters)()
        return judged()

    ways: dict[str, Callable[[], Judgement]] = {
        "28_steps": lambda: with_adapter(False, lambda: judge_sampling(teacher, space, steps=28, shift=1.0, **shared)),
        "plain_4_steps": lambda: with_adapter(False, lambda: judge_plain_few_steps(teacher, space, **shared)),
        "4_steps": lambda: with_adapter(True, lambda: judge_sampling(teacher, space, steps=4, shift=3.0, **shared)),
    }
    return _judge(run.teacher / "quality.json", ways, progress)


def _judge(path: Path, ways: dict[str, Callable[[], Judgement]], progress: ProgressCallback) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path, "quality of a pick") if path.exists() else {}
    if not isinstance(found, dict):
        raise RunError(f"The file {path} is damaged (no object); delete it and judge again.")
    for at, (name, judged) in enumerate(ways.items()):
        progress(at, len(ways), name.replace("_", " "))
        if name not in found:
            found[name] = asdict(judged())
            write_json(path, found)
    progress(len(ways), len(ways), "")
    return found
