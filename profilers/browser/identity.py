"""What a phone's profile says besides latencies, and how its timings are known again."""

from __future__ import annotations

from pathlib import Path

from device_profiles import DeviceProfile
from device_profiles import read_profile
from profilers.browser.messages import Begin
from profilers.kits.kit import Kit
from profilers.measuring import build_profile
from profilers.measuring import timings
from profilers.measuring.conditions import remote_conditions
from subdit.core.errors import SubditError

RUNTIME = "onnxruntime-web"


def empty_profile(kit: Kit, begin: Begin, *, runtime_version: str) -> DeviceProfile:
    """The profile without latencies."""
    there = begin.environment
    gpu = there.adapter if there.adapter and not there.adapter.is_software else None
    return build_profile.empty_profile(
        kit,
        device=begin.name,
        runtime=RUNTIME,
        threads=begin.threads,
        delegate=begin.delegate,
        conditions=remote_conditions(
            begin.name,
            runtime_version=runtime_version,
            cores=there.cores,
            os=there.os,
            model=there.model,
            soc=f"GPU {gpu.vendor} {gpu.architecture}".strip() if gpu else "",
            browser=there.browser,
        ),
    )


def timings_header(kit: Kit, web_digest: str, empty: DeviceProfile, begin: Begin) -> dict[str, object]:
    """What timings must have in common to go on with each other."""
    return timings.timings_header(
        kit,
        empty,
        2,
        web_kit=web_digest,
        # Browsers of many phones call themselves the same, and people type the same name.
        client=begin.client,
        browser=begin.environment.user_agent,
        runtime_version=empty.conditions.runtime_version,
    )


def made_before(empty: DeviceProfile, target: Path) -> DeviceProfile | None:
    """The profile at `target` where it is the one to be made; else None."""
    try:
        made = read_profile(target)
    except SubditError:
        return None
    return made if (made.id, made.kit_hash) == (empty.id, empty.kit_hash) else None
