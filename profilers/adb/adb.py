"""A thin client over the `adb` binary: argument lists on this machine, quoted words on the phone, timeouts everywhere.

`adb` reads ANDROID_ADB_SERVER_PORT itself. Several phones are spoken to at once by calls with their serials.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from subdit.core.errors import DeviceError
from subdit.core.errors import MissingExtraError

PHONE_FOLDER = "/data/local/tmp/subdit"
"""Everything on the phone lies here; the shell's user may write and execute in it, and nothing is installed."""

INSTALL = "apt-get install adb, or brew install android-platform-tools"

# A session that was cut lacks it; and phones before Android 7 tell no exit code otherwise.
_END = "subdit-exit="
_POLL_S = 0.05
_QUICK_S = 30.0
# Slower than any cable that works; it bounds the time of a push.
_BYTES_PER_S = 1e6


class DeviceLostError(DeviceError):
    """The connection broke; what was measured before is kept."""


class StoppedError(Exception):
    """The event that `Adb` was made with was set."""


@dataclass(frozen=True)
class ShellResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class ListedPhone:
    """A line of `adb devices`."""

    serial: str
    state: str


@dataclass(frozen=True)
class Adb:
    """The program, and an event that ends every call that is running."""

    program: str
    stop: threading.Event

    def run(self, arguments: Sequence[str], *, timeout_s: float, stoppable: bool = True) -> ShellResult:
        """Run adb on this machine.

        Raises:
            DeviceError: it took longer than `timeout_s` seconds.
            StoppedError: the event was set meanwhile.
        """
        # In a session of its own, so that Ctrl-C reaches this process alone, which then has things to put back.
        process = subprocess.Popen(
            [self.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        ends = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    out, err = process.communicate(timeout=_POLL_S)
                    return ShellResult(process.returncode, _text(out), _text(err))
                except subprocess.TimeoutExpired:
                    if stoppable and self.stop.is_set():
                        raise StoppedError from None
                    if time.monotonic() > ends:
                        raise DeviceError(
                            f"adb did not answer 'adb {' '.join(arguments)[:80]}' within {timeout_s:.0f} s; look at "
                            "the phone and the cable and run the same command again."
                        ) from None
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def phones(self) -> tuple[ListedPhone, ...]:
        """Everything that adb lists; starts its server where none runs."""
        started = self.run(["start-server"], timeout_s=_QUICK_S)
        if started.code != 0:
            raise DeviceError(f"adb cannot start its server ({_first_line(started.err)}); run 'adb start-server'.")
        listed = self.run(["devices"], timeout_s=_QUICK_S)
        lines = [line.partition("\t") for line in listed.out.splitlines() if "\t" in line]
        return tuple(ListedPhone(serial, state.strip()) for serial, _, state in lines)


@dataclass(frozen=True)
class Phone:
    """One phone that adb listed."""

    adb: Adb
    serial: str

    def shell(self, words: Sequence[str], *, timeout_s: float = _QUICK_S, stoppable: bool = True) -> ShellResult:
        """Run a program on the phone; every word is quoted for the shell there."""
        return self.shell_script(shlex.join(words), timeout_s=timeout_s, stoppable=stoppable)

    def shell_script(self, script: str, *, timeout_s: float = _QUICK_S, stoppable: bool = True) -> ShellResult:
        """Run a line of shell on the phone, which must be a constant or quoted.

        Raises:
            DeviceLostError: the connection broke before its end.
            DeviceError: it took too long.
        """
        command = ["-s", self.serial, "shell", f"{script}\necho {_END}$?"]
        ran = self.adb.run(command, timeout_s=timeout_s, stoppable=stoppable)
        before, found, code = ran.out.rpartition(_END)
        if not found or not code.strip().isdigit():
            raise self.lost(ran.err or ran.out)
        return ShellResult(int(code), before, ran.err)

    def push(self, files: Sequence[Path], to: str) -> None:
        """Copy a file to the path `to`, or several into the folder `to/` under their own names."""
        size = sum(file.stat().st_size for file in files)
        sources = [str(file.resolve()) for file in files]
        ran = self.adb.run(
            ["-s", self.serial, "push", *sources, device_path(to)], timeout_s=_QUICK_S + size / _BYTES_PER_S
        )
        if ran.code != 0:
            raise self._failed(ran, f"files cannot be copied to {to}")

    def pull(self, path: str, to: Path, *, size: int) -> None:
        """Copy a file of about `size` bytes from the phone."""
        arguments = ["-s", self.serial, "pull", device_path(path), str(to.resolve())]
        ran = self.adb.run(arguments, timeout_s=_QUICK_S + size / _BYTES_PER_S)
        if ran.code != 0:
            raise self._failed(ran, f"{path} cannot be copied from it")

    def _failed(self, ran: ShellResult, what: str) -> DeviceError:
        state = self.adb.run(["-s", self.serial, "get-state"], timeout_s=_QUICK_S)
        if state.out.strip() != "device":
            return self.lost(ran.err)
        reason = _last_line(ran.err or ran.out)
        return DeviceError(f"On the phone {self.serial} {what} ({reason}); look whether its storage is full.")

    def lost(self, said: str) -> DeviceLostError:
        """The error to raise where the connection broke."""
        again = f"'adb disconnect {self.serial}' and 'adb connect {self.serial}'" if ":" in self.serial else "replug it"
        return DeviceLostError(
            f"The phone {self.serial} was lost in the middle ({_last_line(said) or 'the connection ended'}); what was "
            f"measured is kept: connect it and run the same command to go on, and where it stays offline {again} first."
        )


def find_adb(stop: threading.Event) -> Adb:
    """The adb on the path; raises `MissingExtraError` where there is none."""
    program = shutil.which("adb")
    if program is None:
        raise MissingExtraError(f"adb is not installed; install it ({INSTALL}) and run the same command again.")
    return Adb(program, stop)


def choose_phones(adb: Adb, serials: Sequence[str]) -> tuple[Phone, ...]:
    """The phones of these serials, or the only one there is; raises `DeviceError` where one is missing or not ready."""
    listed = {phone.serial: phone for phone in adb.phones()}
    names = ", ".join(listed)
    if not listed:
        raise DeviceError(
            "adb sees no phone; switch on USB debugging in its developer options, plug it in, and run 'adb devices'."
        )
    if not serials and len(listed) > 1:
        raise DeviceError(f"adb sees several phones ({names}); name those to measure, each with --adb SERIAL.")
    chosen = list(dict.fromkeys(serials)) or list(listed)
    for serial in chosen:
        if serial not in listed:
            raise DeviceError(f"adb sees no phone {serial!r}; it sees {names}.")
        _require_ready(listed[serial])
    return tuple(Phone(adb, serial) for serial in chosen)


def device_path(path: str) -> str:
    """`path`, where it lies in `PHONE_FOLDER` and needs no quoting; raises `DeviceError` otherwise."""
    inside = path == PHONE_FOLDER or path.startswith(f"{PHONE_FOLDER}/")
    if not inside or not re.fullmatch(r"[A-Za-z0-9_./-]+", path) or ".." in path:
        raise DeviceError(f"{path!r} is no place on a phone that is written to; rename the model.")
    return path


def _require_ready(phone: ListedPhone) -> None:
    remedies = {
        "unauthorized": "unlock it, allow USB debugging in the question it shows",
        "authorizing": "unlock it, allow USB debugging in the question it shows",
        "offline": f"replug it, or 'adb disconnect {phone.serial}' and 'adb connect {phone.serial}'",
    }
    if phone.state == "device":
        return
    remedy = remedies.get(phone.state, "boot it into Android")
    if phone.state.startswith("no permissions"):
        remedy = "add the udev rule for it (package android-sdk-platform-tools-common) and replug it"
    raise DeviceError(f"The phone {phone.serial} is {phone.state[:60]}; {remedy}, and run the same command again.")


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n")


def _first_line(text: str) -> str:
    return next((line.strip()[:160] for line in text.splitlines() if line.strip()), "")


def _last_line(text: str) -> str:
    return next((line.strip()[:160] for line in reversed(text.splitlines()) if line.strip()), "")
