"""`subdit kit`: export the components of a space."""

from __future__ import annotations

import json
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._numbers import FiniteRange
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json

if TYPE_CHECKING:
    from profilers import KitEstimate

# By their entry points, so that the help loads no profilers.
RUNTIME_HELP = f"{', '.join(sorted(metadata.entry_points(group='subdit.runtimes').names))}."


@click.command()
@click.argument("space")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the kit.  [default: kits/SPACE]")
@click.option("--runtime", default="onnxruntime", show_default=True, help=RUNTIME_HELP)
@click.option("--precision", default="fp32", show_default=True, help="Of the weights: fp32, fp16 or int8.")
@click.option(
    "--whole",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    help="Whole sub-DiTs to bring along, for the calibration; it needs at least 6.",
)
@click.option("--parts/--no-parts", default=True, show_default=True, help="Whether the components are in it.")
@click.option("--max-params", type=click.IntRange(min=1), help="Only what sub-DiTs of at most this size have.")
@click.option(
    "--budget-minutes",
    type=FiniteRange(min=0, min_open=True),
    help="Minutes that measuring may take; whole sub-DiTs are left out to stay within, but not below 6.",
)
@click.option("--estimate", "only_estimate", is_flag=True, help="Say what it will take, and write nothing.")
@click.option("--force", is_flag=True, help="Replace the kit that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON; what is expected goes to stderr.")
def command(
    space: str,
    out: Path | None,
    runtime: str,
    precision: str,
    whole: int,
    parts: bool,
    max_params: int | None,
    budget_minutes: float | None,
    only_estimate: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Export the components of SPACE, a name or a space file, to be measured on a device.

    Each comes with inputs and with what torch computes from them in float32, so that the device needs no torch. Before
    it writes, it says how many models and bytes there will be, and how many minutes exporting and measuring will about
    take. Interrupted, the same command goes on where it was.

    \b
    Examples:
        subdit kit digits
        subdit kit digits --runtime litert --precision int8 --out kits/digits-int8
        subdit kit mobile-1k --max-params 434000000 --whole 6 --budget-minutes 20
    """
    from profilers import estimate
    from profilers import kit
    from profilers import open_kit
    from subdit.space import get_space

    chosen = get_space(space)
    folder = Path("kits") / chosen.name if out is None else out
    models: dict[str, Any] = {"runtime": runtime, "precision": precision, "whole": whole, "parts": parts}
    models |= {"max_params": max_params, "budget_minutes": budget_minutes}
    expected = estimate(chosen, **models)
    if as_json and only_estimate:
        echo_json({"expected": expected.to_dict()})
        return
    _say(expected, as_json=as_json)
    if only_estimate:
        return
    with progress_bar(f"Exporting the components of {chosen.name}") as progress:
        kit(chosen, folder, **models, force=force, progress=progress)
    made = open_kit(folder)
    if as_json:
        echo_json(
            {
                "folder": str(folder),
                "space": made.space,
                "space_hash": made.space_hash,
                "hash": made.hash,
                "runtime": made.runtime,
                "format": made.format,
                "precision": made.precision,
                "max_params": made.max_params,
                "components": len(made.components),
                "whole": len(made.whole),
                "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
                "expected": expected.to_dict(),
            }
        )
        return
    click.echo(f"{folder}: {len(made.components)} components and {len(made.whole)} whole sub-DiTs, kit {made.hash}")
    click.echo(f"Measure it here with: subdit profile {shlex.quote(str(folder))}")


def _say(expected: KitEstimate, *, as_json: bool) -> None:
    """Before anything is written."""
    if as_json:
        print(json.dumps({"expected": expected.to_dict()}), file=sys.stderr, flush=True)
        return
    left_out = f", {expected.left_out} whole sub-DiTs left out to stay within the budget" if expected.left_out else ""
    click.echo(
        f"Expected: {expected.models} models ({expected.components} components, {expected.whole} whole sub-DiTs"
        f"{left_out}), {expected.bytes / 1e6:,.0f} MB, {expected.export_minutes:.1f} minutes to export and "
        f"{expected.measure_minutes:.1f} to measure on a quiet machine."
    )
    click.echo(f"Basis: {expected.basis}.")
