"""The picture of a front: as PNG for files, as SVG whose colours follow the page it stands in."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from reports._figures import milliseconds
from reports._results import ReportedPick
from reports._results import Results
from subdit.core.quantities import LATENCY
from subdit.core.quantities import noun
from subdit.results import Trial

MANY_TRIALS = 4000
"""Number of trials from which they are drawn as one bitmap inside the SVG, which would otherwise grow too large."""


@dataclass(frozen=True)
class Palette:
    """Colours by what they are for, each different from all others."""

    paper: str = "#ffffff"
    ink: str = "#1c2430"
    faint: str = "#64707f"
    rule: str = "#e3e7ec"
    trial: str = "#a9b3bf"
    front: str = "#1f6f8b"
    interval: str = "#8fbfd0"
    pick: str = "#d1495b"
    limit: str = "#b7791f"


_LIGHT = Palette()
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "subdit",
    "figure.dpi": 100,
}
Effects = list[withStroke] | None
_MARKERS = ("v", "D", "s", "P", "X")


def pareto_png(results: Results, *, title: str, quality_unit: str, mark: str = "") -> bytes:
    """The front as a PNG, about 1400 x 1050 pixels, on white; `mark` is written across it and on its axis."""
    with matplotlib.rc_context(_STYLE):
        figure = _draw(results, _LIGHT, title=title, quality_unit=quality_unit, mark=mark)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=170, facecolor=_LIGHT.paper, metadata={"Software": None})
    return out.getvalue()


def pareto_svg(results: Results, *, quality_unit: str, mark: str = "") -> str:
    """The front as an `<svg>` element whose colours are CSS variables: --paper, --ink, --faint, --rule and so on."""
    with matplotlib.rc_context(_STYLE):
        figure = _draw(results, _LIGHT, title="", quality_unit=quality_unit, mark=mark)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    for name, colour in vars(_LIGHT).items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img" aria-label="Pareto front"', svg, count=1)


def _draw(results: Results, palette: Palette, *, title: str, quality_unit: str, mark: str) -> Figure:
    # A halo around labels; in the SVG the page draws it, so that its labels stay text that can be found and copied.
    effects = [withStroke(linewidth=3, foreground=palette.paper)] if title else None
    figure = Figure(figsize=(8.2, 6.1 if title else 5.8), layout="constrained")
    axes = figure.add_subplot()
    _frame(axes, palette)
    quality = results.quality
    _trials(axes, results.trials, quality, palette)
    _front(axes, results.front, quality, palette)
    marked = zip(results.picks, itertools.cycle(_MARKERS), strict=False)
    handles = [_pick(axes, pick, quality, marker, palette, effects) for pick, marker in marked]
    axes.set_xlabel(f"{mark or 'latency'}, ms  (less is better)", color=palette.limit if mark else palette.ink)
    if mark:
        _mark(axes, mark, palette, effects)
    axes.set_ylabel(f"{noun(quality)}  (less is better)", color=palette.ink)
    axes.margins(x=0.06, y=0.09)
    _limit(axes, latency_limit_ms(results), palette, effects)
    if title:
        figure.suptitle(title, x=0.012, ha="left", fontsize=11.5, fontweight="bold", color=palette.ink)
    axes.legend(
        handles=_key(results, palette), loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=5, frameon=False,
        labelcolor=palette.faint, handletextpad=0.4, columnspacing=1.4, fontsize=8.5, borderaxespad=0.2,
    )  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower left", ncols=1, frameon=False, labelcolor=palette.ink, fontsize=8.8,
        title=f"{noun(quality)}: {quality_unit}", title_fontsize=8.5, alignment="left",
    ).get_title().set_color(palette.faint)  # fmt: skip
    return figure


def _mark(axes: Axes, mark: str, palette: Palette, effects: Effects) -> None:
    """Write the mark across the picture, so that it stays there when the picture is cut out of its page."""
    axes.text(
        0.98, 0.90, mark.upper(), transform=axes.transAxes, ha="right", va="top", fontsize=13, fontweight="bold",
        color=palette.limit, path_effects=effects, zorder=5,
    )  # fmt: skip


def _frame(axes: Axes, palette: Palette) -> None:
    axes.set_facecolor("none")
    axes.grid(True, color=palette.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(palette.faint)
    axes.tick_params(colors=palette.faint, length=0)


def _trials(axes: Axes, trials: Sequence[Trial], quality: str, palette: Palette) -> None:
    rasterized = len(trials) > MANY_TRIALS
    for feasible in (False, True):
        points = np.asarray(
            [
                (trial.latency_ms, trial.value(quality))
                for trial in trials
                if trial.feasible is feasible and not trial.on_front
            ]
        ).reshape(-1, 2)
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=13,
            facecolors=palette.trial if feasible else "none",
            edgecolors=palette.trial,
            linewidths=0.0 if feasible else 0.8,
            alpha=0.75,
            rasterized=rasterized,
        )


def _front(axes: Axes, front: Sequence[Trial], quality: str, palette: Palette) -> None:
    latency_ms = np.asarray([trial.latency_ms for trial in front])
    loss = np.asarray([trial.value(quality) for trial in front])
    axes.errorbar(
        latency_ms,
        loss,
        xerr=_interval([(trial.latency_ms, trial.latency_low_ms, trial.latency_high_ms) for trial in front]),
        fmt="none",
        ecolor=palette.interval,
        elinewidth=1.2,
        zorder=2.4,
    )
    axes.plot(latency_ms, loss, color=palette.front, linewidth=1.6, marker="o", markersize=4, zorder=2.6)


def _limit(axes: Axes, limit_ms: float | None, palette: Palette, effects: Effects) -> None:
    """Draw the limit where it is near the trials; a far one would squeeze them, so it is only named."""
    if limit_ms is None:
        return
    left, right = axes.get_xlim()
    near = limit_ms <= right + 0.15 * (right - left)
    if near:
        axes.axvline(limit_ms, color=palette.limit, linewidth=1.3, linestyle=(0, (5, 3)), zorder=2.2)
        axes.set_xlim(left, max(right, limit_ms + 0.03 * (right - left)))
    axes.annotate(
        f"limit {limit_ms:g} ms" if near else f"limit {limit_ms:g} ms, right of here",
        (limit_ms if near else right, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-5, -4),
        ha="right",
        textcoords="offset points",
        va="top",
        color=palette.limit,
        fontsize=8.5,
        path_effects=effects,
    )


def _pick(axes: Axes, pick: ReportedPick, quality: str, marker: str, palette: Palette, effects: Effects) -> Line2D:
    trial, loss = pick.trial, pick.trial.value(quality)
    if pick.measured is not None:
        measured = pick.measured
        axes.plot([trial.latency_ms, measured.latency_ms], [loss] * 2, color=palette.pick, linewidth=1, zorder=2.7)
        axes.errorbar(
            [measured.latency_ms],
            [loss],
            xerr=_interval([(measured.latency_ms, measured.low_ms, measured.high_ms)]),
            fmt=marker,
            color=palette.pick,
            markersize=9,
            markerfacecolor=palette.paper,
            markeredgecolor=palette.pick,
            markeredgewidth=1.4,
            ecolor=palette.pick,
            elinewidth=1,
            capsize=3,
            zorder=2.8,
        )
    axes.plot(
        [trial.latency_ms], [loss], marker=marker, markersize=8.5, color=palette.pick,
        markeredgecolor=palette.paper, markeredgewidth=1, zorder=3,
    )  # fmt: skip
    # Below and left of a front that falls to the right there are no trials: the label is never on top of one.
    axes.annotate(
        pick.title,
        (trial.latency_ms, loss),
        xytext=(-8, -8),
        textcoords="offset points",
        ha="right",
        va="top",
        color=palette.pick,
        fontweight="bold",
        path_effects=effects,
        zorder=4,
    )
    label = f"{pick.title}:  {trial.spec},  {milliseconds(trial.latency_ms)} ms,  {trial.params:,} parameters"
    return Line2D([], [], marker=marker, markersize=7, linestyle="none", color=palette.pick, label=label)


def _key(results: Results, palette: Palette) -> list[Line2D]:
    off_front = [trial for trial in results.trials if not trial.on_front]
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 4.5, "color": palette.trial}
    key = [Line2D([], [], **dot, label="trials")]
    if any(not trial.feasible for trial in off_front):
        key.append(Line2D([], [], **dot, markerfacecolor="none", label="outside the limits"))
    key.append(Line2D([], [], color=palette.front, marker="o", markersize=4, linewidth=1.6, label="front, predicted"))
    key.append(Line2D([], [], color=palette.interval, linewidth=1.6, label="its 95 % interval"))
    if any(pick.measured is not None for pick in results.picks):
        hollow: dict[str, Any] = {"markerfacecolor": palette.paper, "markeredgecolor": palette.pick}
        key.append(Line2D([], [], marker="D", linestyle="none", markersize=6, **hollow, label="pick, measured"))
    return key


def latency_limit_ms(results: Results) -> float | None:
    """The search's latency limit, None where it had none."""
    return results.config["constraints"].get(LATENCY)


def _interval(rows: Sequence[tuple[float, float, float]]) -> npt.NDArray[np.float64]:
    """(value, low, high) of shape (n, 3) to matplotlib's distances below and above, shape (2, n)."""
    value, low, high = np.asarray(rows).T
    return np.maximum([value - low, high - value], 0.0)
