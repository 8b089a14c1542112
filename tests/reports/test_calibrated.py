"""A calibration in the report: predicted against true quality, what the first front lacked, and what may be chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports import report
from reports._calibrated import read_calibrated
from reports._results import read_results
from subdit.core.errors import SearchError
from subdit.core.run import Run
from tests.reports.run_folder import make_run


def record(run: Path, **more: Any) -> dict[str, Any]:
    """calibrate.json of three sub-DiTs of the search's front."""
    front = read_results(Run(run), "default").front[:3]
    return {
        "first_search": "default", "second_search": "default-calibrated", "quality": "validation_loss", "updates": 600,
        "trained": [
            {
                "spec": str(trial.spec), "spec_hash": trial.spec.hash, "validation_loss": 0.5,
                "predicted": 0.41 + at / 100, "predicted_low": 0.4, "predicted_high": 0.45, "true": 0.43 - at / 100,
            }
            for at, trial in enumerate(front)
        ],
        "kendall_tau": {"before": 0.21, "after": 0.64}, "error": 0.01, "spread": 0.03, "coverage": 1.0, "learned": True,
        "hypervolume_regret": 0.0123, "hypervolume_figures": ["latency_ms", "calibrated_loss"],
        "changed_picks": ["best"], "summary": "", "data_hash": "feed", **more,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    return make_run(tmp_path / "run", measured=False, limit_ms=1.1)


def test_predicted_stands_beside_true(run: Path) -> None:
    file = run / "searches" / "default" / "calibrate.json"
    file.write_text(json.dumps(record(run)))
    report(run)
    page = (run / "reports" / "default" / "report.html").read_text()
    text = (run / "reports" / "default" / "report.md").read_text()
    for part in (
        "Quality calibrated by training alone",
        "with Kendall tau 0.21",
        "tau 0.64",
        "1.23 %",
        "other picks are best",
    ):
        assert part in page and part in text
    rows = [line for line in text.splitlines() if "0.40" in line and "to 0.45" in line]
    # The best one first.
    assert [row.split(" | ")[4] for row in rows] == ["0.4100", "0.4200", "0.4300"]
    assert "-0.0200" in rows[2] and "may be chance" not in page
    file.write_text(json.dumps(record(run, learned=False, changed_picks=[])))
    report(run, force=True)
    page = (run / "reports" / "default" / "report.html").read_text()
    assert "quality cannot be told apart here" in page and "the picks are the same" in page


def test_what_is_of_another_search_or_damaged_is_told(run: Path) -> None:
    results = read_results(Run(run), "default")
    file = run / "searches" / "default" / "calibrate.json"
    assert read_calibrated(results) is None
    file.write_text(json.dumps(record(run, quality="few_step_distance")))
    with pytest.raises(SearchError, match="calibrate.json is damaged"):
        read_calibrated(results)
    other = record(run)
    other["trained"][0]["spec_hash"] = "0" * 10
    file.write_text(json.dumps(other))
    assert read_calibrated(results) is None
    file.unlink()
    (run / "searches" / "default" / "calibration.json").write_text(json.dumps(record(run)))
    assert read_calibrated(results) is None
