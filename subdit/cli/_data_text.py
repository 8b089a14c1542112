"""What `subdit data` prints for people."""

from __future__ import annotations

from typing import Any

import click

from subdit.cli._table import echo_table

LONGEST_SHOWN = 200
"""Characters of a text from a data set, of which a file may have millions."""


def printable(text: str) -> str:
    """A text of a stranger as a terminal may show it: in one line, not too long, without what moves its cursor."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[: LONGEST_SHOWN + 1])
    return shown if len(text) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 3]}..."


def echo_counts(counts: dict[str, Any], rejected_list: str) -> None:
    """What was encoded and what was not, on stderr."""
    splits = ", ".join(f"{count:,} {split}" for split, count in counts["splits"].items())
    seed = counts["split_seed"]
    click.echo(f"Of {counts['examples']:,} examples: {splits} (split seed {seed}).", err=True)
    if counts["cropped"]:
        area = f"{counts['mean_cropped_area']:.0%} of their area"
        click.echo(f"Cropped: {counts['cropped']:,} pictures, by {area} on average.", err=True)
    if counts["rejected"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts["rejected"].items())
        click.echo(f"Rejected: {kinds}; they are listed in {rejected_list}.", err=True)
    for name, count in counts["truncated_captions"].items():
        if count:
            click.echo(f"Cut short: {count:,} captions, to what the text input {name!r} takes.", err=True)
    for note, count in counts["notes"].items():
        click.echo(f"Of {count:,} pictures: {note}.", err=True)


def echo_described(described: dict[str, Any]) -> None:
    """What `supernet.data.summary.describe` says, on stdout."""
    counts, latents, key = described["counts"], described["latents"], described["key"]
    click.echo(f"{described['data_set']}: digest {described['digest']}, {described['bytes'] / 1e6:,.1f} MB")
    size, latent = key["picture"]["size"], key["space"]
    click.echo(
        f"pictures of {size}x{size} as {key['dtype']} latents of {latent['latent_channels']}x{latent['latent_size']}x"
        f"{latent['latent_size']} by {key['latents']['class']}\n"
    )
    rows = [(split, f"{count:,}") for split, count in counts["splits"].items()]
    rows += [(f"rejected: {kind}", f"{count:,}") for kind, count in counts["rejected"].items()]
    rows += [("resized", f"{counts['resized']:,}"), ("cropped", f"{counts['cropped']:,}")]
    rows += [(f"captions cut short for {name}", f"{count:,}") for name, count in counts["truncated_captions"].items()]
    rows += [(note, f"{count:,}") for note, count in counts["notes"].items()]
    rows += [(f"licence: {printable(name)}", f"{count:,}") for name, count in counts["licences"].items()]
    echo_table(("pictures", "count"), rows)
    click.echo()
    channels = zip(latents["channel_mean"], latents["channel_std"], strict=True)
    rows3 = [(str(index), f"{mean:.3f}", f"{std:.3f}") for index, (mean, std) in enumerate(channels)]
    echo_table(("channel", "mean", "std"), [*rows3, ("all", f"{latents['mean']:.3f}", f"{latents['std']:.3f}")])
    click.echo()
    text = key["space"]["text_inputs"].items()
    click.echo("text: " + ", ".join(f"{name} ({tokens} tokens of width {width})" for name, (tokens, width) in text))
    click.echo(f"captions of at most {described['captions']['longest']} characters, such as")
    for caption in described["captions"]["examples"]:
        click.echo(f"    {printable(caption)}")
    if "contact_sheet" in described:
        click.echo(f"\n{described['contact_sheet']}")
