"""A report says of a training that its ceiling cut short how far it came."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from reports import report
from subdit.core.errors import RunError
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import record_step
from subdit.core.training_record import TrainingRecord
from tests.reports.run_folder import make_run

WHOLE = TrainingRecord(1235, 1235, 330.0)
CUT = TrainingRecord(450, 2000, 330.0, cut_step=405)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    return Run(make_run(tmp_path / "run", trials=60))


def balanced(run: Run) -> Path:
    picks = json.loads((run.search("default") / "picks.json").read_text())
    return run.pick(picks["balanced"]["spec_hash"])


def said(run: Run) -> tuple[str, str]:
    paths = report(run.path, force=True)
    return html.unescape(paths.html.read_text(encoding="utf-8")), paths.markdown.read_text(encoding="utf-8")


def test_whole_trainings_and_those_of_earlier_versions_are_passed_over(run: Run) -> None:
    record_step(run, "train", {"steps": 300, "seconds": 330.0, "full_loss": 0.2})
    write_json(balanced(run) / "distilled.json", {"steps": 500, "guidance_scale": 1.0})
    assert not any("steps" in page and "--no-ceiling" in page for page in said(run))
    record_step(run, "train", WHOLE.to_dict())
    write_json(run.teacher / "training.json", TrainingRecord(320, 320, 80.0).to_dict())
    assert not any("--no-ceiling" in page for page in said(run))


def test_what_was_cut_is_said_with_what_all_steps_take(run: Run) -> None:
    record_step(run, "train", WHOLE.to_dict())
    write_json(run.teacher / "training.json", TrainingRecord(160, 320, 80.0, cut_step=150).to_dict())
    write_json(balanced(run) / "distilled.json", CUT.to_dict() | {"guidance_scale": 1.0})
    # 330 seconds, twice 80, and 330 / 450 * 2000.
    for page in said(run):
        assert (
            "Few-step teacher trained 160 of 320 steps; K-DMD of balanced trained 450 of 2,000 steps: a ceiling in "
            "seconds cut them short, and figures are worse than README's; training again in another run folder with "
            "--no-ceiling takes 33 minutes here."
        ) in page


def test_a_damaged_record_is_named(run: Run) -> None:
    (run.teacher).mkdir()
    (run.teacher / "training.json").write_text("{torn")
    with pytest.raises(RunError, match="record of the few-step teacher"):
        report(run.path, force=True)
