"""Figures as people read them; what was not measured is called so, and never filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports._other_devices import OtherDevice
from reports._other_devices import OtherPick
from reports._results import ReportedPick
from subdit.core.quantities import noun

NOT_MEASURED = "not measured"
NOT_EXPORTED = "not exported"

SAMPLERS = {
    "28_steps": "28 steps",
    "4_steps": "4 steps, distilled",
    "plain_4_steps": "4 steps, plain Euler",
    "2_steps": "2 steps, distilled",
    "1_step": "1 step, distilled",
}
"""Ways of sampling by their names in quality.json, in the order of the table."""


@dataclass(frozen=True)
class Line:
    """One row of a table: a heading and its cells; `group` opens a new group of rows."""

    heading: str
    cells: tuple[str, ...]
    group: str = ""


def milliseconds(value: float) -> str:
    """A latency in milliseconds, without the unit; the smaller, the more decimals."""
    decimals = 4 if value < 0.1 else 3 if value < 10 else 2 if value < 100 else 1
    return f"{value:,.{decimals}f}"


def interval(low_ms: float, high_ms: float) -> str:
    return f"{milliseconds(low_ms)} to {milliseconds(high_ms)}"


def percent(fraction: float, *, decimals: int = 1, sign: bool = False) -> str:
    return f"{100 * fraction:{'+' if sign else ''}.{decimals}f} %"


def file_size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def pick_lines(picks: Sequence[ReportedPick], quality: str) -> list[Line]:
    """Rows of the table of picks, one cell per pick; `quality` is the name of the search's quality proxy."""
    trials = [pick.trial for pick in picks]
    sizes = [NOT_EXPORTED if pick.file_bytes is None else file_size(pick.file_bytes) for pick in picks]
    lines = [
        Line("spec", tuple(trial.spec.hash for trial in trials)),
        Line("architecture", tuple(str(trial.spec) for trial in trials)),
        Line("parameters", tuple(f"{trial.params:,}" for trial in trials)),
        Line("exported file", tuple(sizes)),
        Line("predicted", tuple(milliseconds(trial.latency_ms) for trial in trials), group="Latency of one step, ms"),
        Line("95 % interval", tuple(interval(trial.latency_low_ms, trial.latency_high_ms) for trial in trials)),
        Line("measured", tuple(_measured(pick) for pick in picks)),
    ]
    if any(pick.measured is not None for pick in picks):
        lines.append(Line("95 % interval", tuple(_measured_interval(pick) for pick in picks)))
        lines.append(Line("prediction off by", tuple(_deviation(pick) for pick in picks)))
    losses = tuple(f"{trial.value(quality):.4f}" for trial in trials)
    return [*lines, Line(noun(quality), losses, group="Quality, as the search saw it")]


def quality_lines(picks: Sequence[ReportedPick]) -> list[Line]:
    """One row per pick and way of sampling: Frechet distance, nearest-neighbour ratio, fraction recognised.

    A way of sampling that a pick was not judged by has no row, but for 28 steps and 4, which always have one.
    """
    lines = []
    for pick in picks:
        group = pick.title
        for key, heading in (SAMPLERS | _of_other_students(pick.quality)).items():
            figures = pick.quality.get(key, {})
            if not figures and key not in ("28_steps", "4_steps"):
                continue
            nearest, recognised = figures.get("nn_ratio"), figures.get("accuracy")
            cells = (
                _with_std(figures),
                "" if nearest is None else f"{nearest:.2f}",
                "" if recognised is None else percent(recognised),
            )
            lines.append(Line(heading, cells, group))
            group = ""
    return lines


def _of_other_students(quality: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Headings of ways of sampling of students of other numbers of steps than four, and of as many plain steps."""
    found = [(re.fullmatch(r"(distilled|plain)_(\d+)_steps?", key), key) for key in quality if key not in SAMPLERS]
    matches = sorted((-int(match[2]), match[1], key) for match, key in found if match is not None)
    kinds = {"distilled": "distilled to as many", "plain": "plain Euler"}
    return {key: f"{-steps} step{'s' if steps != -1 else ''}, {kinds[kind]}" for steps, kind, key in matches}


def _measured(pick: ReportedPick) -> str:
    return NOT_MEASURED if pick.measured is None else milliseconds(pick.measured.latency_ms)


def _measured_interval(pick: ReportedPick) -> str:
    return "" if pick.measured is None else interval(pick.measured.low_ms, pick.measured.high_ms)


def _deviation(pick: ReportedPick) -> str:
    return "" if pick.measured is None else percent(pick.trial.latency_ms / pick.measured.latency_ms - 1, sign=True)


def _with_std(figures: Mapping[str, Any]) -> str:
    if figures.get("fd_mean") is None:
        return NOT_MEASURED
    # One set of samples has no standard deviation.
    several = figures.get("fd_spread") is not None and figures.get("seeds") != 1
    std = f" ± {figures['fd_spread']:.3f}" if several else ""
    return f"{figures['fd_mean']:.3f}{std}"


def other_device_lines(others: Sequence[OtherDevice]) -> list[Line]:
    """One row per pick of another device's search: what it would cost on this report's device."""
    return [
        Line(
            pick.pick.title,
            (
                str(pick.pick.trial.spec),
                milliseconds(pick.latency_ms),
                "none is as good" if pick.as_good is None else milliseconds(pick.as_good.latency_ms),
                _latency_paid(pick),
                f"{pick.loss:.4f}",
                "none is as fast" if pick.as_fast is None else f"{pick.as_fast.value(pick.quality):.4f}",
                "" if pick.quality_paid is None or not pick.allowed else f"{pick.quality_paid:+.4f}",
            ),
            group=f"searched for {other.device} (“{other.search}”)" if index == 0 else "",
        )
        for other in others
        for index, pick in enumerate(other.picks)
    ]


def _latency_paid(pick: OtherPick) -> str:
    if not pick.allowed:
        return f"over the limit on {_nouns(pick.broken)}"
    said = []
    if pick.latency_paid is not None:
        # Where both are the same sub-DiT, rounding leaves a zero of either sign.
        paid = percent(round(pick.latency_paid, 4) + 0.0, sign=True)
        said.append(paid + (", within noise" if pick.within_noise and paid != "+0.0 %" else ""))
    if pick.unchecked:
        said.append(f"limit on {_nouns(pick.unchecked)} not checked")
    return "; ".join(said)


def _nouns(figures: Sequence[str]) -> str:
    return " and ".join(noun(figure) for figure in figures)
