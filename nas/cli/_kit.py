"""`subdit kit`: export the components of a space."""

from __future__ import annotations

from pathlib import Path

import click

from nas.cli._progress import progress_bar
from nas.cli._table import echo_json


@click.command()
@click.argument("space")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the kit.  [default: kits/SPACE]")
@click.option("--runtime", default="onnxruntime", show_default=True, help="For which runtime.")
@click.option(
    "--whole",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    help="Whole sub-DiTs to bring along, for the calibration; it needs at least 6.",
)
@click.option("--force", is_flag=True, help="Replace the kit that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def command(space: str, out: Path | None, runtime: str, whole: int, force: bool, as_json: bool) -> None:
    """Export the components of SPACE, to be measured on a device.

    Each comes with inputs and with what torch computes from them, so that the device needs no torch. Interrupted, the
    same command goes on where it was.

    \b
    Examples:
        subdit kit digits
        subdit kit digits --out kits/small --whole 6
    """
    from profilers import kit
    from profilers import open_kit

    folder = Path("kits") / space if out is None else out
    with progress_bar(f"Exporting the components of {space}") as progress:
        kit(space, folder, runtime=runtime, whole=whole, force=force, progress=progress)
    made = open_kit(folder)
    if as_json:
        echo_json(
            {
                "folder": str(folder),
                "space": made.space,
                "hash": made.hash,
                "components": len(made.components),
                "whole": len(made.whole),
            }
        )
        return
    click.echo(f"{folder}: {len(made.components)} components and {len(made.whole)} whole sub-DiTs, kit {made.hash}")
    click.echo(f"Measure it here with: subdit profile {folder}")
