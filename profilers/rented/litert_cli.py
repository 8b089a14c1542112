"""LiteRT-CLI (`litert benchmark --ddp`): its arguments, one run of it, and what it prints.

Options, messages and folders are those of litert-cli-nightly 0.3.0.dev20261026 (`commands/benchmark/cli.py`, `ddp.py`).
It is a program of its own: what it depends on cannot be installed beside subdit.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from subdit.core.errors import MissingExtraError

PROGRAM = "litert"

INSTALL = "pip install litert-cli-nightly, in an environment of its own, and gcloud auth application-default login"

# Its own defaults, written out, so that another version of it measures the same.
_PROTOCOL = ["--num-runs", "50", "--warmup-runs", "1", "--warmup-min-secs", "0.5", "--min-secs", "1.0"]
_PROTOCOL += ["--max-secs", "150.0"]
_SAVED = re.compile(r"^Output files saved to: (\S.*?)\s*$", re.MULTILINE)
_BINARY = re.compile(r"Binary: gs://litert/binaries/([^/\s]+)/")
_POLL_S = 0.05


@dataclass(frozen=True)
class Rental:
    """What is rented.

    Attributes:
        device: id of the platform's catalogue, such as "caiman-35".
        accelerator: "cpu" or "gpu".
        project, bucket: of Google Cloud; None for what LiteRT-CLI takes from its environment.
    """

    device: str
    accelerator: str
    project: str | None = None
    bucket: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run of the program printed.

    Attributes:
        folder: where it left the job's files; None where it left none.
        runtime_version: of the LiteRT whose benchmark_model ran.
        problem: its last word where it failed.
    """

    folder: Path | None
    runtime_version: str | None
    problem: str


def find_litert(program: Path | None) -> str | None:
    """The program, by its path or on the PATH; None where it is not installed.

    Raises:
        MissingExtraError: there is nothing at the path that was given.
    """
    if program is None:
        return shutil.which(PROGRAM)
    found = shutil.which(str(program.resolve()))
    if found is None:
        raise MissingExtraError(f"There is no program at {program}; give the path of LiteRT-CLI's 'litert'.")
    return found


def arguments(model: Path, rental: Rental) -> list[str]:
    """Of one session that measures one model on one device."""
    made = ["benchmark", str(model.resolve()), "--ddp", "--device", rental.device, f"--{rental.accelerator}"]
    made += [] if rental.project is None else ["--gcp-project", rental.project]
    made += [] if rental.bucket is None else ["--gcp-bucket", rental.bucket]
    return [*made, *_PROTOCOL]


def run(program: str, words: list[str], output: IO[bytes], kept_open: int, tick: Callable[[], None]) -> int:
    """Run the program to its end and return its exit code.

    It lives on where this process is killed or interrupted, since what it waits for is paid for: its output goes to a
    file, and it holds the lock `kept_open` for as long as it runs.

    Args:
        output: file that it writes to.
        kept_open: a descriptor that it inherits.
        tick: called while it runs.
    """
    process = subprocess.Popen(
        [program, *words],
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


def read_output(text: str) -> Outcome:
    """What the program says that it did."""
    saved, binary = _SAVED.findall(text), _BINARY.findall(text)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("Error: ")] or lines[-1:] or ["it printed nothing"]
    return Outcome(
        Path(saved[-1]).expanduser() if saved else None,
        binary[-1] if binary else None,
        said[-1].removeprefix("Error: ")[:200].rstrip("."),
    )
