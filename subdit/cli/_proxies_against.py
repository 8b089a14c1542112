"""`subdit proxies --against`: judge proxies by a truth table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table

if TYPE_CHECKING:
    from nas.proxy_benchmark._calibration_curve import CalibrationPoint
    from nas.proxy_benchmark._judgement import TableJudgement


def judge(
    run: Path | None,
    file: Path,
    *,
    proxies: Sequence[str],
    device: str | None,
    quality: str,
    keep_scores: bool,
    curve: bool,
    as_json: bool,
) -> None:
    """Print how good proxies are by a table: of a run's supernet, or those that the table has scores of."""
    from nas.proxies import cheap_proxies
    from nas.proxy_benchmark._calibrated import calibration_points
    from nas.proxy_benchmark._judgement import judge_table
    from nas.proxy_benchmark._judgement import stated_power
    from nas.proxy_benchmark._latencies import table_latencies
    from nas.proxy_benchmark._scores import score_table
    from nas.proxy_benchmark._table_scores import only_of
    from nas.truth_table import read_truth_table
    from nas.truth_table import write_truth_table
    from subdit.core.run import Run
    from subdit.core.weights import supernet_digest

    if run is None and (proxies or keep_scores):
        raise click.UsageError("To ask proxies, name the RUN whose supernet they judge by.")
    where = None if run is None else Run(run).require()
    if where is not None:
        from subdit.space import run_space

        # A space of one's own is known from the run.
        run_space(where)
    table = read_truth_table(file)
    latency, what = table_latencies(table, device)
    power = stated_power(latency)
    if not as_json:
        stated = ", ".join(f"{100 * found:.0f} % by {step:.1f}" for step, found in power.items())
        click.echo(
            "Power, stated before any proxy is looked at: ahead of FLOPs within bands, a proxy is found in "
            f"{stated} of tau.\n"
        )
    if where is not None:
        with progress_bar("Asking proxies") as progress:
            table = score_table(table, where, list(proxies or cheap_proxies()), progress=progress)
        if keep_scores:
            write_truth_table(table, file)
        table = only_of(table, supernet_digest(where.supernet))
    found = judge_table(table, latency, quality=quality)
    if as_json:
        told: dict[str, Any] = {"bands_of": what, "power": {str(step): share for step, share in power.items()}}
        if curve:
            told["curve"] = [asdict(point) for point in calibration_points(table, latency, quality=quality)]
        echo_json({**found.to_dict(), **told})
        return
    recipe = table.recipe
    click.echo(
        f"{found.count} sub-DiTs of {recipe.space} (seed {recipe.seed}), {found.twice} trained twice, each alone for "
        f"{recipe.updates} updates; truth: {quality} on the judge split\n"
    )
    _print(found, what)
    if curve:
        _print_curve(calibration_points(table, latency, quality=quality))


def _print(found: TableJudgement, what: str) -> None:
    names = list(found.proxies[0].regret)
    judged = (*found.proxies, *found.calibrated)
    echo_table(
        ("proxy", "Kendall tau", "Spearman", f"tau within {len(found.bands)} bands", "ahead of FLOPs", *names, "ms"),
        [
            (
                each.proxy,
                _interval(each.kendall),
                _interval(each.spearman),
                _interval(each.within),
                _interval(each.ahead),
                *(_interval(each.regret[name], "{:.4f}") for name in names),
                f"{1000 * each.seconds_per_query:.1f}",
            )
            for each in judged
        ],
    )
    click.echo(f"Bands are of {what}; the columns {', '.join(names)} are regret: true {found.quality} lost.")
    for name, share in found.coverage.items():
        click.echo(f"{name}: each sub-DiT predicted by a model of the others; 95 % intervals held {share:.0%} of them.")
    for place, ceiling in (("over all", found.ceiling), ("within bands", found.ceiling_within)):
        if ceiling is not None:
            click.echo(
                f"Ceiling {place}: a perfect proxy reads {_interval(ceiling)}; two trainings of {ceiling.pair.count} "
                f"agree with tau {_interval(ceiling.pair)}."
            )
    if found.noise is not None and found.noise_regret is not None:
        floor = ", ".join(f"{name} {value:.4f}" for name, value in found.noise_regret.items())
        click.echo(
            f"Two trainings differ with a standard deviation of {found.noise:.4f}; because of it, a perfect proxy's "
            f"regret reads {floor}."
        )
    early = ", ".join(f"{tau:.2f} after {updates}" for updates, tau in found.early.items())
    click.echo(f"Ranks of the loss agree with those at the end with tau {early} updates.")
    if found.selections is not None:
        halves = "; ".join(
            f"one half chose {half.chosen} ({half.tau_where_chosen:.2f} there), which reads {_interval(half.tau)} on "
            "the other"
            for half in found.selections
        )
        click.echo(f"Cross-fitted choice by tau within bands: {halves}.")
    if (bias := found.bias) is not None:
        gaps = ", ".join(f"{gap:+.4f}" for gap in bias.gap)
        click.echo(
            f"Loss of inherited weights less that alone, from the smallest to the largest: {gaps}; per doubling of "
            f"FLOPs {_interval(bias, '{:+.4f}', 'slope')}."
        )
    for verdict in found.verdicts:
        click.echo(f"NOTE: {verdict}")


def _print_curve(points: Sequence[CalibrationPoint]) -> None:
    if not points:
        click.echo("The table has too few sub-DiTs to fit a calibrated proxy on some and judge it on others.")
        return
    names = list(points[0].regret)
    click.echo("\nCalibrated on some of the sub-DiTs and judged on the others, in the mean over draws:\n")
    echo_table(
        ("trainings", "tau within bands", *(f"regret {name}" for name in names)),
        [
            (str(point.trainings), f"{point.within:.2f}", *(f"{point.regret[name]:.4f}" for name in names))
            for point in points
        ],
    )


def _interval(found: Any, form: str = "{:.2f}", value: str = "value") -> str:
    shown = [form.format(getattr(found, name)) for name in (value, "low", "high")]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"
