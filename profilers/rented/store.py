"""Sessions that are done, kept beside the kit, so that a measurement that was killed at any moment goes on.

KIT/rented/DEVICE-ACCELERATOR/
  plan.json            what is measured; another plan has another folder or is refused
  rNN/MODEL/           the session: the folder that the provider's program left, and session.json
  pending.json         which session runs just now; pending.log is what the program prints
  pending.lock         held by the program for as long as it runs, also where this process was killed
  left/                where the program leaves a session's folder, if it can be told
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilers.kits.kit import KitEntry
from profilers.rented.plan import Plan
from profilers.rented.rental import Outcome
from profilers.rented.rental import Rental
from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.files import remove_leftovers
from subdit.core.files import write_json

_POLL_S = 0.05
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class SessionStore:
    """The folder of one device's sessions."""

    folder: Path

    @classmethod
    def of(cls, plan: Plan) -> SessionStore:
        """The plan's; nothing is created."""
        return cls(plan.kit.folder / "rented" / plan.rental.key)

    @property
    def left(self) -> Path:
        """Where a program leaves a session's folder, if it can be told."""
        return self.folder / "left"

    @contextlib.contextmanager
    def opened(self, plan: Plan) -> Iterator[None]:
        """Hold the folder, and see to it that what it has is of this plan.

        Raises:
            RunError: another subdit measures this, or the folder is of another kit.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(f"Another subdit measures into {self.folder}; wait for it.") from None
            self._check(plan)
            for partial in self.folder.glob(f"r*/{_PARTIAL}*"):
                shutil.rmtree(partial)
            yield

    def _check(self, plan: Plan) -> None:
        stated: dict[str, Any] = {"kit": plan.kit.hash, "precision": plan.kit.precision}
        stated |= {"device": plan.rental.device, "accelerator": plan.rental.accelerator}
        path = self.folder / "plan.json"
        remove_leftovers(path)
        if not path.is_file():
            write_json(path, stated)
        elif read_json(path, "plan of a rented phone") != stated:
            raise RunError(f"The sessions in {self.folder} are of another kit; move them away to measure this one.")

    def session(self, round_: int, name: str) -> Path:
        """Folder of a model's session."""
        return self.folder / f"r{round_:02d}" / name

    def done(self, plan: Plan) -> list[Path]:
        """Folders of all sessions of the plan that are done, in its order."""
        return [path for round_, entry in plan.order() if (path := self.session(round_, entry.name)).is_dir()]

    def take(self, outcome: Outcome, round_: int, name: str) -> Path:
        """Copy a job's folder into its place, whole or not at all."""
        if outcome.folder is None:
            raise ValueError("there is nothing to take")
        target = self.session(round_, name)
        partial = target.with_name(f"{_PARTIAL}{name}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(outcome.folder, partial / outcome.folder.name)
        write_json(partial / "session.json", {"runtime_version": outcome.runtime_version, "round": round_})
        partial.replace(target)
        return target

    def wait_for_pending(self, rental: Rental, tick: Callable[[], None]) -> tuple[int, str, Outcome] | None:
        """Round, model and outcome of a session that an earlier process began; waits for the end of its program.

        None where there was none, or it left neither a folder nor a job that can be taken up again.
        """
        with self.pending_lock() as held:
            while True:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    tick()
                    time.sleep(_POLL_S)
        record, log = self.folder / "pending.json", self.folder / "pending.log"
        remove_leftovers(record)
        if not record.is_file() or not log.is_file():
            return None
        begun = read_json(record, "record of a session")
        outcome = rental.read_output(log.read_text(encoding="utf-8", errors="replace"))
        if outcome.folder is not None and not rental.is_whole(outcome.folder):
            outcome = dataclasses.replace(outcome, folder=None)
        is_found = outcome.folder is not None or outcome.job is not None
        return (begun["round"], begun["model"], outcome) if is_found else None

    @contextlib.contextmanager
    def pending_lock(self) -> Iterator[int]:
        """A descriptor of the file that the program holds; not locked yet."""
        descriptor = os.open(self.folder / "pending.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def begin(self, round_: int, entry: KitEntry, *, keep_log: bool = False) -> Path:
        """Note which session is about to run; returns the file for what the program prints.

        Args:
            keep_log: what it printed so far belongs to this session.
        """
        log = self.folder / "pending.log"
        if not keep_log:
            log.unlink(missing_ok=True)
        write_json(self.folder / "pending.json", {"round": round_, "model": entry.name})
        return log

    def end(self) -> None:
        """Forget what was pending; its output stays to be read."""
        (self.folder / "pending.json").unlink(missing_ok=True)
        shutil.rmtree(self.left, ignore_errors=True)
