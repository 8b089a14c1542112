"""metrics.jsonl: the losses of a training, one line of JSON for each 20 steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from subdit.core.files import write_atomic

METRICS = "metrics.jsonl"


def read_metrics(path: Path) -> Iterator[dict[str, float]]:
    """The lines of a metrics file; a torn last line, left by a kill, is skipped."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def drop_metrics_after(path: Path, step: int) -> None:
    """Remove the lines of later steps, which a resumed training will write again."""
    if path.exists():
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
