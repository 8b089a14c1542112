"""`Rental`: a phone that a program of its own rents by the session, and one run of that program."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from typing import Protocol

_POLL_S = 0.05


@dataclass(frozen=True)
class Outcome:
    """What a run of the program printed.

    Attributes:
        folder: where it left the session's files; None where it left none.
        problem: its last word where it failed.
        runtime_version: of the runtime that ran the model.
        job: a session that began and whose end is not known, which can be taken up again.
    """

    folder: Path | None
    problem: str
    runtime_version: str | None = None
    job: str | None = None


class Rental(Protocol):
    """A device of a provider, what runs the models on it, and how the provider's program is spoken to."""

    @property
    def tool(self) -> str:
        """Name of the program, for messages."""

    @property
    def install(self) -> str:
        """How to install it and log in."""

    @property
    def price(self) -> str:
        """What a session costs, for the line that is said before the first."""

    @property
    def device(self) -> str:
        """Name of the profile's device."""

    @property
    def accelerator(self) -> str:
        """What was asked for: "cpu", "gpu" or "npu"."""

    @property
    def runtime(self) -> str:
        """The profile's runtime."""

    @property
    def threads(self) -> int:
        """Of the runtime on the processor."""

    @property
    def key(self) -> str:
        """Name of the folder of its sessions; of one kit, no two settings share it."""

    def command(self, program: str | None, model: Path, out: Path, job: str | None = None) -> list[str]:
        """The command line that measures one model in one session.

        Args:
            program: as it was found; None for its usual name.
            model: file of the model.
            out: folder that the session's own folder is left in, where the program can be told.
            job: a session that was begun, to be waited for; None begins one.
        """

    def left(self, out: Path) -> str:
        """Where sessions' folders are left, as a word of a shell with a wild card."""

    def read_output(self, text: str) -> Outcome:
        """What the program says that it did."""

    def is_whole(self, session: Path) -> bool:
        """Whether a session's folder has all that is imported."""


def last_word(text: str) -> str:
    """The last error of a program, or else its last line, for a message."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("Error: ")] or lines[-1:] or ["it printed nothing"]
    return said[-1].removeprefix("Error: ")[:200].rstrip(".")


def run(command: Sequence[str], output: IO[bytes], kept_open: int, tick: Callable[[], None]) -> int:
    """Run a program to its end and return its exit code.

    It lives on where this process is killed or interrupted, since what it waits for may be paid for: its output goes to
    a file, and it holds the lock `kept_open` for as long as it runs.

    Args:
        command: the program and its arguments.
        output: file that it writes to.
        kept_open: a descriptor that it inherits.
        tick: called while it runs.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=(kept_open,),
    )
    while process.poll() is None:
        tick()
        time.sleep(_POLL_S)
    return process.returncode
