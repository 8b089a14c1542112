"""`subdit import`: other tools' logs to a device profile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._fallback import allow_fallback_option
from subdit.cli._profile_text import echo_profile
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table

if TYPE_CHECKING:
    from profilers.importers import ImportedLog


@click.command()
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--device", help="Name of the device that the logs are of.")
@click.option("--show", is_flag=True, help="Print what was understood of any model's log, and write nothing.")
@click.option(
    "--kit", type=click.Path(path_type=Path), help="The kit that was measured.  [default: found by the names]"
)
@click.option("--precision", help="Of the components.  [default: the kit's, else the logs', else fp32]")
@click.option("--threads", type=click.IntRange(min=1), help="Of the runtime, where the logs do not say.")
@click.option(
    "--delegate",
    metavar="NAME",
    help="What ran the models, where the logs do not say: an accelerator, or none for the plain CPU path.",
)
@click.option(
    "--warmup-runs", type=click.IntRange(min=0), default=1, show_default=True, help="Of an ORT or QNN profile, to drop."
)
@click.option("--runs", type=click.IntRange(min=1), help="Runs that a file without an end mark must hold.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write, instead of your registry.")
@click.option("--force", is_flag=True, help="Replace the profile that is there.")
@allow_fallback_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    logs: tuple[Path, ...],
    device: str | None,
    show: bool,
    kit: Path | None,
    precision: str | None,
    threads: int | None,
    delegate: str | None,
    warmup_runs: int,
    runs: int | None,
    out: Path | None,
    force: bool,
    allow_fallback: bool,
    as_json: bool,
) -> None:
    """Read logs of other tools; those of a kit's components, one each, become a device profile.

    The format is found by content: benchmark_model of TensorFlow Lite and LiteRT, onnxruntime_perf_test, ONNX Runtime's
    profile, Qualcomm AI Hub, numbers from Xcode's Core ML report (in a table of 'devices template'), ExecuTorch, QNN,
    ncnn, MNN, and folders that LiteRT-CLI leaves of rented phones. A LOG may be packed, or an archive or a folder of
    logs. One that is cut or contradicts itself is refused.

    \b
    Examples:
        subdit import bench.txt --show --json
        subdit import logs/*.txt --device pixel-8 --kit kits/digits
        subdit import ~/.cache/litert-cli/ddp/session-* --device caiman-35 --kit kits/litert
        subdit import logs/*.csv --device pixel-8 --kit kits/onnx --threads 1 --delegate none
    """
    from profilers.importers import ReadOptions
    from profilers.importers import compare_runs
    from profilers.importers import import_logs
    from profilers.importers import read_logs

    options = ReadOptions(warmup_runs=warmup_runs, runs=runs)
    if show:
        found = [one for path in logs for one in read_logs(path, options)]
        if as_json:
            echo_json([{"file": str(path), **_describe(log)} for path, log in found])
            return
        for path, log in found:
            _echo_log(path, log)
        for said in compare_runs([log for _, log in found]):
            click.echo(said)
        return
    if device is None:
        # What is wrong with a log comes before what is missing beside it.
        for path in logs:
            list(read_logs(path, options))
        raise click.UsageError("Name the device with --device, or pass --show to see what the logs say.")
    with progress_bar("Reading logs") as progress:
        made = import_logs(
            logs,
            device=device,
            kit=kit,
            precision=precision,
            threads=threads,
            delegate=delegate,
            out=out,
            force=force,
            allow_fallback=allow_fallback,
            options=options,
            progress=progress,
        )
    if as_json:
        echo_json(made.to_dict())
    else:
        echo_profile(made, components=False)


def _describe(log: ImportedLog) -> dict[str, Any]:
    from profilers.importers import fallback
    from profilers.importers import ran_where

    return dataclasses.asdict(log) | {"ran_where": ran_where(log), "fallback": fallback(log)}


def _echo_log(path: Path, log: ImportedLog) -> None:
    facts = [
        (name, value) for name, value in _describe(log).items() if name not in ("operators", "warnings", "fallback")
    ]
    click.echo(f"{'file':<18} {path}")
    if (said := _describe(log)["fallback"]) is not None:
        click.echo(f"{'WARNING':<18} {said}")
    for name, value in facts:
        if value not in (None, {}, ()):
            click.echo(f"{name:<18} {value}")
    for warning in log.warnings:
        click.echo(f"{'note':<18} {warning}")
    if log.operators:
        click.echo()
        echo_table(
            ("operator", "type", "mean, ms", "share", "calls"),
            [
                (
                    row.name,
                    row.type,
                    "-" if row.mean_ms is None else f"{row.mean_ms:.4f}",
                    "-" if row.share is None else f"{100 * row.share:.1f} %",
                    str(row.times_called),
                )
                for row in log.operators
            ],
        )
    click.echo()
