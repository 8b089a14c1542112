"""Retraining: what new weights make stale, told before they are trained, and written on reports that people open."""

from __future__ import annotations

import html
from pathlib import Path

from subdit.core.files import write_atomic
from subdit.core.origin import NO_PART
from subdit.core.origin import Freshness
from subdit.core.origin import artefact_paths
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import set_aside
from subdit.core.origin import stale_sentence
from subdit.core.run import Run
from subdit.core.students import STATE
from subdit.core.students import is_student

FIGURES = ("quality.json", "measured.json", "samples.png")
"""In a pick's folder, made from its weights."""

_MARK = b'<p class="warning" role="note" id="stale">'
_TEXT_MARK = b"> **Note:** This report"


def stale_after_training(run: Run) -> str:
    """A sentence on what becomes stale when the run's supernet is trained again; empty where nothing does."""
    digest = run_digest(run)
    searches = _names([path.parent for path in sorted(run.path.glob("searches/*/search.json"))], digest)
    pages = sorted(run.path.glob("reports/*/report.html"))
    reports = [
        page.parent.name for page in pages if freshness(_report_origin(run, page), digest) is not Freshness.STALE
    ]
    picks = sum(path.is_dir() for path in run.path.glob("picks/*"))
    said = [f"the search {name!r}" for name in searches] + [f"the report {name!r}" for name in reports]
    said += [f"what was made of {picks} pick{'s' if picks > 1 else ''}"] if picks else []
    evaluations = _names([path for path in sorted(run.evaluation.glob("*.json")) if origin(path) != NO_PART], digest)
    said += [f"{len(evaluations)} evaluation{'s' if len(evaluations) > 1 else ''}"] if evaluations else []
    said += ["the few-step teacher"] if _names([run.teacher], digest) else []
    if not said:
        return ""
    of = "" if digest is None else f" {digest}"
    return (
        f"Retraining makes stale what is of the supernet{of}: {', '.join(said)}; nothing of it is deleted: it is "
        f"named as stale where it is met, and goes to {run.path / 'stale'} where something new takes its place, or at "
        "once where it does not say what it is of."
    )


def set_aside_of_pick(
    run: Run, folder: Path, digest: str | None, *, but: Freshness = Freshness.FRESH
) -> dict[str | None, list[str]]:
    """Set aside what a pick's folder holds of other weights or of unknown ones, and return its names by their digest.

    `but` is left where it is, as is all that is fresh.
    """
    exports = [path for suffix in ("onnx", "tflite") for path in sorted(folder.glob(f"exports/*.{suffix}"))]
    students = sorted(path for path in folder.glob("*") if path.is_dir() and is_student(path))
    found = [*students, *sorted(folder.glob(f"{STATE}*.safetensors")), *exports]
    moved: dict[str | None, list[str]] = {}
    for path in [path for path in (*found, *(folder / name for name in FIGURES)) if path.exists()]:
        made_from = origin(path)
        if freshness(made_from, digest) not in (Freshness.FRESH, but):
            set_aside(run, made_from, *artefact_paths(path))
            moved.setdefault(made_from, []).append(path.name)
    return moved


def set_aside_unknown(run: Run) -> None:
    """Before new weights come, set aside what earlier versions made of picks: later nobody could tell what it is of."""
    for folder in sorted(path for path in run.path.glob("picks/*") if path.is_dir()):
        set_aside_of_pick(run, folder, run_digest(run) or "none", but=Freshness.STALE)


def mark_reports(run: Run) -> None:
    """Write at the top of each report of other weights that it is; those marked already stay as they are."""
    digest = run_digest(run)
    for page in sorted(run.path.glob("reports/*/report.html")):
        made_from = _report_origin(run, page)
        if made_from is None or freshness(made_from, digest) is not Freshness.STALE:
            continue
        said = stale_sentence("This report", made_from, digest, "search and report again for what holds now")
        text = page.with_name("report.md")
        # As bytes: a damaged page is none of a training's business.
        if text.is_file() and not (content := text.read_bytes()).startswith(_TEXT_MARK):
            write_atomic(text, f"> **Note:** {said}\n\n".encode() + content)
        if _MARK not in (content := page.read_bytes()):
            mark = b"<main>\n" + _MARK + html.escape(said).encode() + b"</p>"
            write_atomic(page, content.replace(b"<main>", mark, 1))


def _report_origin(run: Run, page: Path) -> str | None:
    # Reports of earlier versions do not say; their search does.
    return origin(page) or origin(run.search(page.parent.name))


def _names(paths: list[Path], digest: str | None) -> list[str]:
    """Of those that are not stale already."""
    return [path.name for path in paths if path.exists() and freshness(origin(path), digest) is not Freshness.STALE]
