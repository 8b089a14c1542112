"""`subdit sample`: images from a checkpoint or an exported model."""

from __future__ import annotations

from pathlib import Path

import click

from subdit.cli._named import named_values
from subdit.cli._numbers import FiniteRange
from subdit.cli._progress import progress_bar


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--prompt", "prompts", multiple=True, required=True, help="What to draw; give it once per image.")
@click.option("--steps", type=click.IntRange(min=1), help="Euler steps; default: what the model was made for.")
@click.option("--shift", type=FiniteRange(min=0, min_open=True), help="Time shift; default: the model's.")
@click.option(
    "--guidance-scale",
    "--guidance",
    "guidance_scale",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Of classifier-free guidance; 1: without, else a step runs the model twice.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--text", "texts", multiple=True, help="NAME=PATH: where a text encoder lies now; repeat.")
@click.option("--vae", type=click.Path(path_type=Path), help="Where the autoencoder of the latents lies now.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("samples.png"), show_default=True)
@click.option("--force", is_flag=True, help="Replace the picture that is there.")
def command(
    model: Path,
    prompts: tuple[str, ...],
    steps: int | None,
    shift: float | None,
    guidance_scale: float,
    seed: int,
    texts: tuple[str, ...],
    vae: Path | None,
    out: Path,
    force: bool,
) -> None:
    """Draw one image per prompt with MODEL: an exported file, a checkpoint folder, or a run.

    Prompts go through the text encoders that the model was trained with, latents through its autoencoder.

    \b
    Examples:
        subdit sample runs/demo/picks/HASH/exports/dit.onnx --prompt "a handwritten seven"
        subdit sample runs/demo/picks/HASH/exports/dit-fp16.tflite --prompt "a handwritten three"
        subdit sample runs/demo --prompt "a handwritten two" --steps 28 --guidance-scale 1.5
        subdit sample runs/mine --prompt "a red bicycle" --text clip=models/clip --vae vaes/mine
    """
    from subdit.core.errors import RunError
    from supernet.pictures import save_contact_sheet
    from supernet.sampling import sample

    if out.exists() and not force:
        raise RunError(f"There is a picture at {out} already; pass --out or --force.")
    with progress_bar("Sampling") as progress:
        drawn = sample(
            model,
            prompts,
            steps=steps,
            shift=shift,
            guidance_scale=guidance_scale,
            seed=seed,
            text=named_values(texts, "--text"),
            vae=vae,
            progress=progress,
            say=_say,
        )
    click.echo(save_contact_sheet(drawn, out, columns=min(10, len(drawn))))


def _say(text: str) -> None:
    click.echo(text, err=True)
