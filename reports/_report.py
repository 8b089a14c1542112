"""`report`: write the report of a finished search into its run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from device_profiles import DeviceProfile
from device_profiles import load_profile
from reports._page import device_id
from reports._page import latency_mark
from reports._page import provenance_of
from reports._page import quality_unit
from reports._page import render_html
from reports._page import render_markdown
from reports._page import title
from reports._plot import pareto_png
from reports._results import ReportedPick
from reports._results import Results
from reports._results import read_results
from reports._verified import corrected_by
from reports._weights import STALE_MARK
from reports._weights import weight_warnings
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.core.files import write_atomic
from subdit.core.origin import warn_stale
from subdit.core.run import Run
from subdit.results import trials_to_frame
from subdit.results import write_frame
from subdit.space import run_space

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class ReportPaths:
    """Where the parts of a report are."""

    html: Path
    png: Path
    csv: Path
    markdown: Path


def report(run: Path | str, *, search: str = "default", force: bool = False) -> ReportPaths:
    """Write `reports/SEARCH/` of the run: report.html (needs no other file), pareto.png, front.csv, report.md.

    Shows what was measured when it is called, and says so of what was not. The report of a search of other weights than
    the run's of now says so at its top; figures of other weights than the search's are left out; a warning says both.
    Raises `RunError` where the run is missing or damaged or the report exists already and `force` is not given,
    `SearchError` where the search is missing, unfinished or damaged.
    """
    where = Run(Path(run))
    results = read_results(where, search)
    folder = where.report(search)
    paths = ReportPaths(folder / "report.html", folder / "pareto.png", folder / "front.csv", folder / "report.md")
    # The page is written last, so a report that was cut short counts as none.
    if paths.html.exists() and not force:
        stale = f", of the supernet {results.made_from}, which was trained again since," if results.stale else ""
        raise RunError(f"There is a report at {folder}{stale} already; replace it with --force.")
    for sentence in weight_warnings(results):
        warn_stale(sentence)
    profile = _profile(results)
    provenance = provenance_of(results, profile)[0]
    mark = latency_mark(provenance)
    png = pareto_png(results, title=title(results), quality_unit=quality_unit(results), mark=mark)
    html, markdown = render_html(results, profile), render_markdown(results, profile)
    write_atomic(paths.png, png)
    said = (mark or f"{provenance} latency", corrected_by(results), STALE_MARK if results.stale else "")
    write_frame(paths.csv, _front_frame(results, ", ".join(filter(None, said))))
    write_atomic(paths.markdown, markdown)
    write_atomic(paths.html, html)
    return paths


def _profile(results: Results) -> DeviceProfile | None:
    try:
        kept = results.run.search(results.search) / "device.json"
        return load_profile(str(kept) if kept.exists() else device_id(results), space=run_space(results.run))
    except ProfileError:
        return None


def _front_frame(results: Results, mark: str) -> DataFrame:
    """The search's table of the front, and beside it what was measured; a cell is empty where nothing was.

    `mark` says in each row where the predicted latencies are from.
    """
    import pandas

    picks = {pick.trial.spec.hash: pick for pick in results.picks}
    rows = [{"provenance": mark, **_measured_cells(picks.get(trial.spec.hash))} for trial in results.front]
    return pandas.concat([trials_to_frame(results.front), pandas.DataFrame(rows, dtype=object)], axis=1)


def _measured_cells(pick: ReportedPick | None) -> dict[str, Any]:
    measured, quality = (None, {}) if pick is None else (pick.measured, pick.quality)
    return {
        "measured_ms": None if measured is None else measured.latency_ms,
        "measured_low_ms": None if measured is None else measured.low_ms,
        "measured_high_ms": None if measured is None else measured.high_ms,
        "file_bytes": None if pick is None else pick.file_bytes,
        "fd_28_steps": quality.get("28_steps", {}).get("fd_mean"),
        "fd_4_steps": quality.get("4_steps", {}).get("fd_mean"),
    }
