"""What ran where in a device profile, in one line, and whether an accelerator took less than it was asked for."""

from __future__ import annotations

import re

from device_profiles._profile import DeviceProfile

# How a profile of the processor says that an accelerator was to run it (`profilers.importers.profile`).
_ASKED = re.compile(r"; (.{1,80}) asked for, ran nothing")


def ran_where(profile: DeviceProfile) -> str:
    """Which share of the operators of all models ran on what, in how many partitions."""
    models = len(profile.components) or len(profile.whole)
    turns = ""
    if profile.partitions is not None and profile.partitions > models:
        turns = f", in {profile.partitions} partitions of {models} models"
    share = profile.delegated_share
    if profile.delegate is None:
        part = "" if share is None else f", {100 * share:.1f} % of the operators in XNNPACK{turns}"
        return f"the processor ran all{part}"
    if share is None:
        return f"{profile.delegate}, which share of the operators is not known"
    if share == 1:
        return f"{profile.delegate} ran all operators{turns}"
    return f"{profile.delegate} ran {100 * share:.1f} % of the operators{turns}; the processor ran the rest"


def fallback(profile: DeviceProfile) -> str | None:
    """The warning that an accelerator took less than it was asked for; None where nothing says so."""
    if profile.delegate is None:
        asked = _ASKED.search(profile.source)
        return f"{asked[1]} was asked for and took nothing: all ran on the processor" if asked else None
    if profile.delegated_share is None or profile.delegated_share == 1:
        return None
    taken = f"{100 * profile.delegated_share:.1f} % of the operators"
    return f"{profile.delegate} took {taken} only: the rest ran on the processor"
