"""`distill`: distils a pick of a search to a few steps, beside its students of other numbers of steps."""

from __future__ import annotations

import contextlib
import re
import shutil
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
from subdit.core.retraining import set_aside_of_pick
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.core.students import STEPS
from subdit.core.students import export_stem
from subdit.core.students import few_step_folder
from subdit.core.students import student_folder
from subdit.core.students import student_mode
from subdit.core.students import student_record
from subdit.core.students import student_state
from subdit.core.students import students
from subdit.core.training_record import TEACHER_FILE
from subdit.core.training_record import TrainingRecord
from subdit.core.weights import supernet_digest
from subdit.space import SubDiTSpec
from supernet.checkpoints import load_supernet
from supernet.checkpoints import save_model
from supernet.data.data_record import read_full_record
from supernet.data.data_set import DataSet
from supernet.data.data_set import evenly
from supernet.data.data_sets import checkpoint_data
from supernet.distillation.few_step_teacher import FewStepConfig
from supernet.distillation.few_step_teacher import train_few_step_teacher
from supernet.distillation.kdmd import KDMDConfig
from supernet.distillation.kdmd import distill_kdmd
from supernet.evaluation.conditioning import condition_on_rows
from supernet.evaluation.metrics import frechet_distance
from supernet.evaluation.samples import generate
from supernet.few_step_adapter import ADAPTER_FILE
from supernet.model.dit import SubDiT
from supernet.model.placement import torch_device
from supernet.recipe import few_step_recipe

GUIDANCE_STEPS = 14
GUIDANCE_SAMPLES = 2
GUIDANCE_IMAGES = 256


def distill(
    run_path: Path,
    *,
    pick: str = "balanced",
    search: str = "default",
    steps: int = STEPS,
    few_step: FewStepConfig | None = None,
    kdmd: KDMDConfig | None = None,
    force: bool = False,
    device: str = "auto",
    progress: ProgressCallback = no_progress,
) -> Path:
    """Distil a pick by K-DMD to a few sampling steps, on a device by torch's name; return the student's folder.

    The few-step teacher of that many steps is made first and shared by all picks. Students of other numbers of steps
    stay. A call after a kill goes on where the work stopped. Work from other weights than the run's is moved to
    `stale/` of the run, with a warning. With `force` and without a ceiling, a teacher that a ceiling cut short is made
    again, too.

    Raises:
        ConfigError: no student can have that many sampling steps.
        RunError: no such run, search or pick; a student of as many sampling steps exists and `force` is not given; or
            the begun work has another number of training steps or another x_t, or a ceiling cut it and there is none
            now.
        CheckpointError: the supernet, the teacher or a resume state is damaged.
    """
    recipe = few_step_recipe(steps)
    run = Run(run_path)
    chosen = read_pick(run, pick, search=search)
    spec = SubDiTSpec.from_dict(chosen["spec"])
    folder = run.pick(spec.hash)
    target, teacher_folder = student_folder(folder, steps), few_step_folder(run, steps)
    few_step = FewStepConfig() if few_step is None else few_step
    kdmd = KDMDConfig() if kdmd is None else kdmd
    if (target / "config.json").exists() and not force:
        _refuse_distilled(run, pick, target)
    with run.lock():
        supernet = load_supernet(run.supernet).to(torch_device(device))
        data = checkpoint_data(run.supernet, supernet.space)
        digest = supernet_digest(run.supernet)
        warn_of_stale_search(run, search, digest)
        _set_aside_teacher(run, digest)
        _set_aside_of_pick(run, pick, folder, digest)
        state = student_state(folder, digest, steps)
        if force:
            state.unlink(missing_ok=True)
            # After a kill from here on, the distillation counts as begun. Exports and figures are of the old weights.
            shutil.rmtree(target, ignore_errors=True)
            _delete_exports(folder, steps)
            _delete_figures(folder, steps)
            if few_step.ceiling_s is None:
                _delete_cut_teacher(teacher_folder)
        student = supernet.extract(spec)
        teacher = supernet.full
        teacher_steps = few_step.drawing_steps(recipe) + few_step.steps
        first = _within(progress, 0, teacher_steps, teacher_steps + kdmd.steps)
        second = _within(progress, teacher_steps, kdmd.steps, teacher_steps + kdmd.steps)
        train_few_step_teacher(teacher, data, teacher_folder, config=few_step, recipe=recipe, progress=first)
        write_json(folder / "spec.json", spec.to_dict())
        scale, tried = _guidance(teacher, data, run.teacher, kdmd, second)
        how: dict[str, Any] = {"guidance_scale": scale, "recipe": recipe, "progress": second}
        made = distill_kdmd(student, teacher, data, state, config=kdmd, **how)
        facts = made.to_dict() | {"guidance_scale": scale, "guidance_tried_fd": tried, KEY: digest}
        write_json(student_record(folder, steps), facts)
        _delete_exports(folder, steps)
        save_model(student, target, recipe=recipe, data=read_full_record(run.supernet))
        state.unlink(missing_ok=True)
    return target


def _within(progress: ProgressCallback, start: float, span: float, whole: float) -> ProgressCallback:
    """The progress of a part of the work, in steps: the `span` steps of `whole` from `start` on."""
    return lambda done, total, note: progress(start + span * done / total, whole, note)


