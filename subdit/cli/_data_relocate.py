"""`subdit data relocate`: where what a model was trained with lies now."""

from __future__ import annotations

from pathlib import Path

import click

from subdit.cli._named import named_values


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", help="Where the data set lies now.")
@click.option("--text", "texts", multiple=True, help="NAME=PATH: where a text encoder lies now; repeat.")
@click.option("--vae", type=click.Path(path_type=Path), help="Where the autoencoder of the latents lies now.")
def relocate(model: Path, data: str | None, texts: tuple[str, ...], vae: Path | None) -> None:
    """Tell MODEL, a run or a checkpoint, where its data set, text encoders and autoencoder lie now.

    What lies there must be what it was trained with.

    \b
    Examples:
        subdit data relocate runs/mine --data /disk/data/mine
        subdit data relocate runs/mine --text clip=models/clip --vae vaes/mine
    """
    from supernet.data.relocation import relocate as relocate_model

    for path in relocate_model(model, data=data, text=named_values(texts, "--text"), vae=vae):
        click.echo(path)
