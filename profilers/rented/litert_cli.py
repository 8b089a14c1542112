"""Google's Developer Device Platform by LiteRT-CLI (`litert benchmark --ddp`): its arguments, and what it prints.

Options, messages and folders are those of litert-cli-nightly 0.3.0.dev20261026 (`commands/benchmark/cli.py`, `ddp.py`).
It is a program of its own: what it depends on cannot be installed beside subdit.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from profilers.rented.rental import Outcome
from profilers.rented.rental import last_word
from subdit.core.errors import DeviceError
from subdit.core.errors import MissingExtraError

PROGRAM = "litert"

# Its own defaults, written out, so that another version of it measures the same.
_PROTOCOL = ["--num-runs", "50", "--warmup-runs", "1", "--warmup-min-secs", "0.5", "--min-secs", "1.0"]
_PROTOCOL += ["--max-secs", "150.0"]
_SAVED = re.compile(r"^Output files saved to: (\S.*?)\s*$", re.MULTILINE)
_BINARY = re.compile(r"Binary: gs://litert/binaries/([^/\s]+)/")


@dataclass(frozen=True)
class DdpRental:
    """A device of the platform; a `Rental`.

    Attributes:
        device: id of the platform's catalogue, such as "caiman-35"; the profile's name, too.
        accelerator: "cpu" or "gpu".
        project, bucket: of Google Cloud; None for what LiteRT-CLI takes from its environment.
    """

    device: str
    accelerator: str = "cpu"
    project: str | None = None
    bucket: str | None = None

    tool = "LiteRT-CLI"
    install = "pip install litert-cli-nightly, in an environment of its own, and gcloud auth application-default login"
    price = "each billed to your project"
    runtime = "litert"
    threads = 1

    def __post_init__(self) -> None:
        """Raise `DeviceError` on an accelerator that cannot be rented."""
        if self.accelerator not in ("cpu", "gpu"):
            raise DeviceError(
                f"LiteRT-CLI measures no {self.accelerator} on rented phones; leave --delegate out for the processor, "
                "or pass gpu."
            )

    @property
    def key(self) -> str:
        return f"{self.device}-{self.accelerator}"

    def command(self, program: str | None, model: Path, out: Path, job: str | None = None) -> list[str]:
        """See `Rental`; the program chooses its folder, and takes no session up again."""
        made = [program or PROGRAM, "benchmark", str(model.resolve()), "--ddp"]
        made += ["--device", self.device, f"--{self.accelerator}"]
        made += [] if self.project is None else ["--gcp-project", self.project]
        made += [] if self.bucket is None else ["--gcp-bucket", self.bucket]
        return [*made, *_PROTOCOL]

    def left(self, out: Path) -> str:
        return "~/.cache/litert-cli/ddp/*"

    def read_output(self, text: str) -> Outcome:
        saved, binary = _SAVED.findall(text), _BINARY.findall(text)
        return Outcome(Path(saved[-1]).expanduser() if saved else None, last_word(text), binary[-1] if binary else None)

    def is_whole(self, session: Path) -> bool:
        return (session / "results.pb").is_file()


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
