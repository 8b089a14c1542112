"""`subdit profile`: measure a kit on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from device_profiles import DeviceProfile
from nas.cli._devices import echo_profile
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
@click.option("--whole", type=click.IntRange(min=0), help="Whole sub-DiTs to calibrate on.  [default: all in the kit]")
@click.option("--serve", is_flag=True, help="Let phones measure it in their browsers; shows a QR code.")
@click.option("--https", is_flag=True, help="--serve: self-made certificate; phones can then use threads and the GPU.")
@click.option("--usb", is_flag=True, help="--serve: to a phone on a cable, through adb reverse; threads and GPU, too.")
@click.option("--webgpu", is_flag=True, help="--serve: measure the phone's GPU, too.")
@click.option("--phones", type=click.IntRange(min=1), default=1, show_default=True, help="--serve: end after so many.")
@click.option("--host", help="--serve: address to listen at.  [default: the one in the local network]")
@click.option("--port", type=click.IntRange(1, 65535), help="--serve: port.  [default: 8123]")
@click.option(
    "--ort-web", type=click.Path(path_type=Path), help="--serve: onnxruntime-web.  [default: that of make setup-web]"
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
    whole: int | None,
    serve: bool,
    https: bool,
    usb: bool,
    webgpu: bool,
    phones: int,
    host: str | None,
    port: int | None,
    ort_web: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure KIT on this machine, calibrate, and save the device profile.

    Let the machine do nothing else meanwhile. Interrupted, the same command goes on where it was. With --serve, phones
    measure it in their browsers instead.

    \b
    Examples:
        subdit profile kits/digits
        subdit profile kits/digits --device my-laptop --budget-s 30 --out my-laptop.json
        subdit profile kits/digits --serve
        subdit profile kits/digits --serve --https --threads 4 --webgpu
    """
    if serve:
        served = _serve(
            kit,
            https=https,
            usb=usb,
            host=host,
            port=port,
            ort_web=ort_web,
            phones=phones,
            threads=threads,
            webgpu=webgpu,
            device=device,
            out=out,
            budget_s=budget_s,
            whole=whole,
            force=force,
        )
        _echo_served(served, as_json=as_json)
        return
    for name, given in (("--https", https), ("--usb", usb), ("--webgpu", webgpu), ("--ort-web", ort_web is not None)):
        if given:
            raise ProfileError(f"{name} is about phones' browsers; pass --serve with it.")
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


def _serve(kit: Path, **options: Any) -> tuple[DeviceProfile, ...]:
    from profilers.browser import serve

    with contextlib.ExitStack() as preparing:
        progress = preparing.enter_context(progress_bar(f"Preparing {kit}"))

        def say(line: str) -> None:
            # The bar is of the preparation; what phones do is told line by line.
            preparing.close()
            click.echo(line, err=True)

        return serve(kit, say=say, progress=progress, **options)


def _echo_served(served: tuple[DeviceProfile, ...], *, as_json: bool) -> None:
    if as_json:
        echo_json([profile.to_dict() for profile in served])
        return
    for profile in served:
        click.echo()
        echo_profile(profile, components=False)
