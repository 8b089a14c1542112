"""`subdit export`: a pick as a file for a runtime."""

from __future__ import annotations

from pathlib import Path

import click

from subdit.core.students import STEPS


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--pick", default="balanced", show_default=True, help="Which pick of the search.")
@click.option("--search", "--name", "search", default="default", show_default=True, help="Which of the run's searches.")
@click.option("--format", default="onnx", show_default=True, help="onnx, or litert for a .tflite file.")
@click.option("--precision", default="fp32", show_default=True, help="fp32; for litert also fp16 or int8 weights.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=STEPS,
    show_default=True,
    help="Which student of the pick, by its sampling steps.",
)
@click.option("--force", is_flag=True, help="Replace the export that is there.")
def command(run: Path, pick: str, search: str, format: str, precision: str, steps: int, force: bool) -> None:
    """Export a pick of RUN for a runtime, distilled if it is, and check it against torch.

    \b
    Examples:
        subdit export runs/demo --pick balanced
        subdit export runs/demo --pick fastest --format litert --precision int8
    """
    from supernet.export.export_pick import export

    click.echo(export(run, pick=pick, search=search, format=format, precision=precision, steps=steps, force=force))
