"""`subdit distill`: a pick distilled to four steps."""

from __future__ import annotations

from pathlib import Path

import click

from nas.cli._progress import progress_bar


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--pick", default="balanced", show_default=True, help="Which pick of the search.")
@click.option("--search", default="default", show_default=True, help="Which of the run's searches.")
@click.option(
    "--teacher-budget-s",
    type=click.FloatRange(min=1),
    default=100.0,
    show_default=True,
    help="Seconds for the teacher.",
)
@click.option("--budget-s", type=click.FloatRange(min=1), default=220.0, show_default=True, help="Seconds of K-DMD.")
@click.option(
    "--guidance-scale", type=click.FloatRange(min=1), help="Of the real score; default: chosen on validation."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--force", is_flag=True, help="Distil anew over what is there.")
def command(
    run: Path,
    pick: str,
    search: str,
    teacher_budget_s: float,
    budget_s: float,
    guidance_scale: float | None,
    seed: int,
    force: bool,
) -> None:
    """Distil a pick of RUN to four steps by K-DMD; interrupted, it goes on where it was when called again.

    \b
    Examples:
        subdit distill runs/demo --pick fastest
        subdit distill runs/demo --pick best --budget-s 600
    """
    from supernet.distillation import FewStepConfig
    from supernet.distillation import KDMDConfig
    from supernet.distillation import distill

    with progress_bar(f"Distilling {pick}") as progress:
        path = distill(
            run,
            pick=pick,
            search=search,
            few_step=FewStepConfig(budget_s=teacher_budget_s, seed=seed),
            kdmd=KDMDConfig(budget_s=budget_s, guidance_scale=guidance_scale, seed=seed),
            force=force,
            progress=progress,
        )
    click.echo(path)
