"""What a training leaves of itself in the run folder, and the sentence about one that its ceiling cut short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from subdit.core.files import read_json
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.students import STEPS
from subdit.core.students import few_step_folder
from subdit.core.students import student_record

SUPERNET = "supernet"
TEACHER = "few-step teacher"
STUDENT = "K-DMD"

TEACHER_FILE = "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """How far a training came.

    Attributes:
        steps: steps that were made.
        of_steps: steps that were asked for.
        seconds: seconds of the steps that were made.
        cut_step: step after which the ceiling cut it short, None where it did not.
    """

    steps: int
    of_steps: int
    seconds: float
    cut_step: int | None = None

    @property
    def whole_s(self) -> float:
        """Seconds that all steps take at the pace of those that were made."""
        return self.seconds / max(self.steps, 1) * self.of_steps

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Any) -> TrainingRecord | None:
        """The record among what a step left; None where an earlier version, which kept none, wrote it."""
        try:
            cut = stored["cut_step"]
            return cls(
                int(stored["steps"]),
                int(stored["of_steps"]),
                float(stored["seconds"]),
                None if cut is None else int(cut),
            )
        except (KeyError, TypeError, ValueError):
            return None


def training_records(run: Run, spec_hash: str | None = None, *, steps: int = STEPS) -> dict[str, TrainingRecord]:
    """The records of supernet, few-step teacher and, of one pick, K-DMD; whatever is not there is left out.

    Teacher and student are those of that number of sampling steps.

    Raises `RunError` where a file is damaged.
    """
    stored = {SUPERNET: read_manifest(run)["steps"].get("train")}
    files = {TEACHER: few_step_folder(run, steps) / TEACHER_FILE}
    if spec_hash is not None:
        files[STUDENT] = student_record(run.pick(spec_hash), steps)
    for name, file in files.items():
        stored[name] = read_json(file, f"record of the {name}") if file.exists() else None
    records = {name: TrainingRecord.from_dict(value) for name, value in stored.items()}
    return {name: record for name, record in records.items() if record is not None}


def cut_sentence(records: Mapping[str, TrainingRecord], *, space: str) -> str:
    """What was cut short, that figures suffer, and what all steps would take; empty where nothing was cut."""
    cut = [
        f"{name} trained {record.steps:,} of {record.of_steps:,} steps"
        for name, record in records.items()
        if record.cut_step is not None
    ]
    if not cut:
        return ""
    # README has figures of digits alone.
    than = "README's" if space == "digits" else "those of a whole training"
    whole = duration(sum(record.whole_s for record in records.values()))
    listed = "; ".join(cut)
    return (
        f"{listed[0].upper()}{listed[1:]}: a ceiling in seconds cut {'it' if len(cut) == 1 else 'them'} short, and "
        f"figures are worse than {than}; training again in another run folder with --no-ceiling takes {whole} here."
    )


def duration(seconds: float) -> str:
    """Roughly how long something takes, such as "40 seconds", "12 minutes" or "3.5 hours"."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} second{'' if round(seconds) <= 1 else 's'}"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
