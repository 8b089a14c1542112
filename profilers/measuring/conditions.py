"""Under which conditions something was measured, as far as this machine tells."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import platform
import re
from pathlib import Path
from typing import Any

from device_profiles import Conditions
from profilers.measuring.affinity import temperature_c
from subdit.core.version import VERSION

# Device tree and, on a PC, what its maker wrote into the firmware.
_MODEL = ("/proc/device-tree/model", "/sys/devices/soc0/machine", "/sys/class/dmi/id/product_name")
_SOC = ("/sys/devices/soc0/soc_id", "/sys/devices/soc0/family", "/proc/device-tree/compatible")


def read_conditions(**stated: Any) -> Conditions:
    """Conditions of this machine now; what cannot be read is empty or None. `stated` replaces fields."""
    load: float | None = None
    with contextlib.suppress(OSError, AttributeError):
        load = round(os.getloadavg()[0], 2)
    here = remote_conditions(
        platform.node(),
        cpu=cpu_model(),
        cores=os.cpu_count() or 0,
        os=platform.platform(),
        python_version=platform.python_version(),
        governor=_first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        load_average=load,
        model=_first_readable(_MODEL),
        soc=_first_readable(_SOC),
        temperature_c=temperature_c(),
    )
    return dataclasses.replace(here, **stated)


def remote_conditions(machine: str, **stated: Any) -> Conditions:
    """Conditions of another machine: empty but for the time, our version and what is `stated`."""
    empty = Conditions(
        machine=machine,
        cpu="",
        cores=0,
        os="",
        runtime_version="",
        python_version="",
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        subdit_version=VERSION,
    )
    return dataclasses.replace(empty, **stated)


def cpu_model() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name() -> str:
    """A name for this machine's device profile: its system and processor, such as 'linux-amd-epyc'."""
    words = re.sub(r"\(.*?\)|@.*|\bcpu\b|\bprocessor\b", " ", f"{platform.system()} {cpu_model()}".lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "machine"


def _first_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        # Texts of the device tree end with a zero byte, and lists of them have one in between.
        return path.read_text(encoding="utf-8", errors="replace").replace("\0", " ").strip()
    return ""


def _first_readable(paths: tuple[str, ...]) -> str:
    return next((text for path in paths if (text := _first_line(Path(path)))), "")
