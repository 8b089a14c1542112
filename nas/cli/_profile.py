"""`subdit profile`: measure a kit on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nas.cli._devices import echo_profile
from nas.cli._profile_serve import profile_served
from nas.cli._profile_serve import require_serve
from nas.cli._profile_serve import serve_options
from nas.cli._progress import progress_bar
from nas.cli._table import echo_json


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
@click.option("--whole", type=click.IntRange(min=0), help="Whole sub-DiTs to calibrate on.  [default: all in the kit]")
@serve_options
@click.option("--force", is_flag=True, help="Measure anew and replace the profile that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def command(
    kit: Path,
    runtime: str,
    threads: int,
    device: str | None,
    out: Path | None,
    budget_s: float,
    whole: int | None,
    force: bool,
    as_json: bool,
    serve: bool,
    **serving: Any,
) -> None:
    """Measure KIT on this machine, calibrate, and save the device profile.

    Let the machine do nothing else meanwhile. Interrupted, the same command goes on where it was. With --serve, phones
    measure it in their browsers instead, with one thread and then, where asked, with more or on the GPU.

    \b
    Examples:
        subdit profile kits/digits
        subdit profile kits/digits --device my-laptop --budget-s 30 --out my-laptop.json
        subdit profile kits/digits --serve
        subdit profile kits/digits --serve --https --threads 4 --webgpu
    """
    if serve:
        profile_served(
            kit,
            threads=threads,
            device=device,
            out=out,
            budget_s=budget_s,
            calibrate=whole,
            force=force,
            as_json=as_json,
            **serving,
        )
        return
    require_serve(**serving)
    from profilers import profile

    with progress_bar(f"Measuring {kit}") as progress:
        made = profile(
            kit,
            runtime=runtime,
            threads=threads,
            device=device,
            out=out,
            budget_s=budget_s,
            whole=whole,
            progress=progress,
            force=force,
        )
    if as_json:
        echo_json(made.to_dict())
    else:
        echo_profile(made, components=False)
