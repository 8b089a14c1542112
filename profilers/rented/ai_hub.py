"""Qualcomm AI Hub's phones: a profile job for each session, by the Python that has AI Hub's client, qai-hub.

The client's own command, `qai-hub`, submits jobs and cannot fetch what they measured; its Python interface can. So a
small program (`programs/ai_hub_job.py`) is run by the Python of the environment that qai-hub is installed in, which is
not subdit's: what it pins conflicts. Arguments are those of qai-hub 0.56.0.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from profilers.importers import ai_hub_device
from profilers.rented.rental import Outcome
from profilers.rented.rental import last_word
from subdit.core.errors import DeviceError
from subdit.core.errors import MissingExtraError

PROGRAM = "qai-hub"
_SCRIPT = Path(__file__).with_name("programs") / "ai_hub_job.py"
_KEPT = re.compile(r"^Job kept in: (\S.*?)\s*$", re.MULTILINE)
_BEGUN = re.compile(r"^Job: (j[a-z0-9]+) ", re.MULTILINE)
_ENDED = re.compile(r"^Job (j[a-z0-9]+) ended as ", re.MULTILINE)
_SHEBANG = re.compile(rb"#!\s*(/\S*python[\w.]*)(?=\s)")


@dataclass(frozen=True)
class AiHubRental:
    """A device of AI Hub; a `Rental`.

    Attributes:
        name: of the device, as AI Hub lists it, such as "Samsung Galaxy S24".
        accelerator: "cpu", "gpu" or "npu".
        threads: of the processor's part.
    """

    name: str
    accelerator: str = "cpu"
    threads: int = 1

    tool = "qai-hub"
    install = "pip install qai-hub, in an environment of its own, and qai-hub configure --api_token TOKEN"
    price = "each a job of your account"
    runtime = "aihub"

    def __post_init__(self) -> None:
        """Raise `DeviceError` on an accelerator that AI Hub has not."""
        if self.accelerator not in ("cpu", "gpu", "npu"):
            raise DeviceError(
                f"AI Hub has no compute unit {self.accelerator!r}; leave --delegate out for the processor, or pass gpu "
                "or npu."
            )

    @property
    def device(self) -> str:
        return ai_hub_device(self.name)

    @property
    def key(self) -> str:
        return f"aihub-{self.device}-{self.accelerator}-t{self.threads}"

    @property
    def options(self) -> str:
        """Of the job: AI Hub would otherwise try all units, and use as many threads as it likes."""
        return f"--compute_unit {self.accelerator} --tflite_options number_of_threads={self.threads}"

    def command(self, program: str | None, model: Path, out: Path, job: str | None = None) -> list[str]:
        made = [program or "python", str(_SCRIPT), str(model.resolve()), "--device", self.name]
        made += [f"--options={self.options}", "--out", str(out.resolve())]
        return made if job is None else [*made, "--job", job]

    def left(self, out: Path) -> str:
        return f"{shlex.quote(str(out.resolve()))}/*"

    def read_output(self, text: str) -> Outcome:
        kept, begun, ended = _KEPT.findall(text), _BEGUN.findall(text), _ENDED.findall(text)
        return Outcome(
            Path(kept[-1]) if kept else None,
            last_word(text),
            job=begun[-1] if begun and begun[-1] not in ended else None,
        )

    def is_whole(self, session: Path) -> bool:
        # It gets its name when all is in it.
        return session.is_dir()


def find_python(program: Path | None) -> str | None:
    """The Python that has qai-hub, by a path to it or to the command `qai-hub`; None where none is installed.

    Args:
        program: of that Python, or of `qai-hub`; None for the `qai-hub` on the PATH.

    Raises:
        MissingExtraError: there is nothing at the path that was given.
    """
    found = shutil.which(PROGRAM if program is None else str(program.absolute()))
    if found is None:
        if program is None:
            return None
        raise MissingExtraError(
            f"There is no program at {program}; give the path of 'qai-hub', or of the Python that has it."
        )
    # Commands of Python packages name their Python in the first line, or have it beside them.
    with Path(found).open("rb") as file:
        stated = _SHEBANG.match(file.readline(4096))
    if stated is not None:
        return stated[1].decode()
    if Path(found).name != PROGRAM:
        return found
    beside = Path(found).resolve().with_name("python")
    if not beside.exists():
        raise MissingExtraError(f"{found} does not say which Python has it; give that one with --qai-hub.")
    return str(beside)
