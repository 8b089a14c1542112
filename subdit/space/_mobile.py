"""Spaces `mobile-1k-D-M-U`: the paper's model at its size, with other layer counts (SnapGen++, arXiv 2601.08303).

`spaces/mobile-1k.yaml` lists what the paper gives and what is chosen. The totals of these layer counts and widths round
to the published 0.3, 0.4 and 1.6 billion:

    layers    full width    tiny / small / full, billions
    8/10/10   2176          0.257 / 0.433 / 1.623
    6/20/8    1920          0.252 / 0.422 / 1.569
    6/20/10   1856          0.254 / 0.425 / 1.575
"""

from __future__ import annotations

import re
from dataclasses import replace

from subdit.core.errors import SpaceError
from subdit.space._dimensions import STAGES
from subdit.space._search_space import SearchSpace

NAME = "mobile-1k"
LAYERS = (8, 10, 10)
FULL_WIDTHS = {LAYERS: 2176, (6, 20, 8): 1920, (6, 20, 10): 1856}
MOST_LAYERS = 64

Layers = tuple[int, int, int]


def presets() -> dict[str, Layers]:
    """The layer counts that the paper's figure may show, by the names of their spaces."""
    return {name_of(layers): layers for layers in FULL_WIDTHS}


def name_of(layers: Layers) -> str:
    """Name of the space with these layer counts; the one with the default counts is `mobile-1k`."""
    return NAME if layers == LAYERS else "-".join([NAME, *map(str, layers)])


def layers_of(name: str) -> Layers | None:
    """Layer counts in the name of a space, None where it is no name of this family.

    Raises `SpaceError` on layer counts that no space has.
    """
    if name == NAME:
        return LAYERS
    match = re.fullmatch(rf"{NAME}-(\d+)-(\d+)-(\d+)", name)
    if match is None:
        return None
    down, middle, up = (int(count) for count in match.groups())
    if name != "-".join([NAME, str(down), str(middle), str(up)]):
        raise SpaceError(f"Space {name!r} writes a layer count with a leading zero; leave it out.")
    for stage, count in zip(STAGES, (down, middle, up), strict=True):
        if not 1 <= count <= MOST_LAYERS:
            raise SpaceError(f"Space {name!r} has {count} layers in {stage}; give each stage 1 to {MOST_LAYERS}.")
    if middle % 2:
        raise SpaceError(f"Space {name!r} has {middle} layers in middle; U-ViT skips pair blocks, so it must be even.")
    return down, middle, up


def with_layers(space: SearchSpace, layers: Layers) -> SearchSpace:
    """`mobile-1k` with other layer counts: depths down to half of each stage in quarters, widths in eighths.

    A preset has a width of its own. Other layer counts keep the width of `mobile-1k`, so their totals differ.
    """
    name, full_width = name_of(layers), FULL_WIDTHS.get(layers, space.full_width)

    def scaled(width: int) -> int:
        return width * full_width // space.full_width

    return replace(
        space,
        name=name,
        widths=tuple(map(scaled, space.widths)),
        depths=(_shallower(layers[0], 1), _shallower(layers[1], 2), _shallower(layers[2], 1)),
        named={
            point: replace(spec, space=name, width=scaled(spec.width), depth=layers)
            for point, spec in space.named.items()
        },
    )


def _shallower(full: int, step: int) -> tuple[int, ...]:
    """Depths from half of `full` to `full` in quarters, which differ by multiples of `step`."""
    quarter = max(step, full // 4 // step * step)
    return tuple(depth for depth in (full - 2 * quarter, full - quarter, full) if depth >= max(step, full / 2))
