"""`subdit demo`: the whole road on real pictures."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._constraints import constraints
from subdit.cli._constraints import limit_options
from subdit.cli._numbers import FiniteRange
from subdit.cli._progress import progress_bar
from subdit.cli._steps import ceiling
from subdit.cli._steps import ceiling_options
from subdit.cli._steps import replaced_option
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table

if TYPE_CHECKING:
    from subdit._demo import DemoResult


@click.command()
@click.option(
    "--data",
    type=click.Choice(["digits", "emoji"]),
    default="digits",
    show_default=True,
    help="Handwritten digits, or emoji in colour, which take some hours; see `make setup-emoji`.",
)
@click.option("--run", type=click.Path(path_type=Path), help="Run folder; by default runs/demo, of emoji runs/emoji.")
@click.option("--quick", is_flag=True, help="The smallest budgets; the numbers mean nothing then.")
@click.option("--train-steps", type=click.IntRange(min=1), help="Steps of supernet training.")
@click.option("--teacher-steps", type=click.IntRange(min=1), help="Steps of the few-step teacher.")
@click.option("--kdmd-steps", type=click.IntRange(min=1), help="Iterations of K-DMD.")
@ceiling_options(of="the steps of supernet, teacher and K-DMD together", default="945 for digits, two hours for emoji")
@replaced_option("--train-s", instead="--train-steps, and --ceiling-s for a limit in seconds")
@replaced_option("--teacher-s", instead="--teacher-steps, and --ceiling-s for a limit in seconds")
@replaced_option("--kdmd-s", instead="--kdmd-steps, and --ceiling-s for a limit in seconds")
@click.option("--whole", type=click.IntRange(min=6), help="Whole sub-DiTs to calibrate the latency table on.")
@click.option("--profile-s", type=FiniteRange(min=1), help="Seconds of measuring the kit, per attempt.")
@replaced_option("--search-s", instead="--trials")
@click.option("--trials", type=click.IntRange(min=3), help="Sub-DiTs that the search evaluates.")
@click.option("--measure-s", type=FiniteRange(min=1), help="Seconds of measuring the picks.")
@limit_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    data: str,
    run: Path | None,
    quick: bool,
    ceiling_s: float | None,
    no_ceiling: bool,
    seed: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Train, measure this machine, search, distil, export, verify, report: the whole road on real pictures.

    Says beforehand how long it will take. Killed at any point and started again, it goes on where it was.

    \b
    Examples:
        subdit demo
        subdit demo --quick --run runs/quick
        subdit demo --train-steps 2500 --no-ceiling --run runs/longer
        subdit demo --data emoji
    """
    from subdit._demo import DATA_SETS
    from subdit._demo import QUICK
    from subdit._demo import demo

    limits = constraints(given)
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    budget = replace(QUICK if quick else DATA_SETS[data].budget, **chosen)
    step = iter(range(1, 100))
    result = demo(
        run,
        data=data,
        budget=budget,
        seed=seed,
        ceiling_s=ceiling(ceiling_s or DATA_SETS[data].ceiling_s, no_ceiling),
        constraints=limits,
        say=lambda text: click.secho(text if text.startswith(" ") else f"{next(step)}. {text}", bold=True, err=as_json),
        bar=progress_bar,
    )
    if as_json:
        echo_json(
            {**asdict(result), "run": str(result.run), "report": str(result.report), "samples": str(result.samples)}
        )
        return
    headings = ("pick", "predicted ms", "measured ms", "params", "file kB", "FD 28 steps", "FD 4 steps", "4 steps by")
    rows = []
    for name, pick in result.picks.items():
        quality = pick["quality"]
        distilled = "4_steps" in quality
        cells = (
            name,
            f"{pick['predicted_ms']:.3f}",
            f"{pick['measured_ms']:.3f}",
            f"{pick['params']:,}",
            f"{pick['file_bytes'] / 1000:,.0f}",
            f"{quality['28_steps']['fd_mean']:.3f}",
            f"{quality['4_steps' if distilled else 'plain_4_steps']['fd_mean']:.3f}",
            "K-DMD" if distilled else "plain Euler",
        )
        rows.append(cells)
    click.echo()
    echo_table(headings, rows)
    if abs(result.speed - 1) > 0.01:
        slower = "slower" if result.speed < 1 else "faster"
        click.echo(
            f"A reference kernel ran {100 * abs(1 / result.speed - 1):.0f} % {slower} while the picks were measured "
            "than while the kit was; predictions are for the machine as it was then."
        )
    teacher = result.teacher
    click.echo(
        f"\nFew-step teacher (full network): FD {teacher['28_steps']['fd_mean']:.3f} at 28 steps, "
        f"{teacher['plain_4_steps']['fd_mean']:.3f} at 4 plain steps, {teacher['4_steps']['fd_mean']:.3f} at 4 by LoRA."
    )
    balanced = result.picks["balanced"]["quality"]
    click.echo(
        f"Balanced pick after K-DMD: FD {balanced['4_steps']['fd_mean']:.3f} at 4 steps, "
        f"{balanced['2_steps']['fd_mean']:.3f} at 2, {balanced['1_step']['fd_mean']:.3f} at 1; "
        f"{balanced['plain_4_steps']['fd_mean']:.3f} at 4 without it."
    )
    samples = balanced["28_steps"]["samples"]
    features = balanced["28_steps"]["feature_space"]
    click.echo(f"FD: Frechet distance over {features}, {samples} samples against the judge half; lower is better.")
    if result.noisy:
        click.echo("The latencies were measured on a noisy machine; see the report.")
    if result.cut:
        click.echo(result.cut)
    click.echo("\nWhere everything lies:")
    for name, pick in result.picks.items():
        click.echo(f"  {name:<10}{pick['folder']}")
    click.echo(f"  {result.data:<10}{result.samples}\n  report    {result.report}")
    click.echo("\nTo go on:")
    for line in _further_commands(result):
        click.echo(f"  {line}")


def _further_commands(result: DemoResult) -> list[str]:
    """Commands that can be run as they are, on what the demo left."""
    from subdit._demo import DATA_SETS
    from subdit.space import get_space

    picks = result.picks
    run, device = shlex.quote(str(result.run)), shlex.quote(str(result.run / "device.json"))
    model = shlex.quote(f"{picks['balanced']['folder']}/exports/dit.onnx")
    limit_ms = f"{picks['balanced']['predicted_ms']:.4f}"
    noisy = " --allow-noisy" if result.noisy else ""
    plain = [name for name, pick in picks.items() if "4_steps" not in pick["quality"]]
    return [
        f"subdit sample {model} --prompt {shlex.quote(get_space(DATA_SETS[result.data].space).example_prompt)}",
        f"subdit search {run} --device {device} --name tight --limit latency_ms={limit_ms}{noisy}",
        *(f"subdit distill {run} --pick {name}" for name in plain[:1]),
    ]
