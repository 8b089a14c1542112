"""The search spaces there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from subdit.errors import SpaceError
from supernet.space._search_space import SearchSpace
from supernet.space._search_space import TextInput
from supernet.space._search_space import check_named
from supernet.space._spec import SubDiTSpec


def _digits() -> SearchSpace:
    """8x8 scans of handwritten digits: the paper's model, small enough to train on a laptop in minutes.

    Patches of 2 as in the paper; widths in steps that give whole groups of heads of 8. At the named points a BNA strip
    is one row of tokens and sees the rows beside it, as the paper's does at 256 pixels; r = 0 leaves a strip to itself.
    """

    def point(width: int) -> SubDiTSpec:
        return SubDiTSpec("digits", width, (2, 4, 3), (4, 3, 4), (4, 4), (1, 1), 2)

    return SearchSpace(
        name="digits",
        latent_size=8,
        latent_channels=1,
        patch_size=2,
        widths=(48, 64, 80, 96),
        depths=((1, 2), (2, 4), (1, 2, 3)),
        ffn_ratios=((1, 2, 3, 4), (1, 2, 3), (1, 2, 3, 4)),
        bna_blocks=(4, 8),
        bna_radii=(0, 1, 2, 3),
        kv_compressions=(2,),
        head_dim=8,
        full_heads=12,
        kv_heads=2,
        text_inputs=(TextInput("words", width=32, tokens=4),),
        text_width=64,
        time_width=128,
        rope_theta=100.0,
        down_up_skip=True,
        named={"tiny": point(48), "small": point(64), "full": point(96)},
    )


_SPACES: dict[str, Callable[[], SearchSpace]] = {"digits": _digits}


def space_names() -> tuple[str, ...]:
    """Names of the search spaces there are."""
    return tuple(_SPACES)


@cache
def get_space(name: str) -> SearchSpace:
    """The search space of that name; raises `SpaceError` with the names there are."""
    if name not in _SPACES:
        raise SpaceError(f"There is no search space {name!r}; there is {', '.join(space_names())}.")
    return check_named(_SPACES[name]())
