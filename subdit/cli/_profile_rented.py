"""`subdit profile --ddp` and `--ai-hub`: their options, and phones by the session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._profile_text import echo_profile
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.core.errors import ProfileError

if TYPE_CHECKING:
    from profilers.rented import Rental

_OPTIONS = (
    click.option(
        "--ddp", is_flag=True, help="Measure a rented phone with LiteRT-CLI; --device is its id in the catalogue."
    ),
    click.option(
        "--ai-hub", is_flag=True, help="Measure a phone of Qualcomm AI Hub with qai-hub; --device is its name there."
    ),
    click.option("--sessions", type=click.IntRange(min=2), help="--ddp, --ai-hub: of each model.  [default: 3]"),
    click.option("--gcp-project", help="--ddp: project that is billed.  [default: LITERT_GCP_PROJECT]"),
    click.option("--gcp-bucket", help="--ddp: bucket for models and results.  [default: LiteRT-CLI's own]"),
    click.option("--litert", type=click.Path(path_type=Path), help="--ddp: LiteRT-CLI.  [default: litert on the PATH]"),
    click.option(
        "--qai-hub",
        type=click.Path(path_type=Path),
        help="--ai-hub: qai-hub, or the Python that has it.  [default: qai-hub on the PATH]",
    ),
    click.option("--commands", is_flag=True, help="--ddp, --ai-hub: print the commands, and run nothing."),
)

RENTED_NAMES = ("sessions", "gcp_project", "gcp_bucket", "litert", "qai_hub", "commands")
"""Parameters of these options, but for the two flags themselves."""

_DDP_ALONE = ("gcp_project", "gcp_bucket", "litert")
_AI_HUB_ALONE = ("qai_hub",)


def rented_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them by their names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def require_rented(**options: Any) -> None:
    """Raise `ProfileError` where an option of `--ddp` or `--ai-hub` was given without them."""
    for name, value in options.items():
        if value:
            flag = "--ddp" if name in _DDP_ALONE else "--ai-hub" if name in _AI_HUB_ALONE else "--ddp or --ai-hub"
            raise ProfileError(f"--{name.replace('_', '-')} is about rented phones; pass {flag} with it.")


def require_phone(**options: Any) -> None:
    """Raise `ProfileError` where an option was given that only phones over adb and rented ones have."""
    for name, value in options.items():
        if value is not None:
            raise ProfileError(
                f"--{name.replace('_', '-')} is for phones; give --adb, --ddp or --ai-hub too, or leave it out."
            )


def refuse_for_rented(**options: Any) -> None:
    """Raise `ProfileError` where an option was given that a rented phone has not."""
    for name, value in options.items():
        if value:
            raise ProfileError(
                f"Rented phones are measured in a way of their own; leave --{name.replace('_', '-')} out."
            )


def profile_on_rented(
    kit: Path,
    *,
    ai_hub: bool,
    as_json: bool,
    device: str | None,
    delegate: str | None,
    threads: int,
    sessions: int | None,
    gcp_project: str | None,
    gcp_bucket: str | None,
    litert: Path | None,
    qai_hub: Path | None,
    commands: bool,
    out: Path | None,
    force: bool,
    allow_fallback: bool,
    **chosen: Any,
) -> None:
    """Measure and print the profile, or print the commands that do; `chosen` are further arguments of `make_plan`."""
    from profilers.rented import SESSIONS
    from profilers.rented import by_hand
    from profilers.rented import find_litert
    from profilers.rented import find_python
    from profilers.rented import make_plan
    from profilers.rented import profile_rented

    if ai_hub:
        require_rented(**{"gcp_project": gcp_project, "gcp_bucket": gcp_bucket, "litert": litert})
        rental = _ai_hub(device, delegate, threads)
        program = find_python(qai_hub)
    else:
        require_rented(qai_hub=qai_hub)
        rental = _ddp(device, delegate, threads, gcp_project, gcp_bucket)
        program = find_litert(litert)
    plan = make_plan(kit, rental, sessions=sessions or SESSIONS, **chosen)
    every = f"{plan.count} sessions, {plan.sessions} of each of {len(plan.kit.entries)} models"
    if commands or program is None:
        why = "" if commands else f"{rental.tool} is not installed ({rental.install}); by hand: "
        click.echo(f"{why}{every}, {rental.price}.", err=True)
        for line in by_hand(plan, program):
            click.echo(line)
        return
    click.echo(f"{every}, {rental.price}; what is done is kept.", err=True)
    with progress_bar(f"Renting {rental.device}") as progress:
        made = profile_rented(plan, program, out=out, force=force, allow_fallback=allow_fallback, progress=progress)
    if as_json:
        echo_json(made.to_dict())
    else:
        echo_profile(made, components=False)


def _ddp(
    device: str | None, delegate: str | None, threads: int, gcp_project: str | None, gcp_bucket: str | None
) -> Rental:
    from profilers.rented import DdpRental

    if threads != 1:
        raise ProfileError("LiteRT-CLI measures on one thread; leave --threads out.")
    if device is None:
        raise ProfileError(
            "Name the phone to rent with --device, such as caiman-35; 'gcloud beta device-run devices list' lists them."
        )
    return DdpRental(device, delegate or "cpu", gcp_project, gcp_bucket)


def _ai_hub(device: str | None, delegate: str | None, threads: int) -> Rental:
    from profilers.rented import AiHubRental

    if device is None:
        raise ProfileError(
            "Name the phone with --device, such as 'Samsung Galaxy S24'; 'qai-hub list-devices' lists them."
        )
    return AiHubRental(device, delegate or "cpu", threads)
