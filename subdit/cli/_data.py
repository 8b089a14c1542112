"""`subdit data`: encode pictures and captions, show what was encoded, train an autoencoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

import click

from subdit.cli._data_emoji import emoji
from subdit.cli._data_relocate import relocate
from subdit.cli._data_text import echo_counts
from subdit.cli._data_text import echo_described
from subdit.cli._named import named_values
from subdit.cli._numbers import FiniteFloat
from subdit.cli._numbers import FiniteRange
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json

if TYPE_CHECKING:
    from supernet.data.encoded_data_set import EncodedDataSet
    from supernet.data.source import Source
    from supernet.data.splits import SplitRule

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FRACTION = FiniteRange(min=0, max=1, max_open=True)


@click.group()
def command() -> None:
    """Encode captioned pictures for a space, or show what was encoded.

    Pictures are a folder with a .txt file beside each or a metadata.jsonl or metadata.csv, WebDataset's .tar files, or
    Parquet files.

    \b
    Examples:
        subdit data train-vae pictures/ --space my-space.yaml --out vaes/mine
        subdit data encode pictures/ --space my-space.yaml --vae vaes/mine --text clip=models/clip --out data/mine
        subdit data show data/mine
    """


command.add_command(emoji)
command.add_command(relocate)


def _source_options(verb: _Command) -> _Command:
    """Options that say how pictures are read and divided; the same ones for all verbs that read pictures."""
    options = (
        click.option("--space", required=True, help="Search space whose latents are made."),
        click.option("--caption-column", default="text", show_default=True, help="Of metadata, JSON or Parquet."),
        click.option("--validation", type=_FRACTION, help="Fraction that validates; by default 0.05, or the source's."),
        click.option("--judge", type=_FRACTION, help="Fraction that only judges; by default 0.1, or the source's."),
        click.option("--split-seed", type=int, help="Of the division; by default 0."),
        click.option("--group-by", metavar="COLUMN", help="Pictures with one value are in one split."),
        click.option("--background", default="#ffffff", show_default=True, help="Where a picture is transparent."),
        click.option("--upscale", is_flag=True, help="Enlarge pictures that are too small; else they are rejected."),
        click.option(
            "--max-megapixels",
            # What Pillow refuses whatever it is told begins at 178.9.
            type=FiniteRange(min=0, min_open=True, max=178),
            default=64.0,
            show_default=True,
            help="Of a picture.",
        ),
        click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps; auto: what there is."),
    )
    for option in reversed(options):
        verb = option(verb)
    return verb


@command.command()
@click.argument("source", type=click.Path(path_type=Path))
@_source_options
@click.option("--vae", type=click.Path(path_type=Path), help="Folder of a diffusers autoencoder; without: pixels.")
@click.option("--text", multiple=True, metavar="NAME=ENCODER", help="A text input and its encoder's folder or plug-in.")
@click.option("--template", multiple=True, metavar="NAME=TEXT", help="What captions are put into, at its {}.")
@click.option(
    "--text-precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the text encoders; bfloat16 halves their memory.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the data set.")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "bfloat16", "float32"]),
    default="float16",
    show_default=True,
    help="Stored.",
)
@click.option("--licence", help="Of all pictures, written into the manifest.")
@click.option("--licence-column", metavar="COLUMN", help="Column with the licence of each picture.")
@click.option(
    "--scaling-factor",
    type=FiniteRange(min=0, min_open=True),
    help="In place of the constants in the VAE's config.json.",
)
@click.option("--shift-factor", type=FiniteFloat(), help="Likewise.")
@click.option(
    "--statistics-bound",
    type=FiniteRange(min=0, min_open=True),
    default=0.5,
    show_default=True,
    help="How far a VAE's latents may be off mean 0 and deviation 1.",
)
@click.option("--shard-size", type=click.IntRange(min=1), help="Pictures per shard; by default what is 128 MiB.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Encoded at once.")
@click.option("--force", is_flag=True, help="Replace what the folder holds, but for what the same command began.")
def encode(
    source: Path,
    space: str,
    vae: Path | None,
    text: tuple[str, ...],
    template: tuple[str, ...],
    text_precision: str,
    out: Path,
    dtype: str,
    licence: str | None,
    licence_column: str | None,
    scaling_factor: float | None,
    shift_factor: float | None,
    statistics_bound: float,
    shard_size: int | None,
    batch_size: int,
    force: bool,
    **reading: Any,
) -> None:
    """Encode the pictures of SOURCE, once, into latents and token embeddings that training reads.

    The shorter side of a picture is resized to the space's picture size and the longer one cropped around the centre;
    what cannot be used is counted and listed in rejected.jsonl. Stopped at any moment, the same command goes on.

    \b
    Examples:
        subdit data encode pictures/ --space my-space.yaml --vae vaes/mine --text clip=models/clip --out data/mine
        subdit data encode shards/ --space my-space.yaml --text t5=models/t5 --group-by artist --out data/art
    """
    from subdit.space import get_space
    from supernet.data.encoding import encode as encode_pictures
    from supernet.data.encoding_config import EncodingConfig
    from supernet.data.manifest import REJECTED
    from supernet.data.sources import open_source
    from supernet.data.summary import counts

    pictures = open_source(source, caption_column=reading["caption_column"])
    config = EncodingConfig(
        caption_column=reading["caption_column"],
        split=_split(pictures, reading),
        background=_colour(reading["background"]),
        upscale=reading["upscale"],
        max_megapixels=reading["max_megapixels"],
        templates=named_values(template, "--template"),
        text_precision=text_precision,
        dtype=dtype,
        licence=licence,
        licence_column=licence_column or (None if licence else pictures.licence_column),
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        statistics_bound=statistics_bound,
        shard_examples=shard_size,
        batch_size=batch_size,
        device=reading["device"],
    )
    found, encoders = get_space(space), named_values(text, "--text")
    with progress_bar("Encoding") as progress:
        manifest = encode_pictures(
            pictures, out, space=found, text=encoders, vae=vae, config=config, force=force, progress=progress
        )
    echo_counts(counts(manifest), str(out / REJECTED))
    click.echo(out)


@command.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["train", "validation", "judge"]), default="train", show_default=True)
@click.option("--pictures", type=click.IntRange(min=0), default=64, show_default=True, help="On the contact sheet.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Contact sheet to write; default: in the data set.")
@click.option("--vae", type=click.Path(path_type=Path), help="Where the data set's VAE lies now.")
@click.option("--verify", is_flag=True, help="Read everything, and check it against its checksums.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(
    data: Path, split: str, pictures: int, sheet: Path | None, vae: Path | None, verify: bool, as_json: bool
) -> None:
    """Show an encoded data set: counts, captions, latent statistics, and a contact sheet decoded back.

    \b
    Examples:
        subdit data show data/mine
        subdit data show data/mine --split judge --sheet judge.png
        subdit data show data/mine --verify --json
    """
    from subdit.core.errors import DataError
    from supernet.data.encoded_data_set import EncodedDataSet
    from supernet.data.summary import describe

    data_set = EncodedDataSet(data)
    if verify:
        with progress_bar("Checking") as progress:
            data_set.verify(progress=progress)
    described = describe(data_set)
    if pictures and data_set.count(split):
        try:
            described["contact_sheet"] = str(
                _contact_sheet(data_set, split, pictures, sheet or data / f"{split}.png", vae)
            )
        # What was asked for is an error; what comes along is a note.
        except DataError as error:
            if sheet is not None or vae is not None:
                raise
            click.echo(f"Note: there is no contact sheet. {error} If it lies elsewhere, pass --vae.", err=True)
        except OSError as error:
            if sheet is not None or vae is not None:
                raise
            said = (
                f"Note: there is no contact sheet, as {data} cannot be written into ({error.strerror}); pass --sheet."
            )
            click.echo(said, err=True)
    if as_json:
        echo_json(described)
        return
    echo_described(described)


@command.command("train-vae")
@click.argument("source", type=click.Path(path_type=Path))
@_source_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the autoencoder.")
@click.option("--kind", type=click.Choice(["tiny", "kl"]), default="tiny", show_default=True, help="Its class.")
@click.option("--factor", type=int, default=8, show_default=True, help="Pixels per latent element and side.")
@click.option("--width", type=click.IntRange(8, 1024), default=32, show_default=True, help="Channels of its layers.")
@click.option("--steps", type=click.IntRange(min=1), default=2000, show_default=True, help="Steps of training.")
@click.option("--batch-size", type=click.IntRange(1, 65536), default=16, show_default=True, help="Pictures per step.")
@click.option("--learning-rate", type=FiniteRange(min=0, min_open=True), default=1e-3, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace what the folder holds.")
def train_vae(
    source: Path,
    space: str,
    out: Path,
    kind: str,
    factor: int,
    width: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    force: bool,
    **reading: Any,
) -> None:
    """Train a small autoencoder on the training split of SOURCE, for latents without a download.

    Give `data encode` the same options of the split: what judges must not have trained the autoencoder either. Stopped
    at any moment, the same command goes on.

    \b
    Example:
        subdit data train-vae pictures/ --space my-space.yaml --factor 4 --out vaes/mine
    """
    from subdit.space import get_space
    from supernet.data.sources import open_source
    from supernet.training.autoencoder import AutoencoderConfig
    from supernet.training.autoencoder import train_autoencoder

    pictures = open_source(source, caption_column=reading["caption_column"])
    config = AutoencoderConfig(
        kind=kind,
        factor=factor,
        width=width,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        caption_column=reading["caption_column"],
        split=_split(pictures, reading),
        background=_colour(reading["background"]),
        upscale=reading["upscale"],
        max_megapixels=reading["max_megapixels"],
        device=reading["device"],
    )
    with progress_bar("Training the autoencoder") as progress:
        trained = train_autoencoder(
            pictures, out, space=get_space(space), config=config, force=force, progress=progress
        )
    counts = trained["pictures"]
    click.echo(
        f"Trained on {counts['train']:,} pictures; {counts['validation']:,} others come back at "
        f"{trained['validation_psnr_db']:.1f} dB.",
        err=True,
    )
    click.echo(out)


def _contact_sheet(data_set: EncodedDataSet, split: str, pictures: int, path: Path, vae: Path | None) -> Path:
    from supernet.data.contact_sheet import decoded_pictures
    from supernet.data.contact_sheet import manifest_codec
    from supernet.data.contact_sheet import write_contact_sheet
    from supernet.data.data_set import evenly

    codec = manifest_codec(data_set.manifest, vae=vae)
    rows = evenly(data_set.count(split), pictures)
    return write_contact_sheet(decoded_pictures(data_set, codec, split, rows), path)


def _split(source: Source, reading: dict[str, Any]) -> SplitRule:
    """The source's own split with what was said otherwise."""
    names = {"validation": "validation", "judge": "judge", "split_seed": "seed", "group_by": "group_by"}
    said = {field: reading[option] for option, field in names.items() if reading[option] is not None}
    return replace(source.default_split, **said)


def _colour(value: str) -> tuple[int, int, int]:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise click.BadParameter(f"{value!r} is not a colour such as #ffffff.", param_hint="--background")
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
