"""`subdit profile`: measure a kit on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from nas.cli._profile_text import echo_profile
from nas.cli._progress import progress_bar
from nas.cli._table import echo_json
from subdit.errors import ProfileError


@click.command()
@click.argument("kit", type=click.Path(path_type=Path))
@click.option("--runtime", default="onnxruntime", show_default=True, help="What runs the components.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads that it may use.")
@click.option("--device", help="Name of the device.  [default: this machine's system and processor]")
@click.option("--out", type=click.Path(path_type=Path), help="File to write, instead of your registry.")
@click.option(
    "--budget-s",
    "budget_s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds; up to three times as many where the machine is noisy.",
)
@click.option(
    "--calibrate",
    type=click.IntRange(min=0),
    help="Whole sub-DiTs to calibrate the table on.  [default: all in the kit]",
)
@click.option("--whole", type=click.IntRange(min=1), help="Measure so many whole sub-DiTs and predict from them.")
@click.option(
    "--also",
    multiple=True,
    metavar="PART=FILE",
    help="Measure text_encoder=FILE or decoder=FILE in the same rounds; may be repeated.",
)
@click.option("--force", is_flag=True, help="Measure anew and replace the profile that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def command(
    kit: Path,
    runtime: str,
    threads: int,
    device: str | None,
    out: Path | None,
    budget_s: float,
    calibrate: int | None,
    whole: int | None,
    also: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Measure KIT on this machine, calibrate, and save the device profile.

    Let the machine do nothing else meanwhile. Interrupted, the same command goes on where it was.

    \b
    Examples:
        subdit profile kits/digits
        subdit profile kits/digits --device my-laptop --budget-s 30 --out my-laptop.json
        subdit profile kits/digits --whole 60
        subdit profile kits/mobile-1k --also decoder=decoder.onnx
    """
    from profilers import profile

    with progress_bar(f"Measuring {kit}") as progress:
        made = profile(
            kit,
            runtime=runtime,
            threads=threads,
            device=device,
            out=out,
            budget_s=budget_s,
            calibrate=calibrate,
            whole=whole,
            also=_parts(also),
            progress=progress,
            force=force,
        )
    if as_json:
        echo_json(made.to_dict())
    else:
        echo_profile(made, components=False)


def _parts(also: tuple[str, ...]) -> dict[str, Path]:
    """Files by the part of the pipeline that they are; raises `ProfileError` on what is not PART=FILE, once each."""
    found: dict[str, Path] = {}
    for entry in also:
        part, is_given, file = entry.partition("=")
        if not is_given or not file or part in found:
            problem = "comes twice" if part in found else "is not PART=FILE"
            raise ProfileError(f"--also {entry!r} {problem}; write it once, such as --also decoder=decoder.onnx.")
        found[part] = Path(file)
    return found
