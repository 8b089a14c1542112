"""Runs of earlier versions, which noted weights in few places and under other names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from reports import report
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.weights import supernet_digest
from supernet.distillation.distill_pick import distill
from supernet.evaluation.picks import judge_pick
from supernet.evaluation.picks import judge_teacher
from supernet.export.export_pick import export
from supernet.sampling import sample
from tests.stale.stale_run import FAST
from tests.stale.stale_run import HALF
from tests.stale.stale_run import WEIGHTS
from tests.stale.stale_run import contents
from tests.stale.stale_run import pick_folder
from tests.stale.stale_run import search
from tests.stale.stale_run import train_supernet
from tests.stale.stale_run import write_figures


def write_format_1(search: Path) -> None:
    """Give what a search left the names that it had in format 1."""
    told = read_json(search / "search.json", "search")
    ((name, proxy),) = told.pop("proxies").items()
    told |= {"subdit_search": 1, "proxy": {"id": name, **proxy}, "objectives": ["latency_ms", "quality"]}
    told |= {"limits": {"max_latency_ms": None, "max_params": None}, "reach": told.pop("feasible_region")}
    told |= {"redrawn": told.pop("rejected"), "redrawn_share": told.pop("rejected_fraction")}
    assert told.pop("constraints") == {}
    write_json(search / "search.json", told)
    for file in ("trials.csv", "front.csv", "picks.json"):
        (search / file).write_text((search / file).read_text().replace(name, "quality"))


@pytest.fixture
def earlier(run: Run) -> Run:
    """The run as an earlier version left it, which noted weights in few places and under other names."""
    digest = supernet_digest(run.supernet)
    for path in run.path.rglob("*.json"):
        told = json.loads(path.read_text())
        if isinstance(told, dict) and told.pop("supernet", None) is not None:
            if path.name in ("distilled.json",) or path == run.teacher / "supernet.json":
                told["digest"] = digest
            write_json(path, told)
    write_format_1(run.search("default"))
    for pick in ("balanced", "best"):
        write_figures(run, pick, None)
    for state in list(run.path.glob("picks/*/kdmd_state-*")):
        state.rename(state.with_name("kdmd_state.safetensors"))
    page = run.report("default") / "report.html"
    page.write_text(re.sub(r"<meta name=.subdit-supernet.*>\n", "", page.read_text()))
    return run


def test_a_run_of_an_earlier_version_loads_and_says_what_is_not_known(earlier: Run) -> None:
    assert search(earlier, resume=True).config["state"] == "finished"
    with pytest.warns(UserWarning, match="without a note of their supernet.*measured.json of pick"):
        page = report(earlier.path, force=True).html.read_text()
    assert "1.250" in page
    with pytest.warns(UserWarning, match="does not say which supernet it is of"):
        judge_pick(earlier.path, pick="balanced", per_class=2)
    with pytest.warns(UserWarning, match="does not say which supernet it is of"):
        sample(pick_folder(earlier, "best") / "exports" / "dit.onnx", ["a handwritten two"], steps=1)
    with pytest.raises(RunError, match="does not say which supernet it is of.*--force"):
        export(earlier.path, pick="best")
    with pytest.raises(RunError, match="distilled already"):
        distill(earlier.path, **FAST)
    judge_teacher(earlier.path, per_class=2)


def test_half_a_distillation_of_unknown_weights_starts_over(earlier: Run, made: Run) -> None:
    teacher = contents(earlier.teacher)
    with pytest.warns(UserWarning, match="kdmd_state.*does not say which supernet.*starts over"):
        found = distill(earlier.path, pick=HALF, **FAST)
    assert load_file(found / WEIGHTS)
    assert contents(earlier.teacher).keys() == teacher.keys(), "which says what it is of"
    assert (earlier.path / "stale/unknown/picks" / found.parent.name / "kdmd_state.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_what_an_earlier_version_made_does_not_outlive_its_weights_unmarked(earlier: Run) -> None:
    before = supernet_digest(earlier.supernet)
    train_supernet(earlier, 1, force=True)
    with pytest.raises(SearchError, match=f"'default' is of the supernet {before}.*--force"):
        search(earlier, resume=True)
    assert before in (earlier.report("default") / "report.html").read_text().partition("<header>")[0]
    assert not list(earlier.path.glob("picks/*/measured.json")), "of nobody knows what"
    assert len(list(earlier.path.glob("stale/unknown/picks/*/measured.json"))) == 2
    with pytest.raises(RunError, match=before):
        export(earlier.path)
