"""`subdit train`: elastic training of a supernet."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._progress import progress_bar
from subdit.cli._settings import given_settings
from subdit.cli._settings import setting_options
from subdit.cli._steps import ceiling
from subdit.cli._steps import ceiling_options
from subdit.cli._steps import replaced_option
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from supernet.training.config import TrainingConfig

if TYPE_CHECKING:
    from supernet.training.config_file import TrainingFile


@click.command()
@click.argument("space", metavar="SPACE|FILE")
@click.option("--data", help="What to train on: a folder that 'data encode' made, or a name; digits has its own.")
@click.option("--run", type=click.Path(path_type=Path), help="Run folder to write.")
@ceiling_options(of="the steps")
@replaced_option("--budget-s", instead="--steps, and --ceiling-s for a limit in seconds")
@setting_options(TrainingConfig, without=("ceiling_s",))
@click.option("--resume", is_flag=True, help="Go on with a training that was interrupted, as it was begun.")
@click.option("--force", is_flag=True, help="Train anew over what the run holds.")
@click.option("--write-config", type=click.Path(path_type=Path), help="Write all of it as a FILE, and train nothing.")
def command(
    space: str,
    data: str | None,
    run: Path | None,
    ceiling_s: float | None,
    no_ceiling: bool,
    resume: bool,
    force: bool,
    write_config: Path | None,
    **settings: Any,
) -> None:
    """Train the supernet of SPACE, a name or a space file: the full network and one sampled sub-network per step.

    A training FILE says all of it; options replace what it says. The config.yaml of a run is one.

    \b
    Examples:
        subdit train digits --run runs/mine
        subdit train my-space.yaml --data data/mine --run runs/mine
        subdit train digits --run runs/mine --resume
        subdit train digits --run runs/long --steps 3818
        subdit train my-space.yaml --data data/mine --write-config training.yaml
        subdit train training.yaml --run runs/other --seed 1
        torchrun --nproc-per-node 2 -m subdit -- train training.yaml --run runs/other
    """
    from subdit.core.run import Run
    from subdit.core.run import read_manifest
    from subdit.core.training_record import cut_sentence
    from subdit.core.training_record import training_records
    from supernet.training.train import train
    from supernet.training.world import writes_here

    given = given_settings(TrainingConfig, settings)
    limit = click.get_current_context().get_parameter_source("ceiling_s")
    if no_ceiling or limit is not click.core.ParameterSource.DEFAULT:
        given["ceiling_s"] = ceiling(ceiling_s, no_ceiling)
    training = _training(space, data, run, resume, given)
    if write_config is not None:
        click.echo(_write(training, write_config, force))
        return
    if training.run is None:
        raise click.UsageError("Name the run folder to write with --run.")
    with _progress() as progress:
        path = train(
            training.space,
            training.run,
            data=training.data,
            config=training.config,
            resume=resume,
            force=force,
            progress=progress,
        )
    if not writes_here():
        return
    kept = Run(training.run)
    if said := cut_sentence(training_records(kept), space=read_manifest(kept)["space"]):
        click.echo(said, err=True)
    click.echo(path)


def _progress() -> AbstractContextManager[ProgressCallback]:
    """The bar of the process that prints; of several that train together the others say nothing."""
    from supernet.training.world import writes_here

    return progress_bar("Training the supernet") if writes_here() else nullcontext(no_progress)


def _training(space: str, data: str | None, run: Path | None, resume: bool, given: dict[str, Any]) -> TrainingFile:
    """What is to be trained: by a training file, or as the begun training was, or by default; options come first."""
    from dataclasses import replace

    from subdit.core.run import Run
    from subdit.space import SPACE_SUFFIXES
    from supernet.training.begun import begun_config
    from supernet.training.config_file import TrainingFile
    from supernet.training.config_file import is_training_file
    from supernet.training.config_file import read_training_config

    if space.endswith(SPACE_SUFFIXES) and Path(space).is_file() and is_training_file(Path(space)):
        training = read_training_config(Path(space))
    else:
        begun = begun_config(Run(run)) if resume and run is not None else None
        training = TrainingFile(space, config=begun or TrainingConfig())
    config = replace(training.config, **given)
    return replace(training, data=data or training.data, run=run or training.run, config=config)


def _write(training: TrainingFile, path: Path, force: bool) -> Path:
    from subdit.core.errors import ConfigError
    from subdit.core.files import write_atomic
    from subdit.space import get_space
    from supernet.training.config_file import training_config_to_yaml
    from supernet.training.config_file import with_absolute_paths

    if path.exists() and not force:
        raise ConfigError(f"There is a file at {path} already; name another, or pass --force to replace it.")
    get_space(training.space)
    header = f"A training, for: subdit train {path.name}"
    return write_atomic(path, training_config_to_yaml(with_absolute_paths(training), header=header))
