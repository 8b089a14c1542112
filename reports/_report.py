"""`report`: write the report of a finished search into its run folder."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

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
from reports._results import Results
from reports._results import read_results
from reports._verified import corrected_by
from reports._weights import STALE_MARK
from reports._weights import weight_warnings
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.core.files import write_atomic
from subdit.core.origin import say
from subdit.core.run import Run


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
        stale = f", of the supernet {results.made_from}, which was trained anew since," if results.stale else ""
        raise RunError(f"There is a report at {folder}{stale} already; replace it with --force.")
    for sentence in weight_warnings(results):
        say(sentence)
    profile = _profile(results)
    provenance = provenance_of(results, profile)[0]
    mark = latency_mark(provenance)
    png = pareto_png(results, title=title(results), quality_unit=quality_unit(results), mark=mark)
    html, markdown = render_html(results, profile), render_markdown(results, profile)
    write_atomic(paths.png, png)
    said = (mark or f"{provenance} latency", corrected_by(results), STALE_MARK if results.stale else "")
    write_atomic(paths.csv, _front_csv(results, ", ".join(filter(None, said))))
    write_atomic(paths.markdown, markdown)
    write_atomic(paths.html, html)
    return paths


def _profile(results: Results) -> DeviceProfile | None:
    try:
        kept = results.run.search(results.search) / "device.json"
        return load_profile(str(kept) if kept.exists() else device_id(results), space=results.config["space"])
    except ProfileError:
        return None


def _front_csv(results: Results, mark: str) -> str:
    """The search's table of the front, and beside it what was measured; a cell is empty where nothing was.

    `mark` says in each row where the predicted latencies are from.
    """
    out = io.StringIO()
    measured = ("measured_ms", "measured_low_ms", "measured_high_ms", "file_bytes", "fd_28_steps", "fd_4_steps")
    picks = {pick.trial.spec.hash: pick for pick in results.picks}
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*results.front[0].row, "provenance", *measured])
    for trial in results.front:
        cells: list[object] = [""] * len(measured)
        pick = picks.get(trial.spec.hash)
        if pick is not None:
            latency = pick.measured
            cells[:3] = ["", "", ""] if latency is None else [latency.latency_ms, latency.low_ms, latency.high_ms]
            cells[3] = "" if pick.file_bytes is None else pick.file_bytes
            cells[4:] = [pick.quality.get(key, {}).get("fd_mean", "") for key in ("28_steps", "4_steps")]
        writer.writerow([*trial.row.values(), mark, *cells])
    return out.getvalue()
