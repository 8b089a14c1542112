"""`subdit search`: find the best sub-DiTs of a run on one device or several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._constraints import constraints
from subdit.cli._constraints import limit_options
from subdit.cli._constraints import values_by_name
from subdit.cli._numbers import FiniteFloat
from subdit.cli._profile_text import MARKS
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table

if TYPE_CHECKING:
    from nas import SearchResult

_STUDY = ("storage", "study_name", "worker", "stale_s")
_CALL = ("name", "resume", "force")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--device",
    "devices",
    multiple=True,
    required=True,
    help="Profile: an id, the beginning of one, or a file; repeat.",
)
@click.option("--objective", "objectives", multiple=True, help="A figure or a quality proxy, see below; repeat.")
@limit_options
@click.option("--steps", type=int, default=4, show_default=True, help="Of a whole picture.")
@click.option("--sampler", default="nsga2", show_default=True, help="nsga2, tpe, random or exhaustive.")
@click.option("--no-surrogate", is_flag=True, help="Let nsga2 go without a surrogate.")
@click.option("--trials", type=int, help="Evaluations of the search; by default 400, or all of an exhaustive search.")
@click.option("--budget-s", type=FiniteFloat(), help="Seconds after which the search ends, if that is sooner.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the proposals.")
@click.option("--name", "--search", "name", default="default", show_default=True, help="Of the search.")
@click.option("--pick-at", multiple=True, metavar="NAME=VALUE", help="A further pick, such as latency_ms=20; repeat.")
@click.option(
    "--verify",
    type=int,
    default=0,
    metavar="K",
    help="Export and measure K here, and search again; for profiles of this machine.",
)
@click.option(
    "--calibrate-quality",
    type=int,
    default=0,
    metavar="N",
    help="Train N sub-DiTs on their own, correct the quality proxy by them, and search again.",
)
@click.option("--calibrate-updates", type=int, default=600, show_default=True, help="Of each of these trainings.")
@click.option("--storage", help="Optuna storage: postgresql://, mysql://, grpc://, journal:///; by default a file.")
@click.option("--study-name", help="The study's name in that storage.")
@click.option("--worker", is_flag=True, help="Share the search with other workers that are started alike.")
@click.option(
    "--stale-s",
    type=FiniteFloat(),
    help="Seconds of silence after which a worker's trial is given away.",
)
@click.option("--allow-noisy", is_flag=True, help="Accept a profile, or what --verify measures, of a noisy machine.")
@click.option("--resume", is_flag=True, help="Continue an interrupted search, or give a finished one more trials.")
@click.option("--force", is_flag=True, help="Replace the search of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print settings, picks and files as JSON.")
def command(run: Path, as_json: bool, **options: Any) -> None:
    """Search a RUN for the sub-DiTs with the best quality at each latency on a device.

    Latencies come from the device's profile, quality from the validation loss of the supernet's weights. Sub-DiTs
    beyond a limit on a cost are never evaluated. A killed search continues with --resume to the same end, and every
    evaluation is kept and used again by other searches of the run.

    Objectives, limits and picks have the same names: latency_ms of one step and pipeline_ms of a whole picture on
    every device, or latency_ms@DEVICE on one; params; memory_mb; file_mb; gflops of one step; and quality proxies, such
    as validation_loss. A limit on a proxy needs trials to be found out.

    Memory is the largest that loading a sub-DiT and running it adds to a process, on one thread of a processor: the
    larger of ONNX Runtime's and LiteRT's peak with their defaults, with weights at the profile's precision and mapped
    files. The number is computed; against measurements of both it was off by 3 % in the mean and 9 % at most. For
    palette4, which neither has, it is weights and one live set of activations, and was not compared.

    \b
    Examples:
        subdit devices
        subdit search runs/digits --device my-laptop/onnxruntime/fp32/t1
        subdit search runs/digits --device my-laptop --limit latency_ms=2 --name under-2ms
        subdit search runs/digits --device my-laptop --limit latency_ms=2 --name under-2ms --resume
        subdit search runs/digits --device my-phone --device my-tablet --limit file_mb=1.5 --pick-at latency_ms=2
        subdit search runs/digits --device my-laptop --limit validation_loss=0.41
        subdit search runs/digits --device my-laptop --verify 8
        subdit search runs/digits --device my-laptop --calibrate-quality 24 --resume
        subdit search runs/digits --device my-laptop --worker --storage postgresql://me@db/optuna
    """
    from nas import SearchConfig
    from nas import StudyOptions
    from nas import search

    study = StudyOptions(**{name: value for name in _STUDY if (value := options.pop(name)) is not None})
    call = {name: options.pop(name) for name in _CALL}
    config = SearchConfig(
        constraints=constraints(options),
        pick_at=values_by_name(options.pop("pick_at"), "--pick-at"),
        surrogate=not options.pop("no_surrogate"),
        **{name: value for name, value in options.items() if name != "objectives" or value},
    )
    with progress_bar("Searching") as progress:
        result = search(run, config, study=study, progress=progress, **call)
    if as_json:
        echo_json(
            {
                "folder": str(result.folder),
                "config": dict(result.config),
                "front": [{"spec_hash": trial.spec.hash, **trial.values(), "tie": trial.tie} for trial in result.front],
                "picks": {name: pick.to_dict() for name, pick in result.picks.items()},
            }
        )
        return
    _print(result)


def _print(result: SearchResult) -> None:
    from nas._feasible_region import round_up

    config, quality = result.config, result.quality
    region = config["feasible_region"]
    click.echo(
        f"{config['trials']} of {region['feasible']:,} sub-DiTs within the limits evaluated "
        f"({region['size']:,} in the space); {len(result.front)} are on the front"
    )
    for name, tightest in region.get("tightest", {}).items():
        value = f"{tightest['value']:,.0f}" if name == "params" else round_up(tightest["value"])
        click.echo(f"tightest reachable {name}: {value}, of {tightest['spec']}")
    if region["feasible"] < region["size"]:
        click.echo(f"candidates drawn beyond the limits, none of them a trial: {config['rejected_fraction']:.1%}")
    for name, error in (config.get("surrogate_error") or {}).items():
        if error:
            click.echo(
                f"surrogate of {name}, cross-validated on {error['evaluations']} evaluations: mean error "
                f"{error['mean_absolute_error']:.2g} ({error['relative_absolute_error']:.0%} of the spread), Kendall "
                f"tau {error['kendall_tau']:.2f}; it predicted {config['candidates_scored']:,} candidates"
            )
    ties = sum(bool(trial.tie) for trial in result.front)
    if ties:
        click.echo(f"{ties} points of the front lie within noise of a neighbour (column 'tie' of front.csv)")
    if (missed := _facts(config).get("fallback")) is not None:
        click.echo(f"WARNING: {missed}")
    click.echo(f"{quality}: {config['proxies'][quality]['unit']}; lower is better\n")
    echo_table(
        ("pick", _latency_heading(config), "95 % interval", quality, "parameters", "hash", "spec"),
        [
            (
                name,
                f"{trial.latency_ms:.4g}",
                f"{trial.latency_low_ms:.4g} to {trial.latency_high_ms:.4g}",
                f"{trial.value(quality):.4g}",
                f"{trial.params:,}",
                trial.spec.hash,
                str(trial.spec),
            )
            for name, trial in ((name, pick.trial) for name, pick in result.picks.items())
        ],
    )
    click.echo()
    for name, pick in result.picks.items():
        click.echo(f"{name}: {pick.why}")
    for corrected in ("verified", "calibrated"):
        if corrected in config:
            click.echo("\n" + config[corrected]["summary"])
    click.echo(f"\n{result.folder}")


def _facts(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the search knows of its first device's profile; empty in results of earlier versions."""
    facts = config.get("device_facts")
    return facts if isinstance(facts, dict) else {}


def _latency_heading(config: Mapping[str, Any]) -> str:
    """With a mark where nobody measured, or where an accelerator did less than it was asked for."""
    facts = _facts(config)
    mark = MARKS.get(str(facts.get("provenance")))
    marks = [] if mark in (None, MARKS["measured"]) else [mark]
    marks += ["NOT ALL ON THE ACCELERATOR"] if "fallback" in facts else []
    return f"latency, ms ({', '.join(filter(None, marks))})" if marks else "latency, ms"
