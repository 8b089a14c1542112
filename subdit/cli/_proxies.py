"""`subdit proxies`: how well each quality proxy ranks sub-DiTs."""

from __future__ import annotations

from pathlib import Path

import click

from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--proxy", "proxies", multiple=True, help="A proxy's id; repeat. By default all.")
@click.option("--specs", "count", type=int, default=24, show_default=True, help="Sub-DiTs drawn uniformly.")
@click.option("--front", type=int, default=8, show_default=True, help="Sub-DiTs from a search's front.")
@click.option("--search", "--name", "search", default="default", show_default=True, help="Whose front.")
@click.option("--twice", type=int, default=0, show_default=True, help="Drawn ones trained with a second seed too.")
@click.option("--start", default="inherited", show_default=True, help="inherited: fine-tuned; scratch: from nothing.")
@click.option("--updates", type=int, default=200, show_default=True, help="Training of each sub-DiT.")
@click.option("--per-class", type=int, default=90, show_default=True, help="Samples of a class; 0: loss alone.")
@click.option("--seed", type=int, default=20260131, show_default=True, help="Of the draw.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    run: Path,
    proxies: tuple[str, ...],
    count: int,
    front: int,
    search: str,
    twice: int,
    start: str,
    updates: int,
    per_class: int,
    seed: int,
    as_json: bool,
) -> None:
    """Train sub-DiTs of a RUN on their own, and see how well each quality proxy ranks them.

    Each trained sub-DiT is kept: after a kill, the next call continues there.

    \b
    Examples:
        subdit proxies runs/digits
        subdit proxies runs/digits --start scratch --updates 1500 --twice 12
        subdit proxies runs/digits --proxy validation_loss --proxy parameters --specs 12 --front 0 --per-class 0
    """
    from nas import measure_proxies
    from nas.proxy_benchmark._truth import Training

    with progress_bar("Training sub-DiTs on their own") as progress:
        report = measure_proxies(
            run,
            proxies=proxies or None,
            count=count,
            front=front,
            search=search,
            twice=twice,
            training=Training(start, updates, per_class),
            seed=seed,
            progress=progress,
        )
    if as_json:
        echo_json(report.to_dict())
        return
    sets = ", ".join(f"{len(specs)} {name}" for name, specs in report.specs.items())
    click.echo(f"{sets} sub-DiTs (seed {seed}), each after {updates} updates of its own ({start}), on the judge half\n")
    rows = [
        (
            row.proxy,
            row.truth,
            row.set,
            str(row.specs),
            f"{row.kendall_tau:.2f} ({row.kendall_tau_low:.2f} to {row.kendall_tau_high:.2f})",
            f"{row.spearman_rho:.2f} ({row.spearman_rho_low:.2f} to {row.spearman_rho_high:.2f})",
            f"{1000 * row.seconds_per_query:.1f}",
        )
        for row in report.to_frame().itertuples()
    ]
    echo_table(("proxy", "against", "set", "n", "Kendall tau", "Spearman", "ms a query"), rows)
    expected = report.expected_quality
    for judged, tau in report.ceiling.items():
        said = f"tau between two seeds of {tau.count}, by {judged}: {tau.value:.2f} ({tau.low:.2f} to {tau.high:.2f})"
        if judged in expected:
            of = expected[judged]
            said += (
                f"; a proxy equal to the expected quality would have {of['value']:.2f} ({of['low']:.2f} to "
                f"{of['high']:.2f}), if quality and noise are normal"
            )
        click.echo(said)
    click.echo(f"\n{report.file}")
