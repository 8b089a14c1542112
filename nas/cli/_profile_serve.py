"""`subdit profile --serve`: what the verb does for phones' browsers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from device_profiles import DeviceProfile
from nas.cli._profile_text import echo_profile
from nas.cli._progress import progress_bar
from nas.cli._table import echo_json
from subdit.errors import ProfileError


def serve_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `--serve`."""
    options = (
        click.option("--serve", is_flag=True, help="Let phones measure it in their browsers; shows a QR code."),
        click.option(
            "--https", is_flag=True, help="With --serve: a self-made certificate; phones can then use threads and GPU."
        ),
        click.option(
            "--usb", is_flag=True, help="With --serve: to a phone on a cable, by adb reverse; threads and GPU, too."
        ),
        click.option("--webgpu", is_flag=True, help="With --serve: measure the phone's GPU, too."),
        click.option("--phones", type=click.IntRange(min=1), help="With --serve: end after so many.  [default: 1]"),
        click.option("--host", help="With --serve: address to listen at.  [default: the one in the local network]"),
        click.option("--port", type=click.IntRange(1, 65535), help="With --serve: port.  [default: 8123]"),
        click.option(
            "--ort-web",
            type=click.Path(path_type=Path),
            help="With --serve: folder of onnxruntime-web.  [default: that of make setup-web]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def require_serve(**given: object) -> None:
    """Raise `ProfileError` where an option was given that only browsers have."""
    for name, value in given.items():
        if value:
            raise ProfileError(
                f"--{name.replace('_', '-')} is about phones' browsers; give --serve too, or leave it out."
            )


def profile_browsers(kit: Path, *, as_json: bool, **options: Any) -> None:
    """Serve the kit and print the profiles that phones make; `options` that are None are left to `serve`."""
    from profilers.browser import serve

    with contextlib.ExitStack() as preparing:
        progress = preparing.enter_context(progress_bar(f"Preparing {kit}"))

        def say(line: str) -> None:
            # The bar is of the preparation; what phones do is told line by line.
            preparing.close()
            click.echo(line, err=True)

        given = {name: value for name, value in options.items() if value is not None}
        served: tuple[DeviceProfile, ...] = serve(kit, say=say, progress=progress, **given)
    if as_json:
        echo_json([profile.to_dict() for profile in served])
        return
    for profile in served:
        click.echo()
        echo_profile(profile, components=False)
