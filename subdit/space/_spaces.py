"""The search spaces there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from functools import partial

from subdit.core.errors import SpaceError
from subdit.space import _mobile
from subdit.space._search_space import SearchSpace
from subdit.space._space_definition import TextInput
from subdit.space._spec import SubDiTSpec


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
        pipeline=(),
        named={"tiny": point(48), "small": point(64), "full": point(96)},
    )


def _mid_256() -> SearchSpace:
    """A latent of 32x32x4 as 256 tokens: large enough to time, small enough to export whole in seconds.

    For tests and benchmarks; elastic in everything. At the named points a BNA strip is one row of tokens, as the
    paper's is at 256 pixels.
    """

    def point(width: int) -> SubDiTSpec:
        return SubDiTSpec("mid-256", width, (4, 6, 4), (4, 3, 4), (16, 16), (1, 1), 2)

    return SearchSpace(
        name="mid-256",
        latent_size=32,
        latent_channels=4,
        patch_size=2,
        widths=(128, 192, 256, 320, 384),
        depths=((2, 3, 4), (2, 4, 6), (2, 3, 4)),
        ffn_ratios=((2, 3, 4), (2, 3), (2, 3, 4)),
        bna_blocks=(4, 8, 16),
        bna_radii=(1, 2),
        kv_compressions=(2, 4),
        head_dim=32,
        full_heads=12,
        kv_heads=2,
        text_inputs=(TextInput("clip", width=512, tokens=77),),
        text_width=256,
        time_width=256,
        rope_theta=10_000.0,
        named={"tiny": point(128), "small": point(192), "full": point(384)},
    )


_SPACES: dict[str, Callable[[], SearchSpace]] = {
    "digits": _digits,
    "mid-256": _mid_256,
    **{name: partial(_mobile.mobile_1k, layers) for name, layers in _mobile.presets().items()},
    "paper": _mobile.paper,
}
_registered: dict[str, SearchSpace] = {}


def space_names() -> tuple[str, ...]:
    """Names of the search spaces there are, registered ones last."""
    return (*_SPACES, *_registered)


def register_space(space: SearchSpace) -> SearchSpace:
    """Make a space of one's own known to `get_space` by its name, in this process; returns it.

    A checkpoint names its space, so register it before loading one. The space needs a point named `full`, the largest
    in width, depth and FFN ratio, which is the network that the supernet holds. Raises `SpaceError` where that is
    missing or another space has the name.
    """
    _check_full(space)
    known = _find(space.name)
    if known is not None and known != space:
        raise SpaceError(f"There is another search space named {space.name!r} already; choose a name of its own.")
    if known is None:
        _registered[space.name] = space
    return space


def get_space(name: str) -> SearchSpace:
    """The search space of that name; raises `SpaceError` with the names there are.

    `mobile-1k-D-M-U` is `mobile-1k` with D, M and U layers in the down, middle and up stages; M is even.
    """
    found = _find(name)
    if found is None:
        raise SpaceError(
            f"There is no search space {name!r}; there is {', '.join(space_names())}, and {_mobile.NAME}-D-M-U with "
            "other layer counts."
        )
    return found


def _find(name: str) -> SearchSpace | None:
    return _registered.get(name) or _built(name)


@cache
def _built(name: str) -> SearchSpace | None:
    if name in _SPACES:
        return _check_full(_SPACES[name]())
    layers = _mobile.layers_of(name)
    return None if layers is None else _check_full(_mobile.mobile_1k(layers))


def _check_full(space: SearchSpace) -> SearchSpace:
    """The space, if it has a point `full` that holds all of its sub-DiTs; raises `SpaceError` otherwise."""
    if "full" not in space.named:
        raise SpaceError(f"Space {space.name!r} has no point named 'full', which its supernet would be; name one.")
    full = space.values(space.named["full"])
    for column in space.columns:
        label, largest = column.label, column.values[-1]
        if column.dimension.is_nested and full[label] < largest:
            raise SpaceError(
                f"Space {space.name!r} has a point 'full' with {label} {full[label]}, which cannot hold {label} "
                f"{largest}; full is the largest."
            )
    return space
