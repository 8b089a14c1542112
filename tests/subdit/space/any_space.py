"""Any space that the model allows, for tests of what holds of all of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import TextInput


def chosen(values: st.SearchStrategy[int], *, most: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    return st.sets(values, min_size=1, max_size=most).map(lambda found: tuple(sorted(found)))


@st.composite
def spaces(draw: st.DrawFn, *, most: int = 3000) -> SearchSpace:
    """Any space that the model allows, up to a grid of 16, with text and time of at most `most` numbers."""
    name = draw(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,12}", fullmatch=True))
    patch, grid = draw(st.sampled_from([1, 2, 4])), 2 * draw(st.integers(1, 8))
    kv_heads, groups = draw(st.integers(1, 4)), draw(chosen(st.integers(1, 6)))
    per_head = draw(st.integers(1, 20))
    widths = tuple(kv_heads * count * per_head for count in groups)
    few = chosen(st.integers(1, 6))
    depths = (draw(few), draw(chosen(st.sampled_from([2, 4, 6]))), draw(few))
    ratios = (draw(few), draw(few), draw(few))
    blocks = draw(chosen(st.sampled_from([count for count in range(1, grid**2 + 1) if grid**2 % count == 0])))
    radii = draw(chosen(st.integers(0, 4)))
    strides = draw(chosen(st.sampled_from([stride for stride in range(1, grid + 1) if grid % stride == 0])))
    texts = draw(st.lists(st.sampled_from(["clip", "t5", "gemma", "words"]), min_size=1, max_size=3, unique=True))
    sizes = st.integers(1, most)
    deepest = tuple(values[-1] for values in depths)
    largest = tuple(values[-1] for values in ratios)
    full = SubDiTSpec(name, widths[-1], deepest, largest, (blocks[0],) * 2, (radii[-1],) * 2, strides[0])
    return SearchSpace(
        name=name,
        latent_size=patch * grid,
        latent_channels=draw(st.sampled_from([1, 3, 4, 16, 32])),
        patch_size=patch,
        widths=widths,
        depths=depths,
        ffn_ratios=ratios,
        bna_blocks=blocks,
        bna_radii=radii,
        kv_compressions=strides,
        head_dim=4 * draw(st.integers(1, 32)),
        full_heads=kv_heads * groups[-1],
        kv_heads=kv_heads,
        text_inputs=tuple(TextInput(text, draw(sizes), draw(sizes)) for text in texts),
        text_width=draw(sizes),
        time_width=2 * draw(sizes),
        rope_theta=draw(st.floats(0.1, 1e6)),
        down_up_skip=draw(st.booleans()),
        named={"full": full, draw(st.sampled_from(["tiny", "no: 1", "yes", "1"])): replace(full, width=widths[0])},
        pipeline=draw(st.sampled_from([(), ("decoder",), ("text_encoder", "decoder")])),
        example_prompt=draw(st.text(st.characters(categories=["L", "N", "P"], include_characters=" "), max_size=20)),
    )
