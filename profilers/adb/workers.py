"""Several phones at once, each in a thread of its own, with one progress and one end."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from collections.abc import Sequence

from device_profiles import DeviceProfile
from profilers.adb.adb import Phone
from profilers.adb.adb import StoppedError
from profilers.adb.phone import PhoneFacts
from profilers.adb.phone import read_facts
from subdit.core.errors import SubditError
from subdit.core.progress import ProgressCallback

# Measures a phone with these properties, as the device of this name.
Measure = Callable[[Phone, PhoneFacts, str, ProgressCallback], DeviceProfile]

_POLL_S = 0.1


class Worker:
    """Measures one phone.

    `done` is waited for and not the thread: Python 3.11 takes a thread for ended whose `join` Ctrl-C interrupts.
    """

    def __init__(self, phone: Phone, measure: Measure, device: str | None) -> None:
        self.phone = phone
        self.done = threading.Event()
        self.profile: DeviceProfile | None = None
        self.problem: SubditError | None = None
        self.fault: BaseException | None = None
        self.progress = (0.0, 1.0, "")
        self.device = ""
        self._measure = measure
        self._facts: PhoneFacts | None = None
        try:
            self._facts = read_facts(phone)
            self.device = device or self._facts.device
        except SubditError as error:
            self.problem = error

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"adb-{self.phone.serial}", daemon=True).start()

    def _run(self) -> None:
        try:
            if self._facts is not None:
                self.profile = self._measure(self.phone, self._facts, self.device, self._report)
        except SubditError as error:
            self.problem = error
        except StoppedError:
            pass
        except BaseException as error:  # Our mistake, raised again where it is seen.
            self.fault = error
        finally:
            self.done.set()

    def _report(self, done: float, total: float, note: str) -> None:
        self.progress = (done, total, note)


def distinct_names(phones: Sequence[tuple[str, str]]) -> list[str]:
    """Names of devices out of (name, serial); phones of one model get six digits of their serial's SHA-256 added.

    The serial itself stays here: profiles are for passing on.
    """
    names = [name for name, _ in phones]
    return [
        f"{name}-{hashlib.sha256(serial.encode()).hexdigest()[:6]}" if names.count(name) > 1 else name
        for name, serial in phones
    ]


def run_all(workers: Sequence[Worker], stop: threading.Event, progress: ProgressCallback) -> None:
    """Run all to their end; whatever ends this process in between lets them put their phones back first."""
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            while not worker.done.wait(_POLL_S):
                progress(*_joint_progress(workers))
    finally:
        stop.set()
        for worker in workers:
            worker.done.wait()
    for worker in workers:
        if worker.fault is not None:
            raise worker.fault


def _joint_progress(workers: Sequence[Worker]) -> tuple[float, float, str]:
    """Progress of all phones, each a fraction of 1, with the note of the slowest."""
    fractions = [
        1.0 if one.done.is_set() else min(one.progress[0] / max(one.progress[1], 1e-9), 1.0) for one in workers
    ]
    slowest = workers[fractions.index(min(fractions))]
    note = slowest.progress[2] if len(workers) == 1 else f"{slowest.phone.serial}: {slowest.progress[2]}"
    return sum(fractions), float(len(workers)), note
