"""Which supernet something in a run was made from, and whether the run's weights are still those.

Whatever is made from a supernet's weights carries their digest, under `supernet` in its JSON or where `origin` says. It
is judged here and nowhere else: what is of the run's weights is fresh, what is of others is stale, and what was made by
an earlier version, which noted nothing, is unknown. Nothing stale is ever gone on with or shown beside what is fresh.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import json
import re
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Any

from subdit.core.errors import CheckpointError
from subdit.core.errors import StaleWarning
from subdit.core.run import Run
from subdit.core.students import STATE
from subdit.core.students import is_student
from subdit.core.weights import supernet_digest

KEY = "supernet"
NO_PART = ""
"""The digest of what no supernet had a part in, so that none can make it stale."""


class Freshness(StrEnum):
    """What something made from a supernet is to the run's weights of now."""

    FRESH = "fresh"
    STALE = "stale"
    UNKNOWN = "unknown"


def run_digest(run: Run) -> str | None:
    """Digest of the run's supernet; None where there are no whole weights, as in a run that was copied without them."""
    try:
        return supernet_digest(run.supernet)
    except CheckpointError:
        return None


def freshness(made_from: str | None, digest: str | None) -> Freshness:
    """By the digest that something carries, None where it carries none, and the run's; fresh where the run has none."""
    if digest is None or made_from in (digest, NO_PART):
        return Freshness.FRESH
    return Freshness.UNKNOWN if made_from is None else Freshness.STALE


def origin(path: Path) -> str | None:
    """The digest that an artefact carries, None where it carries none or is damaged.

    `path` is a search's folder, teacher/, distilled/, a half-done distillation, an exported file, samples.png,
    report.html, or any JSON file with the key.
    """
    if (path / "search.json").is_file():
        return _of_search(_json(path / "search.json"))
    if path.stem.startswith(STATE):
        # That of an earlier version is called after no supernet.
        return _digest(path.stem.removeprefix(STATE).rpartition("-")[2] or None)
    match path.suffix:
        case ".png":
            return _of_png(path)
        case ".html":
            return _of_page(path)
        case ".onnx" | ".tflite":
            return _text(_json(path.with_suffix(".json")), KEY)
        case ".json":
            return _text(_json(path), KEY)
    if path.name == "teacher":
        return _text(_json(path / "supernet.json"), KEY, "digest")
    return _text(_json(path.with_suffix(".json")), KEY, "digest")


def model_run(model: Path) -> Run | None:
    """The run that a pick's exported file or distilled folder lies in; None where it lies elsewhere."""
    for folder in model.absolute().parents:
        if folder.name == "picks" and (folder.parent / "manifest.json").is_file():
            return Run(folder.parent)
    return None


def stale_sentence(what: str, made_from: str | None, digest: str | None, remedy: str) -> str:
    """A sentence that names what is stale or unknown, and says what to do about it."""
    if made_from is None:
        return f"{what} does not say which supernet it is of, as an earlier version made it; {remedy}."
    now = "" if digest is None else f", and the run's is now {digest}"
    return f"{what} is of the supernet {made_from}{now}; {remedy}."


def warn_stale(sentence: str) -> None:
    """Warn of something stale that does not end the work."""
    warnings.warn(sentence, StaleWarning, stacklevel=3)


def warn_of_stale_search(run: Run, search: str, digest: str | None) -> None:
    """Warn where a search whose pick is used is not of the run's weights: its picks are architectures still."""
    made_from = origin(run.search(search))
    if freshness(made_from, digest) is Freshness.STALE:
        remedy = "its picks were chosen by those weights, so search again for picks of these"
        warn_stale(stale_sentence(f"The search {search!r}", made_from, digest, remedy))


def warn_of_stale_model(model: Path) -> None:
    """Warn where a model in a run's picks is not of the run's weights."""
    run = model_run(model)
    if run is None:
        return
    made_from, digest = origin(model), run_digest(run)
    if freshness(made_from, digest) is not Freshness.FRESH:
        remedy = "what it draws is drawn by those weights; distil or export the pick again for these"
        warn_stale(stale_sentence(f"The model {model}", made_from, digest, remedy))


def artefact_paths(path: Path) -> tuple[Path, ...]:
    """An artefact of a pick with what belongs to it, in the order to move them: what tells the origin goes last."""
    if path.suffix in (".onnx", ".tflite"):
        return path, path.with_name(f"{path.name}.data"), path.with_suffix(".json")
    return (path, path.with_suffix(".json")) if is_student(path) else (path,)


def set_aside(run: Run, made_from: str | None, *paths: Path) -> Path:
    """Move what is not of the run's weights to `stale/DIGEST/` of the run, by its path in the run; return that folder.

    Nothing is deleted, and nothing there is replaced. Paths go in the order given, each as a whole, so that a kill
    leaves it here or there; what is not there is passed over.
    """
    folder = run.path / "stale" / (made_from or "unknown")
    for path in paths:
        if not path.exists():
            continue
        place = folder / path.relative_to(run.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        names = (f"{path.stem}{f'-{count}' if count > 1 else ''}{path.suffix}" for count in itertools.count(1))
        path.rename(next(free for name in names if not (free := place.with_name(name)).exists()))
    return folder


def _of_page(page: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = re.search(r'<meta name="subdit-supernet" content="([^"]*)">', page.read_text(encoding="utf-8"))
        return None if found is None else _digest(html.unescape(found[1]))
    return None


def _of_search(config: Any) -> str | None:
    found = _text(config, KEY)
    # Earlier versions wrote it of the proxy alone.
    return found if found is not None or not isinstance(config, dict) else _text(config.get("proxy"), "supernet_digest")


def _of_png(path: Path) -> str | None:
    from PIL import Image

    with contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError), Image.open(path) as image:
        return _digest(image.info.get(KEY))
    return None


def _json(path: Path) -> Any:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def _text(stored: Any, *keys: str) -> str | None:
    found = [_digest(stored.get(key)) for key in keys] if isinstance(stored, dict) else []
    return next((each for each in found if each is not None), None)


def _digest(stored: Any) -> str | None:
    # It names a folder and is printed, so what is no digest counts as none.
    return stored if isinstance(stored, str) and re.fullmatch("(?:[0-9a-f]{4,64})?", stored) else None
