"""`subdit search`: find the best sub-DiTs of a run on a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nas.cli._progress import progress_bar
from nas.cli._table import echo_json
from nas.cli._table import echo_table

if TYPE_CHECKING:
    from nas import SearchResult


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--device", required=True, help="Device profile: an id, the beginning of one, or a file.")
@click.option("--max-latency-ms", type=float, help="Hard limit on the latency of one step.")
@click.option("--max-params", type=int, help="Hard limit on the number of parameters.")
@click.option("--trials", type=int, default=400, show_default=True, help="End after so many sub-DiTs.")
@click.option("--budget-s", type=float, help="End after so many seconds, if that is sooner.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the proposals.")
@click.option("--name", default="default", show_default=True, help="The search's folder in the run.")
@click.option("--allow-noisy", is_flag=True, help="Accept a profile that was measured on too noisy a machine.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted search, or give a finished one more trials.")
@click.option("--force", is_flag=True, help="Replace the search of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print settings, picks and files as JSON.")
def command(
    run: Path,
    device: str,
    max_latency_ms: float | None,
    max_params: int | None,
    trials: int,
    budget_s: float | None,
    seed: int,
    name: str,
    allow_noisy: bool,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Search a RUN for the sub-DiTs with the best quality at each latency on a device.

    Latencies come from the device's profile, quality from the validation loss of the supernet's weights. What the
    limits rule out is never evaluated. A killed search goes on with --resume as if it had not been killed, and every
    evaluation that was ever paid for is used again.

    \b
    Examples:
        subdit devices
        subdit search runs/digits --device my-laptop/onnxruntime/fp32/t1
        subdit search runs/digits --device my-laptop --max-latency-ms 2 --name under-2ms
        subdit search runs/digits --device my-laptop --max-latency-ms 2 --name under-2ms --resume
    """
    from nas import search

    with progress_bar("Searching") as progress:
        result = search(
            run,
            device=device,
            name=name,
            max_latency_ms=max_latency_ms,
            max_params=max_params,
            trials=trials,
            budget_s=budget_s,
            seed=seed,
            allow_noisy=allow_noisy,
            resume=resume,
            force=force,
            progress=progress,
        )
    if as_json:
        echo_json(
            {
                "folder": str(result.folder),
                "config": dict(result.config),
                "front": [
                    {"spec_hash": row.spec.hash, "latency_ms": row.latency_ms, "quality": row.quality}
                    for row in result.front
                ],
                "picks": {pick: picked.to_dict() for pick, picked in result.picks.items()},
            }
        )
        return
    _print(result)


def _print(result: SearchResult) -> None:
    config = result.config
    reach = config["reach"]
    click.echo(
        f"{config['trials']} of {reach['feasible']:,} sub-DiTs within the limits evaluated "
        f"({reach['size']:,} in the space); {len(result.front)} are on the front"
    )
    click.echo(f"quality: {config['proxy']['unit']}; lower is better\n")
    echo_table(
        ("pick", "latency, ms", "95 % interval", "quality", "parameters", "hash", "spec"),
        [
            (
                name,
                f"{pick.latency_ms:.4g}",
                f"{pick.latency_low_ms:.4g} to {pick.latency_high_ms:.4g}",
                f"{pick.quality:.4g}",
                f"{pick.params:,}",
                pick.spec.hash,
                str(pick.spec),
            )
            for name, pick in result.picks.items()
        ],
    )
    click.echo()
    for name, pick in result.picks.items():
        click.echo(f"{name}: {pick.why}")
    click.echo(f"\n{result.folder}")
