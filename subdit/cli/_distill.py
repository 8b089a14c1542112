"""`subdit distill`: a pick distilled to a few steps."""

from __future__ import annotations

from pathlib import Path

import click

from subdit.cli._numbers import FiniteRange
from subdit.cli._progress import progress_bar
from subdit.cli._steps import ceiling
from subdit.cli._steps import ceiling_options
from subdit.cli._steps import replaced_option
from subdit.core.students import STEPS


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--pick", default="balanced", show_default=True, help="Which pick of the search.")
@click.option("--search", "--name", "search", default="default", show_default=True, help="Which of the run's searches.")
@click.option(
    "--teacher-steps", type=click.IntRange(min=1), default=320, show_default=True, help="Steps of the few-step teacher."
)
@click.option(
    "--trajectories",
    type=click.IntRange(min=1),
    default=2048,
    show_default=True,
    help="Of 28 steps, which the few-step teacher learns from; drawing them takes longer than a small teacher's steps.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=STEPS,
    show_default=True,
    help="Sampling steps of the student; students of several numbers of steps lie side by side.",
)
@click.option("--iterations", type=click.IntRange(min=1), default=2000, show_default=True, help="Iterations of K-DMD.")
@click.option(
    "--x-t",
    type=click.Choice(("data", "simulated")),
    default="data",
    show_default=True,
    help="What the student learns on: noised pictures, or what it draws itself from noise (backward simulation).",
)
@click.option(
    "--trained",
    type=click.Choice(("auto", "full", "lora")),
    default="auto",
    show_default=True,
    help="All weights of the student, or a LoRA, which is merged at the end; auto: all below width 256.",
)
@click.option("--lora-rank", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--lora-alpha", type=FiniteRange(min=0, min_open=True), default=128.0, show_default=True)
@click.option(
    "--teacher-ceiling-s",
    type=FiniteRange(min=1),
    default=None,
    help="Seconds that the teacher's steps may take; drawing its trajectories does not count. Without it all are made.",
)
@ceiling_options(of="K-DMD")
@replaced_option("--teacher-budget-s", instead="--teacher-steps, and --teacher-ceiling-s for a limit in seconds")
@replaced_option("--budget-s", instead="--iterations, and --ceiling-s for a limit in seconds")
@click.option("--guidance-scale", type=FiniteRange(min=1), help="Of the real score; default: chosen on validation.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps; auto: what there is.")
@click.option("--force", is_flag=True, help="Distil anew over what is there.")
def command(
    run: Path,
    pick: str,
    search: str,
    teacher_steps: int,
    trajectories: int,
    steps: int,
    iterations: int,
    x_t: str,
    trained: str,
    lora_rank: int,
    lora_alpha: float,
    teacher_ceiling_s: float | None,
    ceiling_s: float | None,
    no_ceiling: bool,
    guidance_scale: float | None,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Distil a pick of RUN to few steps by K-DMD; interrupted, it goes on where it was when called again.

    \b
    Examples:
        subdit distill runs/demo --pick fastest
        subdit distill runs/demo --pick best --iterations 6000
        subdit distill runs/demo --pick best --steps 2
    """
    from subdit.core.run import Run
    from subdit.core.run import read_manifest
    from subdit.core.training_record import cut_sentence
    from subdit.core.training_record import training_records
    from supernet.distillation.distill_pick import distill
    from supernet.distillation.few_step_teacher import FewStepConfig
    from supernet.distillation.kdmd import KDMDConfig

    teacher_ceiling_s = None if no_ceiling else teacher_ceiling_s
    few_step = FewStepConfig(teacher_steps, teacher_ceiling_s, trajectories, seed=seed)
    with progress_bar(f"Distilling {pick}") as progress:
        path = distill(
            run,
            pick=pick,
            search=search,
            steps=steps,
            few_step=few_step,
            kdmd=KDMDConfig(
                steps=iterations,
                ceiling_s=ceiling(ceiling_s, no_ceiling),
                guidance_scale=guidance_scale,
                seed=seed,
                x_t=x_t,
                trained=trained,
                lora_rank=lora_rank,
                lora_alpha=lora_alpha,
            ),
            force=force,
            device=device,
            progress=progress,
        )
    made = training_records(Run(run), path.parent.name, steps=steps)
    if said := cut_sentence(made, space=read_manifest(Run(run))["space"]):
        click.echo(said, err=True)
    click.echo(path)
