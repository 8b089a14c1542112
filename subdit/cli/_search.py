"""`subdit search`: find the best sub-DiTs of a run on one device or several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._profile_text import MARKS
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table

if TYPE_CHECKING:
    from nas import SearchResult


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--device", multiple=True, required=True, help="Profile: an id, the beginning of one, or a file; repeat.")
@click.option("--objective", "objectives", multiple=True, help="latency, pipeline, params, ..., or a proxy; repeat.")
@click.option("--max-latency-ms", type=float, multiple=True, help="Hard limit on one step, for all devices or each.")
@click.option("--max-pipeline-ms", type=float, help="Hard limit on a whole picture.")
@click.option("--max-params", type=int, help="Hard limit on the number of parameters.")
@click.option("--max-memory-mb", type=float, help="Hard limit on what a process takes at its peak in MB, see below.")
@click.option("--max-file-mb", type=float, help="Hard limit on the stored weights in MB.")
@click.option("--max-gflops", type=float, help="Hard limit on the work of one step in GFLOP.")
@click.option("--max-quality", multiple=True, metavar="PROXY=VALUE", help="Hard limit on what a proxy says; repeat.")
@click.option("--steps", type=int, default=4, show_default=True, help="Of a whole picture.")
@click.option("--sampler", default="nsga2", show_default=True, help="nsga2, tpe, random or exhaustive.")
@click.option("--no-surrogate", is_flag=True, help="Let nsga2 go without a surrogate.")
@click.option("--trials", type=int, help="End after so many sub-DiTs; by default 400, or all of an exhaustive search.")
@click.option("--budget-s", type=float, help="End after so many seconds, if that is sooner.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the proposals.")
@click.option("--name", default="default", show_default=True, help="The search's folder in the run.")
@click.option("--pick-at", multiple=True, metavar="FIGURE=VALUE", help="A further pick, such as latency_ms=20.")
@click.option(
    "--verify",
    type=int,
    default=0,
    metavar="K",
    help="Export and measure K here, and search again; for ONNX Runtime fp32 profiles of this machine.",
)
@click.option("--storage", help="Optuna storage: postgresql://, mysql://, grpc://, journal:///; by default a file.")
@click.option("--study-name", help="The study's name in that storage.")
@click.option("--worker", is_flag=True, help="Share the search with other workers that are started alike.")
@click.option("--stale-s", type=float, help="Seconds of silence after which a worker's trial is given away.")
@click.option("--allow-noisy", is_flag=True, help="Accept a profile, or what --verify measures, of a noisy machine.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted search, or give a finished one more trials.")
@click.option("--force", is_flag=True, help="Replace the search of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print settings, picks and files as JSON.")
def command(run: Path, as_json: bool, **options: Any) -> None:
    """Search a RUN for the sub-DiTs with the best quality at each latency on a device.

    Latencies come from the device's profile, quality from the validation loss of the supernet's weights. What the
    limits rule out is never evaluated. A killed search goes on with --resume as if it had not been killed, and every
    evaluation that was ever paid for is used again.

    Memory is what loading a sub-DiT and running it adds to a process at the most, on one thread of a processor: the
    larger of ONNX Runtime's and LiteRT's peak with their defaults, weights at the profile's precision in, mapped files
    in. The number is computed; held against both it was off by 3 % in the mean and 9 % at most. For palette4, which
    neither has, it is weights and one live set of activations, held against nothing.

    \b
    Examples:
        subdit devices
        subdit search runs/digits --device my-laptop/onnxruntime/fp32/t1
        subdit search runs/digits --device my-laptop --max-latency-ms 2 --name under-2ms
        subdit search runs/digits --device my-laptop --max-latency-ms 2 --name under-2ms --resume
        subdit search runs/digits --device my-phone --device my-tablet --max-file-mb 1.5 --pick-at latency_ms=2
        subdit search runs/digits --device my-laptop --max-quality validation_loss=0.41
        subdit search runs/digits --device my-laptop --verify 8
        subdit search runs/digits --device my-laptop --worker --storage postgresql://me@db/optuna
    """
    from nas import search

    arguments = _arguments(options)
    with progress_bar("Searching") as progress:
        result = search(run, progress=progress, **arguments)
    if as_json:
        echo_json(
            {
                "folder": str(result.folder),
                "config": dict(result.config),
                "front": [
                    {
                        "spec_hash": row.spec.hash,
                        "latency_ms": row.latency_ms,
                        "quality": row.quality,
                        "tie": row.tie,
                        **row.more,
                    }
                    for row in result.front
                ],
                "picks": {pick: picked.to_dict() for pick, picked in result.picks.items()},
            }
        )
        return
    _print(result)


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Options as `nas.search` takes them."""
    limits = {
        figure: limit
        for figure, limit in {
            "pipeline_ms": options.pop("max_pipeline_ms"),
            "memory_mb": options.pop("max_memory_mb"),
            "file_mb": options.pop("max_file_mb"),
            "gflops": options.pop("max_gflops"),
        }.items()
        if limit is not None
    } | _values(options.pop("max_quality"), "--max-quality", "PROXY=VALUE such as validation_loss=0.4")
    surrogate = not options.pop("no_surrogate")
    return {
        **options,
        "device": list(options["device"]),
        "objectives": options["objectives"] or None,
        "max_latency_ms": options["max_latency_ms"] or None,
        "limits": limits,
        "pick_at": _values(options["pick_at"], "--pick-at", "FIGURE=VALUE such as latency_ms=20"),
        "surrogate": surrogate,
    }


