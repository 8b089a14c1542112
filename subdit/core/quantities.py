"""What figures of a sub-DiT are called in sentences: nouns and units by the names of columns, limits and objectives.

A name is that of a figure, with `@` and a device's id after it where it is of a further device, or "quality" for the
first quality proxy and "quality_ID" for another.
"""

from __future__ import annotations

_UNITS = {"ms": "ms", "mb": "MB", "gflops": "GFLOP"}
_NOUNS = {
    "latency_ms": "latency",
    "pipeline_ms": "latency of a picture",
    "params": "number of parameters",
    "memory_mb": "peak memory",
    "file_mb": "file size",
    "gflops": "work of a step",
    "quality": "quality loss",
}


def unit(name: str) -> str:
    """The unit of a figure, empty where it has none."""
    return _UNITS.get(name.partition("@")[0].rpartition("_")[2], "")


def noun(name: str) -> str:
    """What a figure is, such as "file size"."""
    figure, _, device = name.partition("@")
    if figure.startswith("quality_"):
        return f"quality loss by {figure.removeprefix('quality_')}"
    return _NOUNS.get(figure, figure) + (f" on {device}" if device else "")


def is_latency(name: str) -> bool:
    """Whether it is a time, so that less of it is faster."""
    return unit(name) == "ms"


def limit_text(name: str, limit: float) -> str:
    """A limit, such as "at most 1.5 MB of file size"."""
    if name == "params":
        return f"at most {int(limit):,} parameters"
    amount = f"{limit:g} {unit(name)}".rstrip()
    return f"at most {amount} of {noun(name)}"
