"""Figures of sub-DiTs as a picture: one panel per figure, with real images as the reference line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from subdit.core.files import replacing
from subdit.core.origin import KEY
from supernet.evaluation.figures import Conditions
from supernet.evaluation.figures import Evaluation
from supernet.evaluation.figures import Evaluations
from supernet.evaluation.judge import ACCURACY
from supernet.evaluation.judge import GAUSSIAN
from supernet.evaluation.judge import LOWER_IS_BETTER
from supernet.evaluation.judge import NN_RATIO

PANELS = 3
"""Panels per row."""
_TITLES = {GAUSSIAN: "Gaussian kernel distance", NN_RATIO: "Nearest-neighbour ratio"}
_TITLE_POINTS, _LABEL_POINTS = 11, 9


def save_plot(evaluations: Evaluations, path: Path, *, supernet: str) -> Path:
    """Write a PNG of evaluations, a dot for each seed; its metadata hold the digest of the weights."""
    from matplotlib.figure import Figure

    points = list(dict.fromkeys(_label(each) for each in evaluations.models))
    names = list(dict.fromkeys(name for each in evaluations for name in each.figures))
    rows = -(-len(names) // PANELS)
    figure = Figure(figsize=(3.8 * PANELS, 0.8 + rows * (1.2 + 0.32 * len(points))), dpi=150, layout="constrained")
    panels = figure.subplots(rows, PANELS, squeeze=False, sharey=True).ravel()
    for panel, name in zip(panels, names, strict=False):
        _draw(panel, name, evaluations, points)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    figure.suptitle(f"{conditions_text(evaluations)}; dashed: real images", fontsize=_LABEL_POINTS)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None, KEY: supernet})
    return path


def figure_title(name: str) -> str:
    """The heading of a figure's panel, such as "Frechet distance"."""
    if name.startswith(ACCURACY):
        return f"Accuracy of {name.removeprefix(ACCURACY)}"
    return _TITLES.get(name, name.replace("_", " ").capitalize())


def sampling_text(conditions: Conditions) -> str:
    """Euler steps, and the shift if it is not 1."""
    if conditions.steps is None or conditions.shift is None:
        return "-"
    return f"{conditions.steps}" + (f", shift {conditions.shift:g}" if conditions.shift != 1 else "")


def conditions_text(evaluations: Evaluations) -> str:
    """The conditions that the figures of one call share, as one line."""
    has = evaluations.models[0].conditions
    return (
        f"{has.samples:,} samples each, guidance scale {has.guidance_scale:g}, features {has.feature_space} "
        f"{has.feature_hash}, reference {has.reference_hash}"
    )


def _draw(panel: Any, name: str, evaluations: Evaluations, points: list[str]) -> None:
    for each in evaluations.models:
        if (value := each.figures.get(name)) is not None:
            panel.plot(value, points.index(_label(each)), "o", color="#1f6f8b", markersize=5, alpha=0.8)
    for each in evaluations.real:
        if (value := each.figures.get(name)) is not None:
            panel.axvline(value, color="#d1495b", linestyle="--", linewidth=1)
    panel.set_title(figure_title(name), fontsize=_TITLE_POINTS)
    if name in LOWER_IS_BETTER:
        panel.set_xlabel("lower is better", fontsize=_LABEL_POINTS)
    panel.set_yticks(range(len(points)), points)
    panel.set_ylim(len(points) - 0.5, -0.5)
    panel.tick_params(labelsize=_LABEL_POINTS)
    panel.grid(axis="x", color="#e3e7ec")
    panel.spines[["top", "right"]].set_visible(False)


def _label(evaluation: Evaluation) -> str:
    return f"{evaluation.point}, steps {sampling_text(evaluation.conditions)}"
