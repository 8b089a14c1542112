"""`subdit devices`: list, show, check and compare device profiles, and tables to fill in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._fallback import ran_on
from subdit.cli._profile_text import echo_profile
from subdit.cli._profile_text import error_of
from subdit.cli._profile_text import needs_fit
from subdit.cli._profile_text import percent
from subdit.cli._profile_text import provenance_mark
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError

if TYPE_CHECKING:
    from device_profiles import DeviceProfile
    from device_profiles import Finding
    from device_profiles import RegisteredProfile
    from subdit.space import SearchSpace

# Findings that `check` prints of one profile.
_SHOWN = 20
_FIT = "Fit profiles of whole sub-DiTs, too, which takes seconds each, and say how far they are off."


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the device profiles, show one, check them, or compare two.

    \b
    Examples:
        subdit devices
        subdit devices show linux
        subdit devices check my-laptop.json
        subdit devices compare linux my-laptop
    """
    if ctx.invoked_subcommand is None:
        _list(None, as_json, fit=False)


@command.command("list")
@click.option("--space", help="Only profiles of this space.")
@click.option("--fit", is_flag=True, help=_FIT)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(space: str | None, fit: bool, as_json: bool) -> None:
    """List the device profiles: yours and those that come with subdit.

    \b
    Example:
        subdit devices list --space digits
    """
    _list(_space(space), as_json, fit=fit)


@command.command()
@click.argument("device")
@click.option("--space", help="Of which space, where the device has profiles of several.")
@click.option("--components", is_flag=True, help="Print the latency of every component, too.")
@click.option("--fit", is_flag=True, help=_FIT)
@click.option("--json", "as_json", is_flag=True, help="Print the whole profile as JSON.")
def show(device: str, space: str | None, components: bool, fit: bool, as_json: bool) -> None:
    """Show a device profile: id, unambiguous start of one, or file.

    \b
    Examples:
        subdit devices show linux --components
        subdit devices show my-phone.json --fit
    """
    from device_profiles import load_profile

    profile = load_profile(device, space=_space(space))
    if as_json:
        echo_json(profile.to_dict())
    else:
        echo_profile(profile, components=components, fit=fit)


