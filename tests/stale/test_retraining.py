"""A training that replaces a supernet names the artefacts that become stale."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from reports import report
from subdit.cli import group
from subdit.core.errors import RunError
from subdit.core.run import Run
from subdit.core.weights import supernet_digest
from supernet.distillation.distill_pick import distill
from supernet.evaluation.picks import judge_pick
from supernet.export.export_pick import export
from tests.stale.stale_run import FAST
from tests.stale.stale_run import HALF
from tests.stale.stale_run import WEIGHTS
from tests.stale.stale_run import contents
from tests.stale.stale_run import pick_folder
from tests.stale.stale_run import search
from tests.stale.stale_run import train_supernet


def test_training_again_says_beforehand_what_becomes_stale_and_deletes_nothing(run: Run) -> None:
    before, files = supernet_digest(run.supernet), contents(run.path)
    seen: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_supernet(run, 1, force=True, progress=lambda *_: seen.append(str(caught[0].message)))
    for name in (before, "search 'default'", "report 'default'", "3 picks", "few-step teacher"):
        assert name in seen[0], "told before the first step"
    after = contents(run.path)
    # What a training logs is of that training alone.
    changed = {name for name in files if after.get(name) != files[name] and not name.startswith("training/")}
    # The manifest has the seconds of a training, which may be those of the one before.
    assert changed - {"manifest.json"} == {
        f"supernet/{WEIGHTS}",
        "config.yaml",
        "reports/default/report.html",
        "reports/default/report.md",
    }


def test_a_damaged_report_does_not_end_a_training(run: Run) -> None:
    (run.report("default") / "report.html").write_bytes(b"\xff<main>\xfe")
    (run.report("default") / "report.md").write_bytes(b"\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train_supernet(run, 1, force=True)
    assert b"This report is of" in (run.report("default") / "report.html").read_bytes()


def test_the_same_weights_once_more_make_nothing_stale(run: Run, made: Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train_supernet(run, 0, force=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert search(run, resume=True).config["state"] == "finished"
        report(run.path, force=True)
        judge_pick(run.path, pick="balanced", per_class=2)
        with pytest.raises(RunError, match="distilled already, at"):
            distill(run.path, **FAST)
        with pytest.raises(RunError, match="exported already, at"):
            export(run.path)
    assert not (run.path / "stale").exists()
    # And what was begun is gone on with.
    assert list(pick_folder(run, HALF).glob("kdmd_state*"))


def test_the_command_line_says_it_once_and_in_one_line(retrained: tuple[Run, str, str], tmp_path: Path) -> None:
    run, before, _ = retrained
    shown = CliRunner().invoke(group, ["report", str(run.path), "--force"])
    notes = [line for line in shown.stderr.splitlines() if line.startswith("Note: ")]
    assert shown.exit_code == 0 and len(notes) == 1 and before in notes[0], shown.stderr
    told = CliRunner().invoke(group, ["train", "digits", "--run", str(run.path), "--steps", "1", "--force"])
    assert told.exit_code == 0 and "Note: Retraining makes stale" in told.stderr
