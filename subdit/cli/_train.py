"""`subdit train`: elastic training of a supernet."""

from __future__ import annotations

from pathlib import Path

import click

from subdit.cli._progress import progress_bar
from subdit.cli._steps import ceiling
from subdit.cli._steps import ceiling_options
from subdit.cli._steps import replaced_option


@click.command()
@click.argument("space")
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Run folder to write.")
@click.option("--data", help="What to train on: a folder that 'data encode' made, or a name; digits has its own.")
@click.option("--steps", type=click.IntRange(min=1), default=1235, show_default=True, help="Steps of training.")
@ceiling_options(ceiling_s=495.0, of="they")
@replaced_option("--budget-s", instead="--steps, and --ceiling-s for a limit in seconds")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per step.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate.")
@click.option(
    "--muon-dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of Muon's Newton-Schulz iterations; auto: bfloat16 on CUDA, float32 on a processor.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Go on with a training that was interrupted.")
@click.option("--force", is_flag=True, help="Train anew over what the run holds.")
def command(
    space: str,
    run: Path,
    data: str | None,
    steps: int,
    ceiling_s: float,
    no_ceiling: bool,
    batch_size: int | None,
    learning_rate: float | None,
    muon_dtype: str,
    seed: int,
    resume: bool,
    force: bool,
) -> None:
    """Train the supernet of SPACE, a name or a space file: the full network and one sampled sub-network per step.

    \b
    Examples:
        subdit train digits --run runs/mine
        subdit train my-space.yaml --data data/mine --run runs/mine
        subdit train digits --run runs/mine --resume
        subdit train digits --run runs/long --steps 3818 --no-ceiling
    """
    from subdit.core.run import Run
    from subdit.core.run import read_manifest
    from subdit.core.training_record import cut_sentence
    from subdit.core.training_record import training_records
    from supernet.training.config import TrainingConfig
    from supernet.training.train import train

    given = {"batch_size": batch_size, "learning_rate": learning_rate}
    options = {name: value for name, value in given.items() if value is not None}
    config = TrainingConfig(
        steps=steps,
        ceiling_s=ceiling(ceiling_s, no_ceiling),
        muon_dtype=muon_dtype,
        seed=seed,
        **options,  # type: ignore[arg-type]
    )
    with progress_bar("Training the supernet") as progress:
        path = train(space, run, data=data, config=config, resume=resume, force=force, progress=progress)
    if said := cut_sentence(training_records(Run(run)), space=read_manifest(Run(run))["space"]):
        click.echo(said, err=True)
    click.echo(path)
