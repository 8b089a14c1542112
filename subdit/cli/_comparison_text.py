"""`subdit devices compare`: two profiles in detail, or one against all others of its space."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._profile_text import needs_fit
from subdit.cli._profile_text import provenance_mark
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table
from subdit.core.errors import ProfileError

if TYPE_CHECKING:
    from device_profiles import DeviceProfile
    from device_profiles import SizeRatio
    from subdit.space import SearchSpace

_SIZES_OF_TWO = 5
_VERDICTS = ("slower", "depends on the size", "no difference beyond the intervals", "faster", "cannot be compared")


def compare_two(first: str, second: str, space: SearchSpace | None, *, top: int, fit: bool, as_json: bool) -> None:
    """Print how two profiles compare; by size, without `fit`, only where neither must be fitted first (`needs_fit`).

    Raises:
        ProfileError: there is no such profile, they are of two spaces, or share too few components.
    """
    from device_profiles import compare_by_size
    from device_profiles import compare_profiles
    from device_profiles import load_profile

    profiles = [load_profile(device, space=space) for device in (first, second)]
    found = compare_profiles(*profiles)
    sizes: tuple[SizeRatio, ...] = ()
    unfitted = any(map(needs_fit, profiles)) and not fit
    if not unfitted:
        # Components compare also where one of the profiles predicts nothing.
        with contextlib.suppress(ProfileError):
            sizes = compare_by_size(*profiles, sizes=_SIZES_OF_TWO)
    if as_json:
        provenance = dict(
            zip(("first_provenance", "second_provenance"), (one.provenance for one in profiles), strict=True)
        )
        echo_json({**provenance, **dataclasses.asdict(found), "sizes": [_describe(size) for size in sizes]})
        return
    for label, profile in zip(("first", "second"), profiles, strict=True):
        _echo_name(label, profile)
    only = f"{found.only_first} only in the first, {found.only_second} only in the second"
    click.echo(f"components   {found.components} in both, {only}")
    click.echo(f"second takes {found.ratio:.3g} times as long (median)")
    click.echo(f"same order   Spearman {found.spearman:.3f}, Kendall tau {found.kendall_tau:.3f}\n")
    if sizes:
        echo_table(
            ("size", "first, ms", "second, ms", "times as long", "low", "high", "second is"),
            [
                (
                    _million(size.params),
                    f"{size.first_ms:.4g}",
                    f"{size.second_ms:.4g}",
                    *(f"{value:.3f}" for value in (size.ratio, size.low, size.high)),
                    size.verdict,
                )
                for size in sizes
            ],
        )
        click.echo()
    elif unfitted:
        click.echo("by size      not fitted; --fit fits it, in seconds, and compares sub-DiTs from small to large\n")
    echo_table(
        ("kind", "components", "ratio", "smallest", "largest"),
        [
            (one.kind, str(one.components), *(f"{value:.3f}" for value in (one.ratio, one.smallest, one.largest)))
            for one in found.kinds
        ],
    )
    if shown := found.disagreements[:top]:
        click.echo()
        echo_table(
            ("disagree most", "first, ms", "second, ms", "ratio", "over the usual", "beyond noise"),
            [
                (
                    one.component,
                    f"{one.first_ms:.5f}",
                    f"{one.second_ms:.5f}",
                    f"{one.ratio:.3f}",
                    f"{one.unusual:.3f}",
                    "yes" if one.significant else "no",
                )
                for one in shown
            ],
        )


def compare_with_all(first: str, space: SearchSpace | None, *, as_json: bool) -> None:
    """Print which of the other profiles of the space are slower, by how much, at what size; the slowest first.

    Raises:
        ProfileError: there is no such profile, or no other of its space.
    """
    from device_profiles import compare_by_size
    from device_profiles import fallback
    from device_profiles import load_profile
    from device_profiles import read_registry

    own = load_profile(first, space=space)
    entries, _ = read_registry()
    others = [one.profile for one in entries if one.profile.space_id == own.space_id and one.profile.id != own.id]
    if not others:
        raise ProfileError(f"There is no other profile of the space {own.space!r}; measure its kit on another device.")
    found: list[tuple[DeviceProfile, tuple[SizeRatio, ...], str]] = []
    with progress_bar("Comparing") as progress:
        for done, other in enumerate(others):
            progress(done, len(others), other.id)
            try:
                sizes = compare_by_size(own, other)
            except ProfileError:
                # Points that others published predict nothing.
                sizes = ()
            found.append((other, sizes, _verdict(sizes)))
    found.sort(key=lambda one: (_VERDICTS.index(one[2]), -one[1][len(one[1]) // 2].ratio if one[1] else 0.0, one[0].id))
    if as_json:
        echo_json(
            [
                {
                    "id": other.id,
                    "provenance": other.provenance,
                    "fallback": fallback(other),
                    "verdict": verdict,
                    "sizes": [_describe(size) for size in sizes],
                }
                for other, sizes, verdict in found
            ]
        )
        return
    _echo_name("against", own)
    click.echo()
    echo_table(
        ("device", "is", "small", "middle", "large", "provenance"),
        [
            (
                other.id,
                verdict,
                *_cells(sizes),
                provenance_mark(other) + ("" if fallback(other) is None else ", WARNING"),
            )
            for other, sizes, verdict in found
        ],
    )
    if any(size.verdict == "neither" for _, sizes, _ in found for size in sizes):
        click.echo("\n~ marks what the intervals of the predictions do not tell apart")


def _verdict(sizes: tuple[SizeRatio, ...]) -> str:
    said = {size.verdict for size in sizes} - {"neither"}
    if not sizes:
        return "cannot be compared"
    if len(said) > 1:
        return "depends on the size"
    return next(iter(said), "no difference beyond the intervals")


def _cells(sizes: tuple[SizeRatio, ...]) -> list[str]:
    """One for each of three sizes; where fewer are covered, the rest are empty."""
    cells = [
        f"{'~' if size.verdict == 'neither' else ''}{size.ratio:.2f}x at {_million(size.params)}" for size in sizes
    ]
    return [*cells, *["-"] * (3 - len(cells))]


def _describe(size: SizeRatio) -> dict[str, Any]:
    values = {key: value for key, value in vars(size).items() if key != "spec"}
    return {"spec": str(size.spec), **values, "verdict": size.verdict}


def _echo_name(label: str, profile: DeviceProfile) -> None:
    from device_profiles import fallback

    mark = "" if profile.provenance == "measured" else f" ({provenance_mark(profile)})"
    click.echo(f"{label:<12} {profile.id}{mark}")
    if (warning := fallback(profile)) is not None:
        click.echo(f"{'WARNING':<12} {warning}")


def _million(params: int) -> str:
    return f"{params / 1e6:.3g} M"
