"""What a phone's profile says besides latencies, and by what its timings are known again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from device_profiles import read_profile
from profilers._conditions import read_conditions
from profilers._kit import Kit
from profilers.browser._messages import Begin
from profilers.browser._messages import Environment
from subdit.core.errors import SubditError

RUNTIME = "onnxruntime-web"


def empty_profile(kit: Kit, begin: Begin, *, runtime_version: str) -> DeviceProfile:
    """The profile but for its numbers."""
    return DeviceProfile(
        device=begin.name,
        runtime=RUNTIME,
        precision="fp32",
        threads=begin.threads,
        delegate=begin.delegate,
        space=kit.space,
        kit_hash=kit.hash,
        max_params=kit.max_params,
        provenance="measured",
        noisy=True,
        components={},
        conditions=dataclasses.replace(
            # Of this machine, but for the time and our version, everything is replaced.
            read_conditions(runtime_version, reference_ms=None),
            **_conditions_of(begin.environment),
            machine=begin.name,
        ),
    )


def timings_header(kit: Kit, web_digest: str, empty: DeviceProfile, begin: Begin) -> Mapping[str, object]:
    """What timings that are gone on with must have in common."""
    return {
        "subdit_timings": 2,
        "kit": kit.hash,
        "web_kit": web_digest,
        "id": empty.id,
        # Browsers of many phones call themselves the same, and people type the same name.
        "client": begin.client,
        "browser": begin.environment.user_agent,
        "runtime_version": empty.conditions.runtime_version,
    }


def made_before(empty: DeviceProfile, target: Path) -> DeviceProfile | None:
    """The profile there where it is the one to be made."""
    try:
        made = read_profile(target)
    except SubditError:
        return None
    return made if (made.id, made.kit_hash) == (empty.id, empty.kit_hash) else None


def _conditions_of(environment: Environment) -> dict[str, Any]:
    gpu = environment.adapter if environment.adapter and not environment.adapter.is_software else None
    return {
        "cpu": "",
        "cores": environment.cores,
        "os": environment.os,
        "python_version": "",
        "governor": "",
        "load_average": None,
        "temperature_c": None,
        "model": environment.model,
        "soc": f"GPU {gpu.vendor} {gpu.architecture}".strip() if gpu else "",
        "browser": environment.browser,
    }