def _values(texts: tuple[str, ...], option: str, form: str) -> dict[str, float]:
    """NAME=VALUE by name."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise click.BadParameter(f"{text!r} is no {form}.", param_hint=option) from None
        if name in found:
            raise click.BadParameter(f"{name} is there twice; give it once.", param_hint=option)
        found[name] = number
    return found


def _print(result: SearchResult) -> None:
    from nas._feasible_region import round_up

    config = result.config
    reach = config["reach"]
    click.echo(
        f"{config['trials']} of {reach['feasible']:,} sub-DiTs within the limits evaluated "
        f"({reach['size']:,} in the space); {len(result.front)} are on the front"
    )
    for name, tightest in reach.get("tightest", {}).items():
        value = f"{tightest['value']:,.0f}" if name == "params" else round_up(tightest["value"])
        click.echo(f"tightest reachable {name}: {value}, of {tightest['spec']}")
    if config["limits"] and reach["feasible"] < reach["size"]:
        click.echo(f"candidates that the limits ruled out, without a trial: {config['redrawn_share']:.1%}")
    for name, error in (config.get("surrogate_error") or {}).items():
        if error:
            click.echo(
                f"surrogate of {name}, cross-validated on {error['evaluations']} evaluations: mean error "
                f"{error['mean']:.2g} ({error['share']:.0%} of the spread), Kendall tau {error['kendall_tau']:.2f}; "
                f"it looked at {config['looked_at']:,} candidates"
            )
    ties = sum(bool(row.tie) for row in result.front)
    if ties:
        click.echo(f"{ties} points of the front lie within noise of a neighbour (column 'tie' of front.csv)")
    click.echo(f"quality: {config['proxy']['unit']}; lower is better\n")
    echo_table(
        ("pick", _latency_heading(config), "95 % interval", "quality", "parameters", "hash", "spec"),
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
    if "verified" in config:
        click.echo("\n" + config["verified"]["said"])
    click.echo(f"\n{result.folder}")


def _latency_heading(config: Mapping[str, Any]) -> str:
    """With a mark where nobody measured."""
    facts = config.get("device_facts")
    mark = MARKS.get(str(facts.get("provenance"))) if isinstance(facts, dict) else None
    return "latency, ms" if mark in (None, MARKS["measured"]) else f"latency, ms ({mark})"
