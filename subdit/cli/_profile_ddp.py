"""`subdit profile --ddp`: its options, and phones that are rented by LiteRT-CLI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from subdit.cli._profile_text import echo_profile
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.core.errors import ProfileError

_OPTIONS = (
    click.option(
        "--ddp", is_flag=True, help="Measure a rented phone with LiteRT-CLI; --device is its id in the catalogue."
    ),
    click.option("--sessions", type=click.IntRange(min=2), help="--ddp: sessions of each model.  [default: 3]"),
    click.option("--gcp-project", help="--ddp: project that is billed.  [default: LITERT_GCP_PROJECT]"),
    click.option("--gcp-bucket", help="--ddp: bucket for models and results.  [default: LiteRT-CLI's own]"),
    click.option("--litert", type=click.Path(path_type=Path), help="--ddp: LiteRT-CLI.  [default: litert on the PATH]"),
    click.option("--commands", is_flag=True, help="--ddp: print the commands of LiteRT-CLI, and run nothing."),
)

DDP_NAMES = ("sessions", "gcp_project", "gcp_bucket", "litert", "commands")
"""Parameters of these options, but for the flag itself."""


def ddp_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them by their names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def require_ddp(**options: Any) -> None:
    """Raise `ProfileError` where an option of `--ddp` was given without it."""
    for name, value in options.items():
        if value:
            raise ProfileError(f"--{name.replace('_', '-')} is about rented phones; pass --ddp with it.")


def require_phone(**options: Any) -> None:
    """Raise `ProfileError` where an option was given that only phones over adb and rented ones have."""
    for name, value in options.items():
        if value is not None:
            raise ProfileError(f"--{name.replace('_', '-')} is for phones; give --adb or --ddp too, or leave it out.")


def refuse_for_rented(**options: Any) -> None:
    """Raise `ProfileError` where an option was given that a rented phone has not."""
    for name, value in options.items():
        if value:
            raise ProfileError(
                f"LiteRT-CLI measures rented phones in its own way; leave --{name.replace('_', '-')} out."
            )


def profile_on_ddp(
    kit: Path,
    *,
    as_json: bool,
    device: str | None,
    sessions: int | None,
    gcp_project: str | None,
    gcp_bucket: str | None,
    litert: Path | None,
    commands: bool,
    out: Path | None,
    force: bool,
    allow_fallback: bool,
    **chosen: Any,
) -> None:
    """Measure and print the profile, or print the commands that do; `chosen` are further arguments of `make_plan`."""
    from profilers.rented import SESSIONS
    from profilers.rented import by_hand
    from profilers.rented import make_plan
    from profilers.rented import profile_rented
    from profilers.rented.litert_cli import INSTALL
    from profilers.rented.litert_cli import find_litert

    if device is None:
        raise ProfileError(
            "Name the phone to rent with --device, such as caiman-35; 'gcloud beta device-run devices list' lists them."
        )
    of: dict[str, Any] = {"sessions": sessions or SESSIONS, "project": gcp_project, "bucket": gcp_bucket}
    plan = make_plan(kit, device, **of, **chosen)
    program = find_litert(litert)
    every = f"{plan.count} sessions, {plan.sessions} of each of {len(plan.kit.entries)} models"
    if commands or program is None:
        why = "" if commands else f"LiteRT-CLI is not installed ({INSTALL}); by hand: "
        click.echo(f"{why}{every}, each billed to your project.", err=True)
        for line in by_hand(plan):
            click.echo(line)
        return
    click.echo(f"{every}, each billed to your project; what is done is kept.", err=True)
    with progress_bar(f"Renting {device}") as progress:
        made = profile_rented(plan, program, out=out, force=force, allow_fallback=allow_fallback, progress=progress)
    if as_json:
        echo_json(made.to_dict())
    else:
        echo_profile(made, components=False)
