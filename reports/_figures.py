"""Figures as people read them: what is not there is said to be not measured, never filled in."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports._results import Pick

NOT_MEASURED = "not measured"

SAMPLERS = {
    "28_steps": "28 steps",
    "4_steps": "4 steps, distilled",
    "plain_4_steps": "4 steps, plain Euler",
    "2_steps": "2 steps, distilled",
    "1_step": "1 step, distilled",
}
"""Ways of sampling that a pick is judged by, as quality.json calls them, in the order of the table."""


@dataclass(frozen=True)
class Line:
    """One row of the table of picks: a heading and one cell per pick; `group` opens a new group of rows."""

    heading: str
    cells: tuple[str, ...]
    note: str = ""
    group: str = ""


def milliseconds(value: float) -> str:
    """Four significant digits below 1 s."""
    return f"{value:,.0f} ms" if value >= 1000 else f"{value:.4g} ms"


def interval(low_ms: float, high_ms: float) -> str:
    return f"{low_ms:.4g} to {high_ms:.4g}"


def file_size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def pick_lines(picks: Sequence[Pick]) -> list[Line]:
    """Rows of the table of picks; a way of sampling that no pick was judged by has no row."""
    trials = [pick.trial for pick in picks]
    lines = [
        Line("spec", tuple(trial.spec.hash for trial in trials)),
        Line("architecture", tuple(str(trial.spec) for trial in trials)),
        Line("parameters", tuple(f"{trial.params:,}" for trial in trials)),
        Line("exported file", tuple(NOT_MEASURED if pick.file_bytes is None else file_size(pick.file_bytes)
                                    for pick in picks)),
        Line("predicted", tuple(milliseconds(trial.latency_ms) for trial in trials), group="Latency of one step"),
        Line("its 95 % interval, ms", tuple(interval(trial.latency_low_ms, trial.latency_high_ms) for trial in trials)),
        Line("measured", tuple(_measured(pick) for pick in picks)),
        Line("its 95 % interval, ms", tuple(_measured_interval(pick) for pick in picks)),
        Line("prediction off by", tuple(_deviation(pick) for pick in picks)),
        Line("quality loss, inherited weights", tuple(f"{trial.quality:.4g}" for trial in trials), group="Quality"),
    ]
    known = [key for key in SAMPLERS if any(key in pick.quality for pick in picks)]
    for key in known or ("28_steps", "4_steps"):
        judged = [pick.quality.get(key, {}) for pick in picks]
        lines.append(Line(f"Fréchet distance, {SAMPLERS[key]}", tuple(_with_spread(figures) for figures in judged)))
        for field, heading in (("nn_ratio", "nearest-neighbour ratio"), ("accuracy", "recognised")):
            if any(figures.get(field) is not None for figures in judged):
                lines.append(Line(heading, tuple(_plain(figures, field) for figures in judged), note="sub"))
    return lines


def _measured(pick: Pick) -> str:
    return NOT_MEASURED if pick.measured is None else milliseconds(pick.measured.latency_ms)


def _measured_interval(pick: Pick) -> str:
    return "" if pick.measured is None else interval(pick.measured.low_ms, pick.measured.high_ms)


def _deviation(pick: Pick) -> str:
    if pick.measured is None:
        return ""
    return f"{pick.trial.latency_ms / pick.measured.latency_ms - 1:+.1%}".replace("%", " %")


def _with_spread(figures: Mapping[str, Any]) -> str:
    if figures.get("fd_mean") is None:
        return NOT_MEASURED
    spread = f" ± {figures['fd_spread']:.3f}" if figures.get("fd_spread") is not None else ""
    return f"{figures['fd_mean']:.3f}{spread}"


def _plain(figures: Mapping[str, Any], field: str) -> str:
    value = figures.get(field)
    if value is None:
        return NOT_MEASURED
    return f"{value:.1%}".replace("%", " %") if field == "accuracy" else f"{value:.2f}"
