"""The paper's model at the paper's size: `mobile-1k`, `mobile-1k-D-M-U` and `paper` (SnapGen++, arXiv 2601.08303).

The paper gives the latent, the three stages, 8 key-value heads, FFN 4/3/4, B = 16, r = 1, the fractions of the width
and the totals 0.3, 0.4 and 1.6 billion. It does not give the layer counts, the width or the heads, so those are chosen
here such that all three totals round to the published ones:

    layers    full width    tiny / small / full, billions
    8/10/10   2176          0.257 / 0.433 / 1.623
    6/20/8    1920          0.252 / 0.422 / 1.569
    6/20/10   1856          0.254 / 0.425 / 1.575

The full model has 64 query heads of 32 whatever its width: of the head sizes in use, that many give a whole number of
query heads per key-value head at every fraction (24, 32 and 64 heads, 8 of them key-value heads), so attention is 2048
numbers wide and need not be as wide as the hidden state.
"""

from __future__ import annotations

import re
from typing import Any

from subdit.core.errors import SpaceError
from subdit.space._dimensions import STAGES
from subdit.space._search_space import SearchSpace
from subdit.space._space_definition import TextInput
from subdit.space._spec import SubDiTSpec

NAME = "mobile-1k"
HEADS = 64
EIGHTHS = (3, 4, 5, 6, 7, 8)
LAYERS = (8, 10, 10)
FULL_WIDTHS = {LAYERS: 2176, (6, 20, 8): 1920, (6, 20, 10): 1856}
MOST_LAYERS = 64

Layers = tuple[int, int, int]


def presets() -> dict[str, Layers]:
    """The layer counts that readings of the paper's figure suggest, by the names of their spaces."""
    return {name_of(layers): layers for layers in FULL_WIDTHS}


def name_of(layers: Layers) -> str:
    """Name of the space with these layer counts; `mobile-1k` itself is the one with the default counts."""
    return NAME if layers == LAYERS else "-".join([NAME, *map(str, layers)])


def layers_of(name: str) -> Layers | None:
    """Layer counts in the name of a space, None where it is no name of this family; raises `SpaceError` where they
    cannot be had."""
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


def mobile_1k(layers: Layers = LAYERS) -> SearchSpace:
    """Images of 1024 pixels on a phone: the paper's three widths, and finer choices around them as an extension.

    Widths go in eighths, depths down to half of each stage in quarters, FFN ratios down to 2; strips B of 4, 2
    and 1 rows of tokens; r of 1 and 2 strips; keys and values compressed by 2 or 4 per side. Layer counts other than
    the presets keep the width of `mobile-1k` and so change the totals.
    """
    full_width = FULL_WIDTHS.get(layers, FULL_WIDTHS[LAYERS])
    name = name_of(layers)
    return _space(
        name,
        full_width,
        layers,
        widths=tuple(full_width * eighths // 8 for eighths in EIGHTHS),
        depths=(_shallower(layers[0], 1), _shallower(layers[1], 2), _shallower(layers[2], 1)),
        ffn_ratios=((2, 3, 4), (2, 3), (2, 3, 4)),
        bna_blocks=(16, 32, 64),
        bna_radii=(1, 2),
        kv_compressions=(2, 4),
    )


def paper() -> SearchSpace:
    """What the paper itself makes elastic: three widths and nothing else."""
    down, middle, up = LAYERS
    return _space(
        "paper",
        FULL_WIDTHS[LAYERS],
        LAYERS,
        widths=tuple(FULL_WIDTHS[LAYERS] * eighths // 8 for eighths in (3, 4, 8)),
        depths=((down,), (middle,), (up,)),
        ffn_ratios=((4,), (3,), (4,)),
        bna_blocks=(16,),
        bna_radii=(1,),
        kv_compressions=(2,),
    )


def _shallower(full: int, step: int) -> tuple[int, ...]:
    """Depths from `full` down to no less than half of it in quarters, each a multiple of `step` below it."""
    quarter = max(step, full // 4 // step * step)
    return tuple(depth for depth in (full - 2 * quarter, full - quarter, full) if depth >= max(step, full / 2))


def _space(name: str, full_width: int, layers: Layers, **elastic: Any) -> SearchSpace:
    def point(eighths: int) -> SubDiTSpec:
        return SubDiTSpec(name, full_width * eighths // 8, layers, (4, 3, 4), (16, 16), (1, 1), 2)

    return SearchSpace(
        name=name,
        latent_size=128,
        latent_channels=16,
        patch_size=2,
        **elastic,
        head_dim=32,
        full_heads=HEADS,
        kv_heads=8,
        # TinyCLIP and Gemma-3-4b-it: the encoders are published, the token counts are not.
        text_inputs=(TextInput("clip", width=512, tokens=77), TextInput("gemma", width=2560, tokens=128)),
        text_width=1024,
        time_width=1024,
        rope_theta=10_000.0,
        named={"tiny": point(3), "small": point(4), "full": point(8)},
    )
