"""`subdit export`: a pick as a file for a runtime."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--pick", default="balanced", show_default=True, help="Which pick of the search.")
@click.option("--search", default="default", show_default=True, help="Which of the run's searches.")
@click.option("--force", is_flag=True, help="Replace the export that is there.")
def command(run: Path, pick: str, search: str, force: bool) -> None:
    """Export a pick of RUN to ONNX, distilled if it is, and check it against torch.

    \b
    Examples:
        subdit export runs/demo --pick balanced
    """
    from supernet.export import export

    click.echo(export(run, pick=pick, search=search, force=force))
