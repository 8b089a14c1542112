"""`subdit train`: elastic training of a supernet."""

from __future__ import annotations

from pathlib import Path

import click

from nas.cli._progress import progress_bar


@click.command()
@click.argument("space")
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Run folder to write.")
@click.option("--budget-s", type=click.FloatRange(min=1), default=330.0, show_default=True, help="Seconds of training.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps instead of seconds: repeatable.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per step.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Go on with a training that was interrupted.")
@click.option("--force", is_flag=True, help="Train anew over what the run holds.")
def command(
    space: str,
    run: Path,
    budget_s: float,
    steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int,
    resume: bool,
    force: bool,
) -> None:
    """Train the supernet of SPACE: the full network and one sampled sub-network per step.

    \b
    Examples:
        subdit train digits --run runs/mine
        subdit train digits --run runs/mine --resume
    """
    from supernet.training import TrainingConfig
    from supernet.training import train

    given = {"batch_size": batch_size, "learning_rate": learning_rate}
    options = {name: value for name, value in given.items() if value is not None}
    config = TrainingConfig(budget_s=budget_s, steps=steps, seed=seed, **options)  # type: ignore[arg-type]
    with progress_bar("Training the supernet") as progress:
        path = train(space, run, config=config, resume=resume, force=force, progress=progress)
    click.echo(path)
