"""Whether a device profile is of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError
from subdit.core.errors import SearchError

if TYPE_CHECKING:
    from device_profiles import DeviceProfile


def check_same_machine(profile: DeviceProfile) -> None:
    """Raises `SearchError` where measurements on this machine would not be of the profile's device.

    A processor that the profile states must be this machine's: host names alone do not tell, since virtual machines
    often share one. A profile of another host, such as a shipped one, is of this machine where its device has the
    default name of this system and processor; a device that was named by its owner is one machine only.
    """
    import platform

    from profilers import cpu_model
    from profilers import device_name
    from profilers import get_runtime

    try:
        get_runtime(profile.runtime, precision=profile.precision, delegate=profile.delegate)
    except (ProfileError, MissingExtraError) as error:
        raise SearchError(
            f"The profile {profile.id} is of what --verify cannot measure from here ({error}) Search with a profile of "
            "this machine, or leave out --verify."
        ) from error
    on, node, cpu = profile.conditions, platform.node(), cpu_model()
    if on.cpu and on.cpu != cpu:
        raise SearchError(
            f"The profile {profile.id} was measured on another processor ({on.cpu}) than this machine's ({cpu}); "
            "verify there, or leave out --verify."
        )
    if on.machine == node or (on.cpu and profile.device == device_name()):
        return
    raise SearchError(
        f"The profile {profile.id} was measured on {on.machine or 'a machine that it does not name'}, not on this one "
        f"({node}), and its name is not the one that all machines of this processor share ({device_name()}); verify "
        "there, or leave out --verify."
    )
