"""A phone's properties, its state, and its switches: cores, governor, temperature, battery, fixed performance mode."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass

from profilers.adb.adb import Phone
from subdit.core.errors import DeviceError

_PROPERTY = re.compile(r"\[([^\]]+)\]: \[(.*)\]")
_CPU = "/sys/devices/system/cpu"
_SKIN = 3
_FIXED = "set-fixed-performance-mode-enabled"


@dataclass(frozen=True)
class PhoneFacts:
    """Properties of a phone, which do not change.

    Attributes:
        max_khz: core to its highest clock; empty where the phone does not tell.
        build: fingerprint of the system.
    """

    model: str
    soc: str
    android: str
    abis: tuple[str, ...]
    build: str
    max_khz: Mapping[int, int]
    governor: str

    @property
    def device(self) -> str:
        """A name for the device profile, such as 'google-pixel-8'."""
        return re.sub(r"[^a-z0-9]+", "-", self.model.lower()).strip("-") or "phone"


@dataclass(frozen=True)
class PhoneState:
    """Temperature, charge and throttling of a phone now; None where it does not tell.

    Attributes:
        temperature_c: of the battery or the skin, whichever is higher: processors are hot whenever they work.
        throttling: Android's thermal status, 0 for none, 1 light, 2 moderate, up to 6.
    """

    temperature_c: float | None
    battery_percent: float | None
    throttling: int


def read_facts(phone: Phone) -> PhoneFacts:
    """Ask the phone for its properties; raises `DeviceError` where it does not answer."""
    said = phone.shell(["getprop"])
    properties = {match[1]: match[2].strip() for match in _PROPERTY.finditer(said.out)}
    if "ro.product.model" not in properties:
        raise DeviceError(f"The phone {phone.serial} tells no properties; unlock it and run the same command again.")
    maker, model = properties.get("ro.product.manufacturer", ""), properties["ro.product.model"]
    whole_name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}"
    soc = " ".join(filter(None, (properties.get("ro.soc.manufacturer"), properties.get("ro.soc.model"))))
    sdk = properties.get("ro.build.version.sdk", "")
    abis = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi", "")
    # Constants: the stars are for the phone's shell.
    clocks = phone.shell_script(f"grep -H . {_CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq 2>/dev/null")
    found = re.findall(r"/cpu(\d+)/cpufreq/cpuinfo_max_freq:(\d+)", clocks.out)
    max_khz = {int(core): int(khz) for core, khz in found}
    fastest = max(max_khz, key=lambda core: (max_khz[core], core), default=0)
    governor = phone.shell(["cat", f"{_CPU}/cpu{fastest}/cpufreq/scaling_governor"])
    return PhoneFacts(
        model=whole_name.strip(),
        soc=soc or properties.get("ro.board.platform", "") or properties.get("ro.hardware", ""),
        android=f"Android {properties.get('ro.build.version.release', '')}" + (f" (API {sdk})" if sdk else ""),
        abis=tuple(filter(None, abis.split(","))),
        build=properties.get("ro.build.fingerprint", ""),
        max_khz=max_khz,
        governor=governor.out.strip() if governor.code == 0 else "",
    )


def choose_mask(phone: Phone, facts: PhoneFacts, cores: str, threads: int) -> str:
    """The mask for `taskset`, hexadecimal; empty where the phone pins nothing and nothing was asked for.

    Args:
        cores: "auto" for the fastest cores that are enough for the threads, with all their equals; or a mask.

    Raises:
        DeviceError: the mask is none, has fewer cores than threads, or the phone refuses it.
    """
    if cores != "auto":
        if not re.fullmatch(r"(0x)?[0-9a-fA-F]{1,16}", cores) or not int(cores, 16):
            raise DeviceError(f"{cores!r} is no mask of cores; give hexadecimal digits such as f0, or auto.")
        mask = format(int(cores, 16), "x")
    else:
        mask = format(fastest_cores(facts.max_khz, threads), "x")
    works = mask != "0" and phone.shell(["taskset", mask, "true"]).code == 0
    if cores != "auto" and not works:
        raise DeviceError(f"The phone {phone.serial} cannot be pinned to the cores {mask}; give another mask, or auto.")
    if cores != "auto" and int(mask, 16).bit_count() < threads:
        raise DeviceError(f"The mask {mask} has fewer cores than {threads} threads; give more cores or fewer threads.")
    return mask if works else ""


def fastest_cores(max_khz: Mapping[int, int], threads: int) -> int:
    """Mask of the fastest cores, at least as many as threads, with all that are as fast as the slowest of them."""
    mask = 0
    for khz in sorted(set(max_khz.values()), reverse=True):
        mask |= sum(1 << core for core, clock in max_khz.items() if clock == khz)
        if mask.bit_count() >= threads:
            break
    return mask


def read_state(phone: Phone) -> PhoneState:
    """Ask for temperature and battery."""
    said = phone.shell(["dumpsys", "battery"]).out
    level, scale, tenths = (_number(rf"^\s*{name}: (-?\d+)", said) for name in ("level", "scale", "temperature"))
    # Tells Android 9 and older nothing, which then have the battery's temperature alone.
    thermal = phone.shell(["dumpsys", "thermalservice"]).out.partition("Current temperatures from HAL")
    skins = re.findall(rf"mValue=(-?[\d.]+), mType={_SKIN}\b", thermal[2].partition("Current cooling")[0])
    temperatures = [float(skin) for skin in skins] + ([tenths / 10] if tenths is not None else [])
    return PhoneState(
        temperature_c=max(temperatures, default=None),
        battery_percent=None if level is None else 100 * level / (scale or 100),
        throttling=int(_number(r"Thermal Status: (\d+)", thermal[0]) or 0),
    )


@contextlib.contextmanager
def fixed_performance(phone: Phone) -> Iterator[bool]:
    """Hold the clocks at a rate that the phone can sustain; yields whether it can. It is set back in any case."""
    command = ["cmd", "power", _FIXED]
    said = phone.shell([*command, "true"])
    # Phones that do not have it say so, with exit code 0 or another.
    able = said.code == 0 and not re.search("fail|unknown|not support|error", (said.out + said.err).lower())
    try:
        yield able
    finally:
        if able:
            # A phone that is gone forgets it when it restarts.
            with contextlib.suppress(DeviceError):
                phone.shell([*command, "false"], timeout_s=10.0, stoppable=False)


def _number(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text, re.MULTILINE)
    return float(match[1]) if match else None
