"""`distill`: a pick of a search, distilled to four steps, in the run folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from subdit.errors import RunError
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from subdit.run import Run
from subdit.run import read_json
from subdit.run import read_pick
from subdit.run import write_json
from supernet.checkpoints import load_supernet
from supernet.checkpoints import save_model
from supernet.checkpoints import supernet_digest
from supernet.data import DataSplit
from supernet.data import load_data
from supernet.distillation.few_step_teacher import SHIFT
from supernet.distillation.few_step_teacher import STEPS
from supernet.distillation.few_step_teacher import FewStepConfig
from supernet.distillation.few_step_teacher import train_few_step_teacher
from supernet.distillation.kdmd import KDMDConfig
from supernet.distillation.kdmd import distill_kdmd
from supernet.dit import SubDiT
from supernet.evaluation import frechet_distance
from supernet.judging import generate
from supernet.recipe import SamplingRecipe
from supernet.space import SubDiTSpec

GUIDANCE_STEPS = 14
GUIDANCE_SAMPLES = 2


def distill(
    run_path: Path,
    *,
    pick: str = "balanced",
    search: str = "default",
    few_step: FewStepConfig | None = None,
    kdmd: KDMDConfig | None = None,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Distil a pick to four steps by K-DMD and return the folder of the distilled sub-DiT.

    The few-step teacher is made first and shared by all picks. Killed and called again, it goes on where it was.

    Raises:
        RunError: no such run, search or pick, or a distilled sub-DiT is there and `force` is not given.
        CheckpointError: the supernet, the teacher or a resume state is damaged.
    """
    run = Run(run_path)
    chosen = read_pick(run, pick, search=search)
    spec = SubDiTSpec.from_dict(chosen["spec"])
    folder = run.pick(spec.hash)
    target = folder / "distilled"
    kdmd = KDMDConfig() if kdmd is None else kdmd
    if (target / "config.json").exists() and not force:
        raise RunError(f"The pick {pick!r} is distilled already, at {target}; pass --force to distil it anew.")
    with run.lock():
        supernet = load_supernet(run.supernet)
        data = load_data(spec.space)
        digest = supernet_digest(run.supernet)
        _forget_other_supernet(run, folder, digest)
        state = folder / "kdmd_state.safetensors"
        if force:
            state.unlink(missing_ok=True)
            # Killed from here on, this distillation is a begun one; exports and figures were of the old weights.
            for stale in (target, folder / "exports"):
                shutil.rmtree(stale, ignore_errors=True)
            for name in ("quality.json", "measured.json", "samples.png"):
                (folder / name).unlink(missing_ok=True)
        student = supernet.extract(spec)
        teacher = supernet.full
        few_step = FewStepConfig() if few_step is None else few_step
        total_s = few_step.budget_s + kdmd.budget_s
        first = _within(progress, 0.0, few_step.budget_s, total_s)
        second = _within(progress, few_step.budget_s, kdmd.budget_s, total_s)
        train_few_step_teacher(teacher, data.train, run.teacher, config=few_step, progress=first)
        write_json(folder / "spec.json", spec.to_dict())
        scale, tried = _guidance(teacher, data, run.teacher, kdmd, second)
        steps = distill_kdmd(student, teacher, data.train, state, config=kdmd, guidance_scale=scale, progress=second)
        facts = {"steps": steps, "guidance_scale": scale, "guidance_tried_fd": tried, "digest": digest}
        write_json(folder / "distilled.json", facts)
        save_model(student, target, recipe=SamplingRecipe(STEPS, SHIFT))
        state.unlink(missing_ok=True)
    return target


def _within(progress: ProgressCallback, start_s: float, span_s: float, total_s: float) -> ProgressCallback:
    """A part of the whole work's progress: `span_s` of its `total_s`, from `start_s`."""
    return lambda done, total, note: progress(start_s + span_s * done / total, total_s, note)


def load_few_step_teacher(run: Run) -> SubDiT:
    """The full network with its finished few-step adapter, switched on; raises `RunError` where there is none."""
    if not (run.teacher / "few_step_lora.safetensors").exists():
        raise RunError(f"The run {run.path} has no few-step teacher; make one with 'subdit distill'.")
    teacher = load_supernet(run.supernet).full
    data = load_data(teacher.spec.space)
    train_few_step_teacher(teacher, data.train, run.teacher, config=FewStepConfig())
    teacher.enable_adapters()
    return teacher


def choose_guidance(
    teacher: SubDiT, data: DataSplit, choices: tuple[float, ...], progress: ProgressCallback = no_progress
) -> tuple[float, dict[str, float]]:
    """The guidance scale whose many-step samples are nearest to the validation images, and the distances of all tried.

    Samples carry the validation captions; neither the judge half nor the student has a say.
    """
    teacher.disable_adapters()
    labels = data.validation.labels.repeat(GUIDANCE_SAMPLES)
    tried = {}
    for at, scale in enumerate(choices):
        samples = generate(teacher, teacher.spec.space, labels, steps=GUIDANCE_STEPS, seed=1, guidance_scale=scale)
        tried[f"{scale:g}"] = round(frechet_distance(samples, data.validation.latents), 4)
        progress(0, 1, f"guidance {scale:g}: {at + 1} of {len(choices)}")
    best = min(choices, key=lambda scale: tried[f"{scale:g}"])
    return best, tried


def _guidance(
    teacher: SubDiT, data: DataSplit, teacher_folder: Path, config: KDMDConfig, progress: ProgressCallback
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


def _forget_other_supernet(run: Run, folder: Path, digest: str) -> None:
    """Drop the teacher and half-done distillations of a supernet that has been trained anew since."""
    marker = run.teacher / "supernet.json"
    if run.teacher.exists() and marker.exists() and read_json(marker, "teacher's supernet").get("digest") != digest:
        shutil.rmtree(run.teacher)
        (folder / "kdmd_state.safetensors").unlink(missing_ok=True)
    write_json(marker, {"digest": digest})
