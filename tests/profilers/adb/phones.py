"""The real adb on a server of its own, and fake phones that it is connected to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from tests.programs import require_program
from tests.waiting import DEADLINE_S
from tests.waiting import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]

PROPERTIES = {
    "ro.product.manufacturer": "Acme",
    "ro.product.model": "Kettle 9",
    "ro.product.name": "kettle",
    "ro.product.device": "kettle",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a",
    "ro.soc.manufacturer": "Acme",
    "ro.soc.model": "A900",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
    "ro.build.fingerprint": "acme/kettle/kettle:15/AP1A/1:user/release-keys",
}
CLOCKS_KHZ = (1800000,) * 4 + (2400000,) * 3 + (2900000,)

# The first line of `states` is how the phone is now: charge, tenths of a degree, thermal status. Each look at it takes
# a line away, but for the last.
SCRIPTS = {
    "getprop": 'while IFS= read -r line; do echo "[${line%%=*}]: [${line#*=}]"; done < "$PHONE/properties"',
    "taskset": 'echo "$1" >> "$PHONE/masks"; shift; exec "$@"',
    "cmd": """[ -e "$PHONE/no-fixed-performance" ] && echo "Unknown command: $2" && exit 255
echo "$3" >> "$PHONE/power.log" """,
    "dumpsys": """read -r level tenths status < "$PHONE/states"
case "$1" in
battery)
    echo "Current Battery Service state:"; echo "  USB powered: true"; echo "  level: $level"; echo "  scale: 100"
    echo "  temperature: $tenths" ;;
thermalservice)
    echo "IsStatusOverride: false"; echo "Thermal Status: $status"; echo "Cached temperatures:"
    echo " Temperature{mValue=99.0, mType=3, mName=skin, mStatus=0}"; echo "HAL Ready: true"
    echo "Current temperatures from HAL:"
    echo " Temperature{mValue=81.5, mType=0, mName=CPU0, mStatus=0}"
    echo " Temperature{mValue=$((tenths / 10)).$((tenths % 10)), mType=3, mName=skin, mStatus=0}"
    echo "Current cooling devices from HAL:"
    [ "$(wc -l < "$PHONE/states")" -gt 1 ] && sed -i 1d "$PHONE/states" ;;
esac
true""",
}


def make_phone(folder: Path, **properties: str) -> Path:
    """A phone's folder: its properties, its processors, its programs; cool and charged."""
    (folder / "data/local/tmp").mkdir(parents=True)
    known = PROPERTIES | {name.replace("__", "."): value for name, value in properties.items()}
    (folder / "properties").write_text("".join(f"{name}={value}\n" for name, value in known.items()))
    for core, khz in enumerate(CLOCKS_KHZ):
        place = folder / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        place.mkdir(parents=True)
        (place / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (place / "scaling_governor").write_text("schedutil\n")
    (folder / "system/bin").mkdir(parents=True)
    for name, script in SCRIPTS.items():
        (folder / "system/bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "system/bin" / name).chmod(0o755)
    set_states(folder, (80, 290, 0))
    return folder


def set_states(folder: Path, *states: tuple[int, int, int]) -> None:
    """Charge in per cent, tenths of a degree, thermal status; one after another, the last for good."""
    temporary = folder / "states.new"
    temporary.write_text("".join(" ".join(map(str, state)) + "\n" for state in states))
    temporary.replace(folder / "states")


def adb_or_skip() -> str:
    """The adb of this machine; where there is none the test is skipped, and fails in CI."""
    return require_program("adb", "apt-get install -y --no-install-recommends adb")


@dataclass
class Bench:
    """An adb server that no other adb knows of, and the phones at it.

    Attributes:
        environment: of every process that is to speak to this server.
    """

    program: str
    environment: Mapping[str, str]
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def adb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run adb by hand."""
        return subprocess.run(
            [self.program, *arguments], env=dict(self.environment), capture_output=True, text=True, timeout=DEADLINE_S
        )

    def plug_in(self, folder: Path, port: int = 0) -> str:
        """Start the fake phone and connect to it; returns its serial."""
        command = [sys.executable, "-m", "tests.profilers.adb.fake_phone", str(folder), str(port)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        serial = f"127.0.0.1:{process.stdout.readline().strip()}"
        self.running[serial] = process
        self.adb("disconnect", serial)
        wait_until(lambda: self._connected(serial), lambda: self.adb("devices").stdout, every_s=0.1)
        return serial

    def _connected(self, serial: str) -> bool:
        """Whether it is; asks once more, for adb waits for ten seconds only, and remembers for a while what failed."""
        self.adb("connect", serial)
        states = dict(line.split("\t") for line in self.adb("devices").stdout.splitlines() if "\t" in line)
        return states.get(serial) in ("device", "unauthorized")

    def unplug(self, serial: str) -> None:
        """End the fake phone at once."""
        process = self.running.pop(serial)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """A server with a port and a key of its own, ended afterwards with all its phones."""
    program = adb_or_skip()
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(port), "HOME": str(folder), "ADB_MDNS": "0"}
    made = Bench(program, environment)
    try:
        yield made
    finally:
        for serial in list(made.running):
            made.unplug(serial)
        made.adb("kill-server")
