"""Names, units and nouns of what a sub-DiT costs and is worth: the same in Python, on the command line and in files.

A name is that of a figure below, with `@` and a device's id after it where it is of a further device, or the id of a
quality proxy, such as `validation_loss`. Columns, objectives, constraints and picks all use these names.
"""

from __future__ import annotations

LATENCY = "latency_ms"
PIPELINE = "pipeline_ms"
PARAMS = "params"
PER_DEVICE = (LATENCY, PIPELINE)
"""Figures that each device has one of."""

_NOUNS = {
    LATENCY: "latency",
    PIPELINE: "latency of a picture",
    PARAMS: "number of parameters",
    "memory_mb": "peak memory",
    "file_mb": "file size",
    "gflops": "work of a step",
}
FIGURES = tuple(_NOUNS)
"""What a sub-DiT costs; less is better."""
_UNITS = {"ms": "ms", "mb": "MB", "gflops": "GFLOP"}


def is_figure(name: str) -> bool:
    """Whether it is a cost, on any device, and no quality proxy."""
    return name.partition("@")[0] in FIGURES


def unit(name: str) -> str:
    """The unit of a figure, empty where it has none."""
    figure = name.partition("@")[0]
    return _UNITS.get(figure.rpartition("_")[2], "") if figure in _NOUNS else ""


def noun(name: str) -> str:
    """What a figure or a quality proxy is in a sentence, such as "file size" or "validation loss"."""
    figure, _, device = name.partition("@")
    return _NOUNS.get(figure, figure.replace("_", " ")) + (f" on {device}" if device else "")


def is_latency(name: str) -> bool:
    """Whether it is a time, so that less of it is faster."""
    return unit(name) == "ms"


def limit_text(name: str, limit: float) -> str:
    """A limit, such as "at most 1.5 MB of file size"."""
    if name == PARAMS:
        return f"at most {int(limit):,} parameters"
    amount = f"{limit:g} {unit(name)}".rstrip()
    return f"at most {amount} of {noun(name)}"
