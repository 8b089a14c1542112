"""The steps of the demo: each calls a verb, unless what it makes is there already."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from subdit._demo._budget import ceiling_of
from subdit._demo._budget import duration_lines
from subdit._demo._context import PICKS
from subdit._demo._context import Demo
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.core.origin import origin
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.core.run import record_step
from subdit.core.training_record import STUDENT
from subdit.core.training_record import SUPERNET
from subdit.core.training_record import TEACHER


def tell_duration(demo: Demo, data: str) -> None:
    """Measure a few steps of each training, and say how long everything takes; nothing where all is trained."""
    if demo.has_done("distill"):
        return
    from subdit.space import get_space
    from supernet.data.data_sets import open_data_set
    from supernet.step_times import measure_step_times

    space, rest_steps = demo.data.space, demo.data.rest_steps(demo.budget)
    times = measure_step_times(space, open_data_set(data, space=get_space(space)))
    for line in duration_lines(demo.budget, demo.ceiling_s, times, rest_steps=rest_steps):
        demo.say(f"  {line}")


def train_supernet(demo: Demo, data: str) -> None:
    from subdit.space import get_space
    from supernet.training.config import TrainingConfig
    from supernet.training.train import train

    size = get_space(demo.data.space).size
    demo.say(f"Supernet: {size:,} sub-DiTs in one set of weights, full network plus one sub-network a step")
    if not demo.has_done("train"):
        with demo.bar("Training the supernet") as progress:
            ceiling_s = ceiling_of(SUPERNET, demo.ceiling_s)
            own = demo.data.training
            config = TrainingConfig(steps=demo.budget.train_steps, ceiling_s=ceiling_s, seed=demo.seed, **own)
            train(demo.data.space, demo.run.path, data=data, config=config, resume=True, progress=progress)


def profile_file(run: Run) -> Path:
    """The device profile that the demo measures."""
    return run.path / "device.json"


def profile_machine(demo: Demo) -> bool:
    """Whether the machine was too noisy."""
    from device_profiles import load_profile
    from profilers import is_kit
    from profilers import kit
    from profilers import profile

    demo.say("Device: this machine, ONNX Runtime on one thread, every component of the space in interleaved rounds")
    target = profile_file(demo.run)
    if not target.exists():
        folder = demo.run.path / "kit"
        if not is_kit(folder):
            with demo.bar("Exporting the kit") as progress:
                kit(demo.data.space, folder, whole=demo.budget.whole, progress=progress)
        with demo.bar("Measuring the kit") as progress:
            profile(folder, out=target, budget_s=demo.budget.profile_s, progress=progress)
    measured = load_profile(str(target), space=demo.data.space)
    if measured.noisy:
        demo.say("  This machine is too noisy to rank close sub-DiTs; the profile is marked.")
    return measured.noisy


def search_front(demo: Demo) -> None:
    from nas import SearchConfig
    from nas import search

    demo.say("Search: NSGA-II over latency from that profile and validation loss of the inherited weights")
    folder = demo.run.search("default")
    if not (demo.has_done("search") and (folder / "search.json").exists()):
        with demo.bar("Searching") as progress:
            config = SearchConfig(
                devices=(str(profile_file(demo.run)),),
                constraints=demo.constraints,
                trials=demo.budget.trials,
                seed=demo.seed,
                allow_noisy=True,
            )
            result = search(demo.run.path, config, resume=folder.exists(), progress=progress)
        record_step(demo.run, "search", {"front": len(result.front)})


def distill_pick(demo: Demo) -> None:
    from supernet.distillation.distill_pick import distill
    from supernet.distillation.few_step_teacher import FewStepConfig
    from supernet.distillation.kdmd import KDMDConfig

    demo.say("K-DMD: the balanced pick learns to draw in 4 steps from the full network's score and its few-step LoRA")
    budget = demo.budget
    is_distilled = (_pick_folder(demo.run, "balanced") / "distilled").exists()
    if not (demo.has_done("distill") and is_distilled):
        teacher_s, student_s = (ceiling_of(training, demo.ceiling_s) for training in (TEACHER, STUDENT))
        few_step = FewStepConfig(budget.teacher_steps, teacher_s, budget.trajectories, seed=demo.seed)
        kdmd = KDMDConfig(budget.kdmd_steps, student_s, seed=demo.seed, guidance_scale=budget.guidance_scale)
        with demo.bar("Distilling") as progress:
            how: dict[str, Any] = {"few_step": few_step, "kdmd": kdmd, "force": is_distilled, "progress": progress}
            distill(demo.run.path, pick="balanced", **how)
        record_step(demo.run, "distill", {"pick": "balanced"})


def export_picks(demo: Demo) -> dict[str, Path]:
    """The exported file of each pick."""
    from supernet.export.export_pick import export

    demo.say("Export: the three picks to ONNX, each compared with torch")
    paths = {name: _pick_folder(demo.run, name) / "exports" / "dit.onnx" for name in PICKS}
    with demo.bar("Exporting the picks") as progress:
        for index, (name, path) in enumerate(paths.items()):
            progress(index, len(paths), name)
            if not (path.exists() and path.with_suffix(".json").exists()):
                export(demo.run.path, pick=name, force=True)
    return paths


def measure_picks(demo: Demo, exports: dict[str, Path]) -> None:
    from profilers import measure_models

    demo.say("Verification: the picks' own latency, measured")
    missing = {name: path for name, path in exports.items() if not _measured_file(path).exists()}
    if missing:
        with demo.bar("Measuring the picks") as progress:
            found = measure_models(missing, budget_s=demo.budget.measure_s, progress=progress)
        for name, path in missing.items():
            predicted = {"predicted_ms": read_pick(demo.run, name)["latency_ms"], "file_bytes": path.stat().st_size}
            facts = {**asdict(found[name]), "runtime": "onnxruntime", "threads": 1, **predicted, KEY: origin(path)}
            write_json(_measured_file(path), facts)


def draw_samples(demo: Demo, exports: dict[str, Path]) -> dict[str, Path]:
    """The picture of samples of each exported pick, all of the same prompts and noise."""
    from supernet.pictures import save_contact_sheet
    from supernet.sampling import sample

    prompts = demo.data.prompts(demo.run)
    demo.say(f"Samples: {len(prompts)} {demo.data.name} of each pick by ONNX Runtime, the distilled one in 4 steps")
    targets = {name: path.parent.parent / "samples.png" for name, path in exports.items()}
    for name, path in exports.items():
        if not targets[name].exists():
            # Distillation has put guidance into the student.
            is_distilled = (_pick_folder(demo.run, name) / "distilled").exists()
            guidance_scale = 1.0 if is_distilled else demo.data.guidance_scale
            with demo.bar(f"Drawing {demo.data.name} by the {name} pick") as progress:
                drawn = sample(path, prompts, guidance_scale=guidance_scale, progress=progress)
            save_contact_sheet(drawn, targets[name], supernet=origin(path))
    return targets


def judge_samples(demo: Demo) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Quality of each pick, and of the few-step teacher."""
    from supernet.evaluation.picks import judge_pick
    from supernet.evaluation.picks import judge_teacher

    per_class = demo.budget.per_class
    demo.say(
        f"Judgement: Frechet distance of {10 * per_class} samples to the {demo.data.name} that nothing learned from"
    )
    how: dict[str, Any] = {"seeds": demo.budget.seeds, "per_class": per_class}
    qualities = {}
    for name in PICKS:
        with demo.bar(f"Judging the {name} pick") as progress:
            qualities[name] = judge_pick(demo.run.path, pick=name, progress=progress, **how)
    with demo.bar("Judging the few-step teacher") as progress:
        teacher = judge_teacher(demo.run.path, progress=progress, **how)
    return qualities, teacher


def machine_speed(run: Run, export: Path) -> float:
    """Speed of the machine while the picks were measured over that while the kit was, by the reference kernel."""
    from device_profiles import load_profile

    kit_ms = load_profile(str(profile_file(run))).conditions.reference_ms
    pick_ms = float(read_json(_measured_file(export), "measured pick")["reference_ms"])
    return kit_ms / pick_ms if kit_ms else 1.0


def closing_rows(run: Run, exports: dict[str, Path], qualities: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the demo ends with of each pick: predicted, measured, judged."""
    rows = {}
    for name, path in exports.items():
        pick, measured = read_pick(run, name), read_json(_measured_file(path), "measured pick")
        rows[name] = {
            "spec": pick["spec"],
            "predicted_ms": pick["latency_ms"],
            "measured_ms": measured["latency_ms"],
            "params": pick["params"],
            "file_bytes": measured["file_bytes"],
            "quality": qualities[name],
            "folder": str(path.parent.parent),
        }
    return rows


def _pick_folder(run: Run, name: str) -> Path:
    return run.pick(read_pick(run, name)["spec_hash"])


def _measured_file(export: Path) -> Path:
    return export.parent.parent / "measured.json"
