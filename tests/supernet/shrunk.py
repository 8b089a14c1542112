"""Small spaces of the same structure as the named ones, so that what holds of them can be tested in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import TextInput
from subdit.space import get_space
from subdit.space import register_space
from subdit.space import space_names


def shrunk(space: SearchSpace) -> SearchSpace:
    """A registered space with the same layers, heads, FFN ratios, strips, radii, strides and number of text encoders.

    What shrinks: the grid, as far as strips and strides allow and four compressed tokens remain, the hidden width per
    query head, the head size, the text and time widths. `digits` is small as it is.
    """
    if space.name == "digits":
        return space
    grid = 2 * space.kv_compressions[-1]
    while any(grid**2 % blocks for blocks in space.bna_blocks):
        grid += 2
    per_head = 2 if space.full_heads < 32 else 1
    name = f"{space.name}-shrunk"

    def width(full_size: int) -> int:
        return per_head * space.heads(full_size)

    return register_space(
        replace(
            space,
            name=name,
            latent_size=2 * grid,
            patch_size=2,
            latent_channels=min(space.latent_channels, 2),
            widths=tuple(width(full_size) for full_size in space.widths),
            head_dim=4,
            text_inputs=tuple(TextInput(text.name, 8 + 2 * at, 3 + at) for at, text in enumerate(space.text_inputs)),
            text_width=12,
            time_width=16,
            rope_theta=100.0,
            named={key: replace(spec, space=name, width=width(spec.width)) for key, spec in space.named.items()},
        )
    )


def named_spaces() -> list[SearchSpace]:
    return [get_space(name) for name in SHIPPED]


def shrunk_spaces() -> list[SearchSpace]:
    return [shrunk(space) for space in named_spaces()]


def specs(space: SearchSpace) -> st.SearchStrategy[SubDiTSpec]:
    """Any sub-DiT of the space; shrinks towards the smallest."""
    sizes = [len(values) for values in space.dimensions.values()]
    rows = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    return rows.map(lambda row: space.decode(np.asarray([row]))[0])


SHIPPED = tuple(name for name in space_names() if not name.endswith("-shrunk"))
