"""`subdit report`: write the report of a search."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from subdit.cli._table import echo_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--search", "--name", "search", default="default", show_default=True, help="Which of the run's searches.")
@click.option("--force", is_flag=True, help="Replace the report that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the paths as JSON.")
def command(run: Path, search: str, force: bool, as_json: bool) -> None:
    """Write the report of a search of RUN: report.html, pareto.png, front.csv, report.md.

    The page is one file that needs nothing else. It shows what has been measured so far; run it again with --force
    after a pick was distilled or exported.

    \b
    Examples:
        subdit report runs/demo
        subdit report runs/demo --search under-2ms --force
    """
    from reports import report

    paths = asdict(report(run, search=search, force=force))
    if as_json:
        echo_json({name: str(path) for name, path in paths.items()})
        return
    for path in paths.values():
        click.echo(path)
