"""The option that allows an accelerator to have taken less than all, and what tables say of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from device_profiles import DeviceProfile

allow_fallback_option = click.option(
    "--allow-fallback",
    is_flag=True,
    help="Make a profile also where an accelerator took nothing, or less than all, of a model.",
)


def ran_on(profile: DeviceProfile) -> str:
    """What ran where, for a cell of a table, with its warning."""
    from device_profiles import fallback

    if profile.delegate is None:
        return "processor" if fallback(profile) is None else "processor, ACCELERATOR UNUSED"
    share = profile.delegated_share
    return profile.delegate if share in (None, 1) else f"{profile.delegate}, ONLY {100 * (share or 0):.0f} %"
