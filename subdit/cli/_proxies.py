"""`subdit proxies`: how well each quality proxy ranks sub-DiTs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from subdit.cli._numbers import FiniteFloat
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table

_ALONE_ONLY = ("front", "search", "per_class")
_ALONE = ("proxies", "as_json", *_ALONE_ONLY)
"""Options of a benchmark in the run's own folder."""
_DRAWN = ("count", "twice", "updates", "seed")
"""Options of whatever is trained."""
_TABLE = ("folder", "common_noise", "samples", "sample_steps", "features", "budget_s", "stale_s")
"""Options of a truth table that is filled."""
_AGAINST = ("device", "quality", "keep_scores", "curve")
"""Options of a truth table that is judged by."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--proxy", "proxies", multiple=True, help="A proxy's id; repeat. By default all that train nothing.")
@click.option("--specs", "count", type=int, help="Sub-DiTs drawn uniformly; by default 24, or 100 of a truth table.")
@click.option("--front", type=int, default=8, show_default=True, help="Sub-DiTs from a search's front.")
@click.option("--search", "--name", "search", default="default", show_default=True, help="Whose front.")
@click.option("--twice", type=int, help="Drawn ones trained with a second seed too; by default 0, or 40 of a table.")
@click.option("--start", help="inherited: fine-tuned, the default; scratch: from nothing, as all of a truth table are.")
@click.option("--updates", type=int, help="Training of each sub-DiT; by default 200, or 600 for a truth table.")
@click.option("--per-class", type=int, default=90, show_default=True, help="Samples of a class; 0: loss alone.")
@click.option("--seed", type=int, default=20260131, show_default=True, help="Of the draw.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--worker", is_flag=True, help="Train for a truth table, beside others that are started alike.")
@click.option("--estimate", is_flag=True, help="Print what a truth table costs here, and train nothing.")
@click.option("--truth", "folder", type=click.Path(path_type=Path), help="The table's folder, which workers share.")
@click.option("--common-noise", is_flag=True, help="All sub-DiTs of the table see the same batches and noise.")
@click.option("--samples", type=int, help="Of each sub-DiT of the table; by default up to 900; 0: loss alone.")
@click.option("--sample-steps", type=int, help="Of those samples; by default as the supernet is sampled.")
@click.option("--features", help="Feature space that those samples are judged in; by default the data's.")
@click.option("--against", type=click.Path(path_type=Path), help="A truth table's file, to judge proxies by.")
@click.option("--device", help="Profile whose latencies make bands and fronts; by default those of FLOPs.")
@click.option("--quality", default="loss", show_default=True, help="Of the table, by which proxies are judged.")
@click.option("--keep-scores", is_flag=True, help="Write what the proxies said into the table's file.")
@click.option("--curve", is_flag=True, help="Print what a calibrated proxy is worth by its number of trainings.")
@click.option("--budget-s", type=FiniteFloat(), help="Seconds after which a worker begins no training.")
@click.option("--stale-s", type=FiniteFloat(), help="Seconds of silence after which a training is given away.")
def command(
    run: Path | None, worker: bool, estimate: bool, start: str | None, against: Path | None, **options: Any
) -> None:
    """Train sub-DiTs of a RUN on their own, and see how well each quality proxy ranks them.

    Each trained sub-DiT is kept: after a kill, the next call continues there.

    With --worker they fill a truth table: one JSON file, table.json in a folder that any number of workers on any
    machines share. Before a worker begins, it prints what the trainings cost. It takes them in an order in which the
    table is useful wherever it stops, and copies of the file go on elsewhere.

    With --against proxies are judged by such a file: those of a RUN's supernet, by default the cheap ones, or without
    a RUN those whose scores the file has.

    \b
    Examples:
        subdit proxies runs/digits
        subdit proxies runs/digits --start scratch --updates 1500 --twice 12
        subdit proxies runs/digits --proxy validation_loss --proxy parameters --specs 12 --front 0 --per-class 0
        subdit proxies runs/emoji --specs 100 --twice 40 --updates 600 --estimate
        subdit proxies runs/emoji --specs 100 --twice 40 --updates 600 --worker --truth /shared/truth
        subdit proxies runs/emoji --against /shared/truth/table.json --device my-phone --keep-scores
    """
    if against is not None:
        from subdit.cli._proxies_against import judge

        if worker or estimate or start is not None:
            raise click.UsageError("A truth table is filled or judged by; give one of --worker and --against.")
        _refuse((*_TABLE, *_ALONE_ONLY, *_DRAWN), "not for --against, so leave it out")
        judge(run, against, **{name: options[name] for name in ("proxies", "as_json", *_AGAINST)})
        return
    if run is None:
        raise click.UsageError("Missing argument 'RUN'; without one there is only --against.")
    _refuse(_AGAINST, "for --against, so give that too")
    options = {name: value for name, value in options.items() if name not in _AGAINST}
    if not (worker or estimate):
        _refuse(_TABLE, "for a truth table, so give --worker too")
        _measure(run, start or "inherited", **{name: value for name, value in options.items() if name not in _TABLE})
        return
    from subdit.cli._proxies_truth import work_on_table

    _refuse(_ALONE, "not for a truth table, so leave out --worker and --estimate")
    if start not in (None, "scratch"):
        raise click.UsageError("Sub-DiTs of a truth table start from scratch; leave out --start.")
    defaults = {"count": 100, "twice": 40, "updates": 600}
    given = {name: value for name, value in options.items() if name not in _ALONE}
    work_on_table(run, only_estimate=estimate, **{**given, **_filled(given, defaults)})


def _measure(run: Path, start: str, *, as_json: bool, per_class: int, **options: Any) -> None:
    from nas import measure_proxies
    from nas.proxy_benchmark._truth import Training

    options |= _filled(options, {"count": 24, "twice": 0, "updates": 200})
    updates, seed = options.pop("updates"), options["seed"]
    options["proxies"] = options["proxies"] or None
    with progress_bar("Training sub-DiTs on their own") as progress:
        report = measure_proxies(run, training=Training(start, updates, per_class), progress=progress, **options)
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


def _filled(options: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The defaults of what was not given."""
    return {name: value for name, value in defaults.items() if options[name] is None}


def _refuse(names: tuple[str, ...], why: str) -> None:
    """Raise a usage error where one of these options was given."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"The option {parameter.opts[0]} is {why}.")
