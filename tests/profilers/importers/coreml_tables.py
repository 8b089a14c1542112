"""Kits by hand, and their tables of Core ML latencies filled in as a person would."""

from __future__ import annotations

import csv
from pathlib import Path

from profilers.importers import coreml_template
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from subdit.space import all_components
from subdit.space import get_space

SPACE = get_space("digits")
NAMES = tuple(component.name for component in all_components(SPACE))
HASH = "0123456789abcdef"
# What is typed beside the names above the rows.
HEAD = {"Device": "iPhone 16 Pro", "OS": "iOS 18.1", "Compute units": "All"}


def kit_of(names: tuple[str, ...] = NAMES, hash_: str = HASH) -> Kit:
    """A kit of digits with these components, without files, and its named sub-DiTs."""
    entries = tuple(KitEntry(name, Path(name), Path(name)) for name in names)
    wholes = tuple(KitEntry(spec.hash, Path(spec.hash), Path(spec.hash), spec) for spec in SPACE.named.values())
    return Kit(Path("kits/digits"), "digits", "torch", "fp32", hash_, entries, wholes)


def latency_ms(name: str) -> float:
    """A plausible one: more for what is wider."""
    width = name.partition("-w")[2].partition("-")[0]
    return 0.3 + int(width or 64) / 400


def fill(text: str, head: dict[str, str] = HEAD, operations: tuple[str, str] = ("14", "0")) -> str:
    """The template with every cell filled; the later reports are 1 and 2 % above the first."""
    made = []
    for cells in csv.reader(text.splitlines()):
        if cells[0] in head:
            cells = [cells[0], head[cells[0]]]
        elif cells[0].endswith(".mlpackage"):
            ms = latency_ms(cells[0].removesuffix(".mlpackage"))
            reports = [f"{ms * (1 + at / 100):.4f}" for at in range(len(cells) - 4)]
            cells = [*cells[:2], *reports, *operations]
        made.append(",".join(cells))
    return "\n".join(made) + "\n"


def filled(reports: int = 3, names: tuple[str, ...] = NAMES) -> str:
    return fill(coreml_template(kit_of(names), reports))
