"""Where the students of a pick lie: one per number of sampling steps, side by side, each with a few-step teacher.

The student of four steps, the paper's number, lies in `distilled/`, where it always did. One of another number lies
beside it, in `distilled_2_steps/` for instance, with its record, its half-done distillation and its exports under names
of their own. A few-step teacher of another number lies within `teacher/`, and is set aside with it.
"""

from __future__ import annotations

import re
from pathlib import Path

from subdit.core.run import Run

STEPS = 4
STUDENT = "distilled"
STATE = "kdmd_state"
"""Half a distillation is called STATE-DIGEST.safetensors, so that only the supernet that it was begun from finds it."""


def steps_name(steps: int) -> str:
    """A number of steps as files and figures are called after it: "2_steps", "1_step"."""
    return f"{steps}_step{'' if steps == 1 else 's'}"


def student_folder(pick_folder: Path, steps: int = STEPS) -> Path:
    return pick_folder / f"{STUDENT}{_suffix(steps)}"


def student_record(pick_folder: Path, steps: int = STEPS) -> Path:
    """How the student was distilled, as JSON beside its folder."""
    return student_folder(pick_folder, steps).with_suffix(".json")


def student_state(pick_folder: Path, digest: str, steps: int = STEPS) -> Path:
    """Half the distillation of a student from the supernet of that digest."""
    return pick_folder / f"{STATE}{_suffix(steps)}-{digest}.safetensors"


def export_stem(steps: int = STEPS) -> str:
    """What the exports of a student are called, without precision and suffix."""
    return f"dit{_suffix(steps).replace('_', '-', 1)}"


def student_mode(steps: int) -> str:
    """The name in quality.json of a student of another number of steps than four, drawn in its steps."""
    return f"{STUDENT}{_suffix(steps)}"


def few_step_folder(run: Run, steps: int = STEPS) -> Path:
    """The few-step teacher of that number of steps."""
    return run.teacher if steps == STEPS else run.teacher / steps_name(steps)


def is_student(folder: Path) -> bool:
    """Whether a folder is called as one of a student is."""
    return student_steps(folder) is not None


def students(pick_folder: Path) -> dict[int, Path]:
    """The whole students of a pick by their number of steps, the paper's first, then in rising order."""
    found = {student_steps(path): path for path in pick_folder.glob(f"{STUDENT}*") if (path / "config.json").is_file()}
    whole = {steps: path for steps, path in found.items() if steps is not None}
    return dict(sorted(whole.items(), key=lambda item: (item[0] != STEPS, item[0])))


def _suffix(steps: int) -> str:
    return "" if steps == STEPS else f"_{steps_name(steps)}"


def student_steps(folder: Path) -> int | None:
    """The number of sampling steps by the name of a student's folder, None if it is not called as one."""
    found = re.fullmatch(rf"{STUDENT}(?:_([1-9][0-9]*)_steps?)?", folder.name)
    if found is None:
        return None
    steps = STEPS if found[1] is None else int(found[1])
    return steps if folder.name == f"{STUDENT}{_suffix(steps)}" else None
