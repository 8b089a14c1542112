"""Raw timings, in memory and in an append-only file, so that a killed measurement goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from profilers.kits.kit import Kit
from profilers.runtimes import Timing
from subdit.core.files import write_atomic

REFERENCE = "reference"
"""Name of the reference kernel among the timings."""

# How often raw timings reach the disk, in seconds.
_FLUSH_EVERY_S = 0.5


@dataclass
class Timings:
    """Raw timings in the order in which they were taken; append-only."""

    names: list[str] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0

    def add(self, name: str, timing: Timing) -> None:
        self.names.append(name)
        self.wall_ms.append(timing.wall_ms)
        self.cpu_ms.append(timing.cpu_ms)


def pooled(attempts: Sequence[Timings]) -> Timings:
    """All timings of several attempts, one after another."""
    return Timings(
        [name for one in attempts for name in one.names],
        [wall_ms for one in attempts for wall_ms in one.wall_ms],
        [cpu_ms for one in attempts for cpu_ms in one.cpu_ms],
        sum(one.rounds for one in attempts),
        sum(one.seconds for one in attempts),
    )


def timings_header(kit: Kit, profile: DeviceProfile, version: int, **conditions: object) -> dict[str, object]:
    """The first line of a log: what timings must have in common to go on with each other.

    Args:
        kit: what is measured.
        profile: what it is measured for.
        version: of the kind of log; each way of measuring has its own.
        conditions: whatever else makes it another measurement.
    """
    return {"subdit_timings": version, "kit": kit.hash, "id": profile.id, **conditions}


def log_path(kit: Kit, profile: DeviceProfile, owner: str = "") -> Path:
    """Where the raw timings of a kit lie; `owner` tells devices apart whose profiles have one id."""
    name = f"{profile.id.replace('/', '--')}{f'--{owner}' if owner else ''}"
    return kit.folder / "timings" / f"{name}.jsonl"


class TimingLog:
    """Timings in an append-only file.

    One JSON value per line: first a header that says what was measured where, then per timing
    [attempt, round, seconds, name, wall_ms, cpu_ms], and "finished" when the profile is saved. A torn last line, as a
    kill leaves it, is cut off.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Open to go on; begin from nothing where the file has another header, or is finished."""
        self.path = path
        self.attempts: list[Timings] = []
        lines, is_whole = _whole_lines(path)
        if not lines or lines[0] != dict(header) or "finished" in lines:
            lines, is_whole = [dict(header)], False
        if not is_whole:
            write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines))
        for attempt, round_number, seconds, name, wall_ms, cpu_ms in lines[1:]:
            timings = self.attempt(attempt)
            timings.add(name, Timing(wall_ms, cpu_ms))
            timings.rounds, timings.seconds = round_number, seconds
        self._file = path.open("a", encoding="utf-8")
        self._flushed = time.monotonic()

    def attempt(self, number: int) -> Timings:
        """Timings of one attempt, empty where it has not begun."""
        while len(self.attempts) <= number:
            self.attempts.append(Timings())
        return self.attempts[number]

    def write(self, attempt: int, timings: Timings, name: str, timing: Timing) -> None:
        taken = [round(timings.seconds, 3), name, round(timing.wall_ms, 7), round(timing.cpu_ms, 7)]
        self._file.write(json.dumps([attempt, timings.rounds, *taken]) + "\n")
        if time.monotonic() - self._flushed > _FLUSH_EVERY_S:
            self._file.flush()
            self._flushed = time.monotonic()

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()

    def finish(self) -> None:
        """Note that nothing more is to come, for the profile is saved; closes the log, or comes after that."""
        self.close()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps("finished") + "\n")

    def close(self) -> None:
        self._file.close()


def is_finished(path: Path, header: Mapping[str, Any]) -> bool:
    """Whether a log of this header is there and nothing more is to come; changes nothing."""
    lines, _ = _whole_lines(path)
    return bool(lines) and lines[0] == dict(header) and "finished" in lines


def _whole_lines(path: Path) -> tuple[list[Any], bool]:
    """Values of all lines that were written whole, up to the first that was not, and whether there is none such."""
    if not path.exists():
        return [], True
    values: list[Any] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            value = json.loads(line)
        except ValueError:
            return values, False
        if not line.endswith("\n") or (values and not _is_timing(value)):
            return values, False
        values.append(value)
    return values, True


def _is_timing(value: Any) -> bool:
    if value == "finished":
        return True
    kinds: Sequence[Any] = (int, int, (int, float), str, (int, float), (int, float))
    return (
        isinstance(value, list)
        and len(value) == len(kinds)
        and all(isinstance(entry, kind) for entry, kind in zip(value, kinds, strict=True))
    )
