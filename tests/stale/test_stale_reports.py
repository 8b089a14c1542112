"""Reports of old weights say so, and reports of new weights leave old figures out."""

from __future__ import annotations

import re

import pytest

from reports import report
from subdit.core.run import Run
from tests.stale.stale_run import search
from tests.stale.stale_run import train_supernet
from tests.stale.stale_run import write_figures


def test_reports_of_the_old_weights_say_so_at_their_top(retrained: tuple[Run, str, str]) -> None:
    run, before, after = retrained
    said = f"This report is of the supernet {before}, and the run.*s is now {after}"
    page = (run.report("default") / "report.html").read_text()
    assert re.search(said, page.partition("<header>")[0])
    assert re.match(f"> .*{said}", (run.report("default") / "report.md").read_text())
    train_supernet(run, 2, force=True)
    assert (run.report("default") / "report.html").read_text() == page, "said once"


def test_a_report_drawn_of_old_weights_says_so_everywhere(retrained: tuple[Run, str, str]) -> None:
    run, before, after = retrained
    with pytest.warns(UserWarning, match=before):
        paths = report(run.path, force=True)
    said = f"This report is of the supernet {before}, and the run.*s is now {after}"
    assert re.search(said, paths.html.read_text().partition("</header>")[0])
    assert re.search(said, paths.markdown.read_text().partition("##")[0])
    assert "of weights trained again since" in paths.markdown.read_text().splitlines()[0]
    assert all("trained again since" in line for line in paths.csv.read_text().splitlines()[1:])
    assert "1.250" in paths.html.read_text(), "its picks' figures are of the same weights"


def test_a_report_names_searches_that_it_does_not_compare_with(retrained: tuple[Run, str, str]) -> None:
    run, _, _ = retrained
    search(run, name="new")
    with pytest.warns(UserWarning, match="other weights than this one's are not compared.*: default;"):
        page = report(run.path, search="new").html.read_text()
    assert "This report is of" not in page and "trained again" not in page


def test_a_report_shows_no_figures_of_other_weights(retrained: tuple[Run, str, str]) -> None:
    run, before, after = retrained
    write_figures(run, "best", after, latency_ms=7.77)
    with pytest.warns(UserWarning, match=f"measured.json, samples.png of the pick best.*{after}.*{before}"):
        page = report(run.path, force=True).html.read_text()
    assert "1.250" in page and "7.770" not in page and page.count("data:image/png") == 1
