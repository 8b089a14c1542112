"""`subdit profile --serve`: its options, and phones that measure in their browsers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from subdit.cli._profile_text import echo_profile
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.core.errors import ProfileError

_OPTIONS = (
    click.option("--serve", is_flag=True, help="Let phones measure it in their browsers; shows a QR code."),
    click.option("--https", is_flag=True, help="--serve: self-made certificate; allows threads and the GPU."),
    click.option("--usb", is_flag=True, help="--serve: phone on a cable, by adb reverse; allows threads and the GPU."),
    click.option("--webgpu", is_flag=True, help="--serve: measure the phone's GPU, too."),
    click.option("--phones", type=click.IntRange(min=1), help="--serve: number of phones to wait for.  [default: 1]"),
    click.option("--host", help="--serve: address to listen at.  [default: the one in the local network]"),
    click.option("--port", type=click.IntRange(1, 65535), help="--serve: port.  [default: 8123]"),
    click.option(
        "--ort-web",
        type=click.Path(path_type=Path),
        help="--serve: folder of onnxruntime-web.  [default: that of make setup-web]",
    ),
)


def serve_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them by their names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def require_serve(**options: Any) -> None:
    """Raise `ProfileError` where an option of `--serve` was given without it."""
    for name, value in options.items():
        if value:
            raise ProfileError(f"--{name.replace('_', '-')} is about phones' browsers; pass --serve with it.")


def refuse_for_browsers(**options: Any) -> None:
    """Raise `ProfileError` where an option was given that a browser has not."""
    for name, value in options.items():
        if value:
            raise ProfileError(f"A browser runs onnxruntime-web in float32 where it likes; leave --{name} out.")


def profile_served(kit: Path, *, as_json: bool, phones: int | None, **options: Any) -> None:
    """Serve the kit, tell what happens line by line, and print the profiles."""
    from profilers.browser import serve

    with contextlib.ExitStack() as preparing:
        progress = preparing.enter_context(progress_bar(f"Preparing {kit}"))

        def say(line: str) -> None:
            # The bar is of the preparation.
            preparing.close()
            click.echo(line, err=True)

        made = serve(kit, say=say, progress=progress, phones=phones or 1, **options)
    if as_json:
        echo_json([profile.to_dict() for profile in made])
        return
    for profile in made:
        click.echo()
        echo_profile(profile, components=False)
