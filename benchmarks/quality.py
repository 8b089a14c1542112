"""Quality on digits, as the README quotes it: Frechet distance, novelty, recognisability, K-DMD and its ablations.

    python benchmarks/quality.py runs/demo

Judges a finished `subdit demo` run with three sample seeds. The ablations distil the balanced pick anew, each with
as many updates of the student as the run's own K-DMD had; they are kept in RUN/ablations, so that a killed benchmark
goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from profilers import cpu_model
from subdit.core.errors import SubditError
from subdit.core.files import read_json
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.data.data_sets import checkpoint_data
from supernet.data.digits import DataSplit
from supernet.data.digits import digits
from supernet.distillation.kdmd import KDMDConfig
from supernet.distillation.kdmd import distill_kdmd
from supernet.evaluation.metrics import frechet_distance
from supernet.evaluation.run_reference import run_judge
from supernet.evaluation.samples import PER_CLASS
from supernet.evaluation.samples import Judgement
from supernet.evaluation.samples import judge_sampling
from supernet.few_step_adapter import load_few_step_teacher

SEEDS = 3
RESULTS = Path(__file__).parent / "results"


def judged(model, judge, *, steps: int, shift: float = 1.0) -> Judgement:  # type: ignore[no-untyped-def]
    return judge_sampling(model, "digits", judge, steps=steps, shift=shift, seeds=SEEDS)


def line(name: str, judgement: Judgement) -> str:
    fd = ", ".join(f"{value:.3f}" for value in judgement.fd)
    return (
        f"{name:<42} FD {judgement.fd_mean:.3f} (seeds {fd})   NN ratio {judgement.nn_ratio:.3f}   "
        f"recognised {100 * judgement.accuracy:.1f} %"
    )


def bootstrap_fd(data: DataSplit, *, seeds: int = 3) -> tuple[float, ...]:
    """Frechet distance to the judge half of 900 draws, 90 per class, from the training half: what memorising gives."""
    seen = data.seen
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 8])
        rows = [rng.choice(np.flatnonzero(seen.labels == label), PER_CLASS) for label in np.unique(seen.labels)]
        found.append(round(frechet_distance(seen.latents[np.concatenate(rows)], data.judge.latents), 4))
    return tuple(found)


def ablation(run: Run, name: str, config: KDMDConfig, spec: SubDiTSpec, scale: float):  # type: ignore[no-untyped-def]
    """The balanced pick distilled with another objective, from the same teacher with as many student updates."""
    folder = run.path / "ablations" / spec.hash / name
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        student = load_supernet(run.supernet).extract(spec)
        train = checkpoint_data(run.supernet, get_space("digits"))
        teacher = load_few_step_teacher(run)
        print(f"  distilling: {name} ({config.steps} iterations)", file=sys.stderr, flush=True)
        distill_kdmd(student, teacher, train, folder / "state.safetensors", config=config, guidance_scale=scale)
        student.save_pretrained(folder)
        (folder / "state.safetensors").unlink(missing_ok=True)
    return load_sub_dit(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished `subdit demo` run")
    parser.add_argument("--no-ablations", action="store_true")
    arguments = parser.parse_args()
    run = Run(arguments.run).require()
    space, data = get_space("digits"), digits()
    judge = run_judge(run.supernet, space)
    supernet = load_supernet(run.supernet)
    spec = SubDiTSpec.from_dict(read_pick(run, "balanced")["spec"])
    distilled = read_json(run.pick(spec.hash) / "distilled.json", "distilled pick")
    scale, steps_taken = float(distilled["guidance_scale"]), int(distilled["steps"])

    found: dict[str, Judgement] = {}
    for name in ("full", "small", "tiny"):
        found[f"{name}, 28 steps"] = judged(supernet.extract(space.named_spec(name)), judge, steps=28)
    plain = supernet.extract(spec)
    found["balanced, 28 steps"] = judged(plain, judge, steps=28)
    shifts = {shift: judged(plain, judge, steps=4, shift=shift) for shift in (1.0, 3.0)}
    for shift, judgement in shifts.items():
        found[f"balanced, plain 4 steps, shift {shift:g}"] = judgement
    student = load_sub_dit(run.pick(spec.hash) / "distilled")
    for steps in (4, 2, 1):
        found[f"balanced, K-DMD, {steps} steps"] = judged(student, judge, steps=steps, shift=3.0)
    teacher = load_few_step_teacher(run)
    found["few-step teacher, 4 steps"] = judged(teacher, judge, steps=4, shift=3.0)
    teacher.disable_adapters()
    found["full, plain 4 steps, shift 1"] = judged(teacher, judge, steps=4, shift=1.0)
    if not arguments.no_ablations:
        base = KDMDConfig(steps=steps_taken, ceiling_s=None)
        # Without DMD there is no critic to train, and every iteration is the student's.
        without_dmd = replace(base, dmd_weight=0.0, steps=steps_taken // base.student_every)
        for name, config in {
            "K-DMD without DMD": without_dmd,
            "K-DMD without output": replace(base, output_weight=0.0),
        }.items():
            for steps in (4, 2, 1):
                student = ablation(run, name.replace(" ", "-").lower(), config, spec, scale)
                found[f"balanced, {name}, {steps} steps"] = judged(student, judge, steps=steps, shift=3.0)

    best_plain = min(judgement.fd_mean for judgement in shifts.values())
    closed = (best_plain - found["balanced, K-DMD, 4 steps"].fd_mean) / (
        best_plain - found["balanced, 28 steps"].fd_mean
    )
    bootstrap = bootstrap_fd(data, seeds=SEEDS)
    halves = frechet_distance(data.seen.latents, data.judge.latents)
    text = [
        f"Quality on digits, 900 samples a seed (90 per class), {SEEDS} seeds, against 898 unseen digits",
        f"machine: {machine()}",
        f"balanced pick: {spec} ({spec.hash}); guidance of the real score: {scale:g}",
        "",
        *(line(name, judgement) for name, judgement in found.items()),
        "",
        f"training half against judge half: FD {halves:.3f}",
        f"bootstrap of the training half (a memoriser): FD {', '.join(f'{value:.3f}' for value in bootstrap)}",
        f"share of the FD gap between plain 4 steps and 28 steps that K-DMD closes: {100 * closed:.0f} %",
    ]
    print("\n".join(text))
    RESULTS.mkdir(exist_ok=True)
    write_atomic(RESULTS / "quality_digits.txt", "\n".join(text) + "\n")
    write_json(
        RESULTS / "quality_digits.json",
        {
            "machine": machine(),
            "spec": json.loads(spec.to_json()),
            "guidance_scale": scale,
            "judgements": {name: asdict(judgement) for name, judgement in found.items()},
            "bootstrap_fd": bootstrap,
            "halves_fd": round(halves, 4),
            "gap_closed": round(closed, 4),
        },
    )


def machine() -> str:
    """Processor and cores, as the profiles name them."""

    return f"{cpu_model()}, {platform.system()}, torch on {torch.get_num_threads()} threads"


if __name__ == "__main__":
    try:
        main()
    except SubditError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