@command.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Check profile files against the schema and for plausibility; without FILES, all of the registries.

    Physics: the table has no gaps, intervals hold their values, latency grows with width, tokens, FFN ratio and radius,
    noise is within its limits, the calibration is believable, as is the fit to whole sub-DiTs, which takes some seconds
    for each such profile. Exits with 2 where a file fails.

    \b
    Example:
        subdit devices check my-laptop.json
    """
    from device_profiles import read_registry
    from device_profiles import user_registry

    if not files:
        entries, damaged = read_registry()
        files = (*(entry.path for entry in entries), *damaged)
    checked: dict[Path, tuple[Finding, ...]] = {}
    with progress_bar("Checking") as progress:
        for done, path in enumerate(files):
            progress(done, len(files), path.name)
            checked[path] = _check(path)
    if as_json:
        echo_json(
            [
                {"path": str(path), "good": not found, "findings": [dataclasses.asdict(finding) for finding in found]}
                for path, found in checked.items()
            ]
        )
    elif checked:
        for path, found in checked.items():
            click.echo(f"{path}: {f'fails {len(found)} checks' if found else 'good'}")
            for finding in found[:_SHOWN]:
                click.echo(f"  {finding.rule:<12} {finding.message}")
            if len(found) > _SHOWN:
                click.echo(f"  and {len(found) - _SHOWN} more; --json prints all")
    else:
        click.echo(f"There are no profiles to check in {user_registry()}.")
    if failed := [path for path, found in checked.items() if found]:
        raise ProfileError(
            f"{len(failed)} of {len(checked)} profiles fail, the first {failed[0]}: {checked[failed[0]][0].message}"
        )


@command.command()
@click.argument("first")
@click.argument("second", required=False)
@click.option("--space", help="Of which space, where a device has profiles of several.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), help="Disagreements to print.")
@click.option("--fit", is_flag=True, help="Of two: by size also where a profile must be fitted first, for seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(first: str, second: str | None, space: str | None, top: int, fit: bool, as_json: bool) -> None:
    """Compare a device profile with a second one, or say which of all others are slower, by how much, at what size.

    With two: ratios by size and by kind, rank correlation, where they disagree most. With one, profiles of whole
    sub-DiTs are fitted, which takes seconds each.

    \b
    Examples:
        subdit devices compare linux
        subdit devices compare linux my-laptop.json
    """
    from subdit.cli._comparison_text import compare_two
    from subdit.cli._comparison_text import compare_with_all

    if second is None:
        compare_with_all(first, _space(space), as_json=as_json)
    else:
        compare_two(first, second, _space(space), top=top, fit=fit, as_json=as_json)


@command.command()
@click.option("--from-kit", "kit", required=True, type=click.Path(path_type=Path), help="The kit to measure.")
@click.option(
    "--reports", default=3, show_default=True, type=click.IntRange(1, 9), help="Performance reports of each model."
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: coreml-SPACE.csv]")
@click.option("--force", is_flag=True, help="Replace the file that is there.")
def template(kit: Path, reports: int, out: Path | None, force: bool) -> None:
    """Write a table to fill in by hand, for Apple devices, whose Xcode writes no file of a Core ML performance report.

    It has a row for each model of the kit, empty cells for the latencies, and how to find each. 'subdit import' checks
    that every row is filled, that nothing is there twice or changed, and that the numbers can be milliseconds.

    \b
    Example:
        subdit devices template --from-kit kits/digits --out iphone.csv
        subdit import iphone.csv --device iphone-16-pro --kit kits/digits --threads 1
    """
    import shlex

    from profilers import open_kit
    from profilers.importers import coreml_template
    from subdit.core.files import write_atomic

    opened = open_kit(kit)
    out = Path(f"coreml-{opened.space}.csv") if out is None else out
    if out.exists() and not force:
        raise RunError(
            f"There is a file {out} already, which may be filled in; name another with --out, or pass --force."
        )
    write_atomic(out, coreml_template(opened, reports))
    rows = len(opened.entries)
    click.echo(f"{out}: {rows} models, {reports} reports each; fill in every row as its notes say, then")
    click.echo(f"    subdit import {shlex.quote(str(out))} --device NAME --kit {shlex.quote(str(kit))} --threads 1")


def _space(space: str | None) -> SearchSpace | None:
    """Raises `SpaceError` where there is none of that name or in that file."""
    from subdit.space import get_space

    return get_space(space) if space else None


def _check(path: Path) -> tuple[Finding, ...]:
    from device_profiles import Finding
    from device_profiles import check_plausibility
    from device_profiles import read_profile

    try:
        return check_plausibility(read_profile(path))
    except ProfileError as error:
        return (Finding("schema", str(error)),)


def _list(space: SearchSpace | None, as_json: bool, *, fit: bool) -> None:
    from device_profiles import fits_space
    from device_profiles import read_registry

    entries, damaged = read_registry()
    entries = [entry for entry in entries if fits_space(entry.profile, space)]
    if as_json:
        echo_json([_describe(entry, fit=fit) for entry in entries])
    elif entries:
        echo_table(
            ("device", "space", "ran on", "provenance", "noisy", "mean error", "measured"),
            [
                (
                    entry.profile.id,
                    entry.profile.space_id,
                    ran_on(entry.profile),
                    provenance_mark(entry.profile),
                    "yes" if entry.profile.noisy else "no",
                    _mean_error(entry.profile, fit=fit),
                    entry.profile.conditions.measured_at,
                )
                for entry in entries
            ],
        )
    else:
        click.echo("There are no device profiles yet; make one with 'subdit kit' and 'subdit profile'.")
    if not (as_json or fit) and any(needs_fit(entry.profile) for entry in entries):
        click.echo("\nnot fitted: 'subdit devices list --fit' fits it, in seconds each, and says how far it is off")
    for path in damaged:
        click.echo(f"Left out, as it is damaged: {path} ('subdit devices check' says how).", err=True)


def _mean_error(profile: DeviceProfile, *, fit: bool) -> str:
    if needs_fit(profile) and not fit:
        return "not fitted"
    error = error_of(profile, fit=fit)
    return percent(error.mean) if error else "-"


def _describe(entry: RegisteredProfile, *, fit: bool) -> dict[str, Any]:
    from device_profiles import fallback
    from device_profiles import ran_where

    profile = entry.profile
    error = error_of(profile, fit=fit)
    return {
        "id": profile.id,
        "space": profile.space,
        "space_hash": profile.space_hash,
        "provenance": profile.provenance,
        "ran_where": ran_where(profile),
        "fallback": fallback(profile),
        "noisy": profile.noisy,
        "mean_error": error.mean if error else None,
        "not_fitted": needs_fit(profile) and not fit,
        "max_params": profile.max_params,
        "source": profile.source,
        "measured_at": profile.conditions.measured_at,
        "kit_hash": profile.kit_hash,
        "path": str(entry.path),
        "shipped": entry.shipped,
    }
