"""`subdit devices`: list, show and check device profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from device_profiles import DeviceProfile
from device_profiles import RegisteredProfile
from device_profiles import load_profile
from device_profiles import read_profile
from device_profiles import read_registry
from device_profiles import user_registry
from nas.cli._table import echo_json
from nas.cli._table import echo_table
from subdit.errors import ProfileError
from supernet.space import get_space


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the device profiles, show one, or check them.

    \b
    Examples:
        subdit devices
        subdit devices show linux
        subdit devices check my-laptop.json
    """
    if ctx.invoked_subcommand is None:
        _list(None, as_json)


@command.command("list")
@click.option("--space", help="Only profiles of this space.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(space: str | None, as_json: bool) -> None:
    """List the device profiles: yours and those that come with subdit.

    \b
    Example:
        subdit devices list --space digits
    """
    _list(get_space(space).name if space else None, as_json)


@command.command()
@click.argument("device")
@click.option("--space", help="Of which space, where the device has profiles of several.")
@click.option("--components", is_flag=True, help="Print the latency of every component, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole profile as JSON.")
def show(device: str, space: str | None, components: bool, as_json: bool) -> None:
    """Show a device profile: id, unambiguous start of one, or file.

    \b
    Example:
        subdit devices show linux --components
    """
    profile = load_profile(device, space=get_space(space).name if space else None)
    if as_json:
        echo_json(profile.to_dict())
    else:
        echo_profile(profile, components=components)


@command.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Check profile files against the schema; without FILES, all of the registries. Exits with 2 where one is damaged.

    \b
    Example:
        subdit devices check my-laptop.json
    """
    problems: dict[Path, ProfileError | None] = {}
    if files:
        for path in files:
            try:
                read_profile(path)
                problems[path] = None
            except ProfileError as error:
                problems[path] = error
    else:
        entries, damaged = read_registry()
        problems = {**{entry.path: None for entry in entries}, **damaged}
    if as_json:
        echo_json([{"path": str(path), "problem": str(error) if error else None} for path, error in problems.items()])
    elif problems:
        echo_table(("file", "state"), [(str(path), "damaged" if error else "good") for path, error in problems.items()])
    else:
        click.echo(f"There are no profiles to check in {user_registry()}.")
    if first := next((error for error in problems.values() if error), None):
        raise first


def echo_profile(profile: DeviceProfile, *, components: bool) -> None:
    """Print a profile for people."""
    facts = [
        ("profile", profile.id),
        ("space", f"{profile.space}, {len(profile.components)} components, kit {profile.kit_hash}"),
        ("provenance", f"{profile.provenance} {profile.conditions.measured_at}"),
        ("machine", f"{profile.conditions.machine}, {profile.conditions.cpu}, {profile.conditions.cores} cores"),
        ("system", f"{profile.conditions.os}, {profile.runtime} {profile.conditions.runtime_version}"),
    ]
    if profile.noise is not None:
        verdict = "noisy" if profile.noisy else "quiet enough"
        facts.append(
            (
                "noise",
                f"{verdict}: components +-{_percent(profile.noise.component_ci)}, whole sub-DiTs "
                f"+-{_percent(profile.noise.whole_ci)}, halves differ by {_percent(profile.noise.split)} "
                f"(limit {_percent(profile.noise.limit)}, {profile.noise.attempts} attempts)",
            )
        )
    if (calibration := profile.calibration) is not None:
        with_, without = calibration.error, calibration.uncalibrated_error
        facts += [
            ("calibration", f"{calibration.form}, on {with_.samples} whole sub-DiTs, each left out in turn:"),
            ("", f"mean error {_percent(with_.mean)}, worst {_percent(with_.worst)}, tau {with_.kendall_tau:.2f}"),
            ("", f"without it: mean {_percent(without.mean)}, worst {_percent(without.worst)}"),
        ]
    else:
        facts.append(("calibration", "none: latencies are plain sums of components"))
    for label, text in facts:
        click.echo(f"{label:<12} {text}")
    if components:
        click.echo()
        echo_table(
            ("component", "latency, ms", "low", "high", "rounds"),
            [
                (name, f"{found.latency_ms:.5f}", f"{found.low_ms:.5f}", f"{found.high_ms:.5f}", str(found.rounds))
                for name, found in profile.components.items()
            ],
        )


def _list(space: str | None, as_json: bool) -> None:
    entries, damaged = read_registry()
    entries = [entry for entry in entries if space in (None, entry.profile.space)]
    if as_json:
        echo_json([_describe(entry) for entry in entries])
    elif entries:
        echo_table(
            ("device", "space", "provenance", "noisy", "mean error", "measured"),
            [
                (
                    entry.profile.id,
                    entry.profile.space,
                    entry.profile.provenance,
                    "yes" if entry.profile.noisy else "no",
                    _percent(entry.profile.calibration.error.mean) if entry.profile.calibration else "-",
                    entry.profile.conditions.measured_at,
                )
                for entry in entries
            ],
        )
    else:
        click.echo("There are no device profiles yet; make one with 'subdit kit' and 'subdit profile'.")
    for path in damaged:
        click.echo(f"Left out, as it is damaged: {path} ('subdit devices check' says how).", err=True)


def _describe(entry: RegisteredProfile) -> dict[str, Any]:
    profile = entry.profile
    return {
        "id": profile.id,
        "space": profile.space,
        "provenance": profile.provenance,
        "noisy": profile.noisy,
        "mean_error": profile.calibration.error.mean if profile.calibration else None,
        "measured_at": profile.conditions.measured_at,
        "kit_hash": profile.kit_hash,
        "path": str(entry.path),
        "shipped": entry.shipped,
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