def _delete_exports(folder: Path, steps: int) -> None:
    """Delete a pick's exports and pictures of the weights that a student of so many steps replaces."""
    for path in (folder / "exports").glob("*"):
        others = re.match(r"dit-\d+_step", path.name) is not None
        if path.name.startswith(export_stem(steps)) and (steps != STEPS or not others):
            path.unlink()
    with contextlib.suppress(OSError):
        (folder / "exports").rmdir()
    if steps == STEPS:
        (folder / "samples.png").unlink(missing_ok=True)


def _delete_figures(folder: Path, steps: int) -> None:
    """Delete figures of the student that is replaced; of the paper's steps, all but those of other students."""
    quality = folder / "quality.json"
    if quality.exists():
        found = read_json(quality, "quality of a pick")
        others = {student_mode(each) for each in students(folder) if each != STEPS}
        stored = found if isinstance(found, dict) else {}
        kept = others | {KEY} if steps == STEPS else stored.keys() - {student_mode(steps)}
        left = {name: value for name, value in stored.items() if name in kept}
        if left.keys() - {KEY}:
            write_json(quality, left)
        else:
            quality.unlink()
    if steps == STEPS:
        (folder / "measured.json").unlink(missing_ok=True)


def _delete_cut_teacher(folder: Path) -> None:
    """Delete a teacher that a ceiling cut short; its trajectories are complete, and stay."""
    kept = folder / TEACHER_FILE
    made = TrainingRecord.from_dict(read_json(kept, "record of the few-step teacher")) if kept.exists() else None
    if made is not None and made.cut_step is not None:
        for name in (ADAPTER_FILE, "state.safetensors", "quality.json", TEACHER_FILE):
            (folder / name).unlink(missing_ok=True)


def choose_guidance(
    teacher: SubDiT, data: DataSet, choices: tuple[float, ...], progress: ProgressCallback = no_progress
) -> tuple[float, dict[str, float]]:
    """The guidance scale whose many-step samples are nearest to the validation images, and the distance of each scale.

    Samples have the validation captions; neither the judge half nor the student affects the choice. A large validation
    split is thinned out evenly to `GUIDANCE_IMAGES` images.
    """
    teacher.disable_adapters()
    rows = evenly(data.count("validation"), GUIDANCE_IMAGES)
    real = data.read("validation", rows).latents.numpy()
    text = condition_on_rows(data, "validation", [row for row in rows for _ in range(GUIDANCE_SAMPLES)])
    tried = {}
    for index, scale in enumerate(choices):
        samples = generate(teacher, teacher.spec.space, text, steps=GUIDANCE_STEPS, seed=1, guidance_scale=scale)
        tried[f"{scale:g}"] = round(frechet_distance(samples, real), 4)
        progress(0, 1, f"guidance {scale:g}: {index + 1} of {len(choices)}")
    best = min(choices, key=lambda scale: tried[f"{scale:g}"])
    return best, tried


def _guidance(
    teacher: SubDiT, data: DataSet, teacher_folder: Path, config: KDMDConfig, progress: ProgressCallback
) -> tuple[float, dict[str, float]]:
    if config.guidance_scale is not None:
        return config.guidance_scale, {}
    kept = teacher_folder / "guidance.json"
    if kept.exists():
        found = read_json(kept, "choice of guidance")
        return float(found["guidance_scale"]), found["tried"]
    best, tried = choose_guidance(teacher, data, config.guidance_choices, progress)
    write_json(kept, {"guidance_scale": best, "tried": tried})
    return best, tried


def _refuse_distilled(run: Run, pick: str, target: Path) -> None:
    """Raise `RunError` unless the student is of other weights, and will be set aside."""
    made_from, digest = origin(target), run_digest(run)
    match freshness(made_from, digest):
        case Freshness.FRESH:
            raise RunError(f"The pick {pick!r} is distilled already, at {target}; pass --force to distil it again.")
        case Freshness.UNKNOWN:
            what = f"The pick {pick!r} is distilled already, but {target}"
            raise RunError(stale_sentence(what, made_from, digest, "pass --force to distil it again"))


def _set_aside_teacher(run: Run, digest: str) -> None:
    """Set aside a teacher of other weights, with a warning, and record the weights of the next one."""
    if run.teacher.exists() and freshness(made_from := origin(run.teacher), digest) is not Freshness.FRESH:
        folder = set_aside(run, made_from, run.teacher)
        warn_stale(
            stale_sentence("The few-step teacher", made_from, digest, f"it now lies in {folder}, and a new one is made")
        )
    write_json(run.teacher / "supernet.json", {KEY: digest})


def _set_aside_of_pick(run: Run, pick: str, folder: Path, digest: str) -> None:
    """Set aside files of other weights in a pick's folder, with a warning."""
    moved = set_aside_of_pick(run, folder, digest)
    for made_from, names in moved.items():
        what = f"The earlier work on the pick {pick!r} ({', '.join(names)})"
        lies = run.path / "stale" / (made_from or "unknown")
        warn_stale(stale_sentence(what, made_from, digest, f"it now lies in {lies}, and the distillation starts over"))
