"""`subdit data emoji`: the second standard data set."""

from __future__ import annotations

from pathlib import Path

import click

from subdit.cli._data_text import echo_counts
from subdit.cli._progress import progress_bar


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the data set.")
@click.option("--space", default="emoji-32", show_default=True, help="Whose latents are made: emoji-64 needs --vae.")
@click.option("--vae", type=click.Path(path_type=Path), help="Folder of a diffusers autoencoder; without: pixels.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps; auto: what there is.")
@click.option("--force", is_flag=True, help="Replace what the folder holds, but for what the same command began.")
def emoji(out: Path, space: str, vae: Path | None, device: str, force: bool) -> None:
    """Encode 14,000 emoji of five free designs, captioned, such as "noto emoji, sunflower".

    `make setup-emoji` fetches their packages before. What judges are compositions of a concept and a design that were
    never seen, though both were. Stopped at any moment, the same command goes on.

    \b
    Examples:
        subdit data emoji --out data/emoji
        subdit data train-vae emoji --space emoji-64 --factor 4 --out vaes/emoji
        subdit data emoji --space emoji-64 --vae vaes/emoji --out data/emoji-64
    """
    from supernet.data.emoji_encoding import encode_emoji
    from supernet.data.manifest import REJECTED
    from supernet.data.summary import counts

    with progress_bar("Encoding") as progress:
        manifest = encode_emoji(out, space=space, vae=vae, device=device, force=force, progress=progress)
    echo_counts(counts(manifest), str(out / REJECTED))
    click.echo(out)
