"""The search spaces against slow, independent references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.modeling_utils import no_init_weights
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from subdit.core.errors import SpaceError
from subdit.core.errors import SpecError
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import TextInput
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_flops
from subdit.space import component_params
from subdit.space import components
from subdit.space import components_by_stage
from subdit.space import components_up_to
from subdit.space import count_flops
from subdit.space import count_params
from subdit.space import get_space
from subdit.space import register_space
from subdit.space import space_names
from supernet.model.components import component_module
from supernet.model.dit import SubDiT
from tests.supernet.shrunk import SHIPPED
from tests.supernet.shrunk import specs

DIGITS = get_space("digits")
MOBILE = get_space("mobile-1k")
every_space = pytest.mark.parametrize("space", [get_space(name) for name in SHIPPED], ids=SHIPPED)


# Specs as points ------------------------------------------------------------------------------------------------------


@every_space
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_spec_survives_every_road(space: SearchSpace, data: st.DataObject) -> None:
    spec = data.draw(specs(space))
    assert space.decode(space.encode([spec])) == [spec]
    assert space.spec(space.values(spec)) == spec
    assert SubDiTSpec.from_json(spec.to_json()) == spec
    assert len(spec.hash) == 10


@every_space
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_vectorised_counts_equal_slow_ones(space: SearchSpace, data: st.DataObject) -> None:
    spec = data.draw(specs(space))
    encoded = space.encode([spec])
    row = component_counts(space, encoded)[0]
    counted = {component: int(count) for component, count in zip(all_components(space), row, strict=True) if count}
    slow = components(space, spec)
    assert Counter(counted) == slow == sum(components_by_stage(space, spec).values(), Counter())
    for size_of, total in ((component_params, count_params), (component_flops, count_flops)):
        assert total(space, encoded)[0] == sum(size_of(space, component) * count for component, count in slow.items())


@pytest.mark.parametrize("name", ["digits", "mid-256", "mobile-1k"])
def test_components_of_small_sub_dits_are_those_that_all_of_them_have(name: str) -> None:
    whole = get_space(name)
    space = replace(
        whole,
        widths=whole.widths[-3:],
        depths=tuple(depths[:2] for depths in whole.depths),
        bna_blocks=whole.bna_blocks[:2],
        bna_radii=whole.bna_radii[:2],
        named={},
    )
    rows = space.enumerate()
    params, counts = count_params(space, rows), component_counts(space, rows) > 0
    assert components_up_to(space, None) == all_components(space) == components_up_to(space, int(params.max()))
    assert components_up_to(space, int(params.min()) - 1) == ()
    several = set()
    for limit in np.quantile(params, np.linspace(0, 1, 25)).astype(int).tolist():
        # Every sub-DiT, one by one, against those that the closed form looks at.
        found = counts[params <= limit].any(axis=0)
        expected = tuple(
            component for component, is_found in zip(all_components(space), found, strict=True) if is_found
        )
        assert components_up_to(space, limit) == expected
        several.add(len(expected))
    assert len(several) > 5


@every_space
def test_closed_form_params_equal_torch(space: SearchSpace) -> None:
    for spec in {*space.decode(space.sample(np.random.default_rng(11), 2)), space.named["full"]}:
        with torch.device("meta"), no_init_weights():
            model = SubDiT.from_spec(space, spec)
        assert count_params(space, space.encode([spec]))[0] == sum(p.numel() for p in model.parameters())


@every_space
def test_component_names_are_read_back(space: SearchSpace) -> None:
    for component in all_components(space):
        assert Component.from_name(component.name) == component


@pytest.mark.parametrize("space", [DIGITS, get_space("mid-256")], ids=lambda space: space.name)
def test_every_component_is_a_module_with_its_params(space: SearchSpace) -> None:
    for component in all_components(space):
        # The radius changes no parameter, and mid-256 takes long to build at every width.
        if component.bna_radius <= 1 and (space is DIGITS or component.width in (0, space.widths[0])):
            module = component_module(space, component).module
            assert component_params(space, component) == sum(p.numel() for p in module.parameters()), component.name


@every_space
def test_enumeration_is_complete_and_distinct(space: SearchSpace) -> None:
    rows = space.enumerate()
    sizes = [len(values) for values in space.dimensions.values()]
    assert len(rows) == space.size == len(np.unique(np.ravel_multi_index(rows.T, sizes)))
    assert (rows >= 0).all() and (rows < sizes).all()
    assert space.size < 600_000, "a search looks at every spec once"


# The spaces there are -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobile-1k", "mobile-1k-6-20-8", "mobile-1k-6-20-10", "paper"])
def test_the_papers_sizes(name: str) -> None:
    """0.3, 0.4 and 1.6 billion parameters at 0.375, 0.5 and 1.0 of the width (paper, section 4)."""
    space = get_space(name)
    points = [space.named[point] for point in ("tiny", "small", "full")]
    assert [round(params / 1e9, 1) for params in count_params(space, space.encode(points)).tolist()] == [0.3, 0.4, 1.6]
    assert [spec.width / space.full_width for spec in points] == [0.375, 0.5, 1.0]
    assert [space.heads(spec.width) for spec in points] == [24, 32, 64]
    assert (space.kv_heads, space.grid, space.tokens, space.middle_grid) == (8, 64, 4096, 32)
    assert all(spec.ffn_ratio == (4, 3, 4) and spec.bna_blocks == (16, 16) for spec in points)


def test_the_papers_space_is_elastic_in_width_alone() -> None:
    paper = get_space("paper")
    assert paper.size == 3
    mine = [replace(spec, space="mobile-1k") for spec in paper.decode(paper.enumerate())]
    assert mine == list(MOBILE.named.values())


@pytest.mark.parametrize("layers", [(8, 10, 10), (6, 20, 8), (6, 20, 10), (1, 2, 1), (3, 28, 5), (64, 64, 64)])
def test_layer_counts_are_part_of_a_name(layers: tuple[int, int, int]) -> None:
    space = get_space("mobile-1k-" + "-".join(map(str, layers)))
    assert tuple(depths[-1] for depths in space.depths) == space.named["full"].depth == layers
    assert all(2 * depths[0] >= depths[-1] for depths in space.depths)
    assert get_space(space.name) == space
    assert (space == MOBILE) == (layers == (8, 10, 10))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobile-1k-8-9-10", "9 layers in middle"),
        ("mobile-1k-0-2-2", "0 layers in down"),
        ("mobile-1k-2-2-65", "65 layers in up"),
        ("mobile-1k-08-10-10", "leading zero"),
        ("mobile-1k-8-10", "no search space 'mobile-1k-8-10'"),
        ("mars", "digits.*mid-256.*mobile-1k.*paper"),
    ],
)
def test_what_is_no_space_is_refused(name: str, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        get_space(name)


def test_a_space_of_ones_own_is_known_by_its_name() -> None:
    mine = renamed(DIGITS, "my-digits")
    with pytest.raises(SpaceError, match="my-digits"):
        get_space("my-digits")
    assert register_space(mine) is mine is get_space("my-digits")
    assert register_space(renamed(DIGITS, "my-digits")) == mine
    assert "my-digits" in space_names()
    with pytest.raises(SpaceError, match="another search space named 'my-digits'"):
        register_space(replace(mine, rope_theta=5.0))
    with pytest.raises(SpaceError, match="another search space named 'mobile-1k'"):
        register_space(renamed(DIGITS, "mobile-1k"))
    with pytest.raises(SpaceError, match="another search space named 'mobile-1k-2-4-2'"):
        register_space(renamed(DIGITS, "mobile-1k-2-4-2"))


def renamed(space: SearchSpace, name: str) -> SearchSpace:
    return replace(space, name=name, named={key: replace(spec, space=name) for key, spec in space.named.items()})


# What cannot exist ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "change", "said"),
    [
        (DIGITS, {"latent_size": 9}, "latent of 9 that patches of 2"),
        (DIGITS, {"latent_size": 10}, "odd grid of 5"),
        (DIGITS, {"latent_size": 0}, "latent_size 0"),
        (DIGITS, {"patch_size": -2}, "patch_size -2"),
        (DIGITS, {"latent_channels": 1.5}, "latent_channels 1.5"),
        (DIGITS, {"kv_heads": 0}, "kv_heads 0"),
        (DIGITS, {"kv_heads": 5}, "width 48 with 6 query heads, which 5 key-value heads"),
        (DIGITS, {"full_heads": 9}, "width 48 with 4.5 query heads"),
        (MOBILE, {"widths": (816, 850, 2176)}, "width 850 with 25 query heads, which 8 key-value heads"),
        (DIGITS, {"head_dim": 6}, "head_dim 6"),
        (DIGITS, {"bna_blocks": (4, 5)}, "4x4 tokens into 5 strips"),
        (MOBILE, {"bna_blocks": (16, 48)}, "64x64 tokens into 48 strips"),
        (DIGITS, {"bna_radii": (-1, 1)}, "bna_radius_down as .-1, 1"),
        (DIGITS, {"bna_radii": ()}, "bna_radius_down as"),
        (DIGITS, {"kv_compressions": (2, 3)}, "4x4 tokens by 3 per side"),
        (MOBILE, {"latent_size": 132, "bna_blocks": (4,)}, "66x66 tokens by 4 per side"),
        (MOBILE, {"latent_size": 130}, "odd grid of 65"),
        (DIGITS, {"depths": ((1, 2), (2, 3), (1,))}, "middle depth of 3"),
        (DIGITS, {"depths": ((0, 2), (2,), (1,))}, "depth_down as .0, 2"),
        (DIGITS, {"ffn_ratios": ((4, 3), (3,), (4,))}, "ffn_ratio_down as .4, 3"),
        (DIGITS, {"widths": (48.0, 96)}, "width as .48.0, 96"),
        (DIGITS, {"time_width": 129}, "time_width 129"),
        (DIGITS, {"rope_theta": 0.0}, "rope_theta 0.0"),
        (DIGITS, {"text_inputs": ()}, "text inputs"),
        (DIGITS, {"text_inputs": (TextInput("a", 8, 2), TextInput("a", 8, 2))}, r"text inputs \['a', 'a'\]"),
        (DIGITS, {"text_inputs": (TextInput("a", 8, 0),)}, "'a' of 0 tokens"),
        (DIGITS, {"depths": ((1,), (2, 4), (1, 2, 3))}, "'tiny' .* depth_down 2"),
        (DIGITS, {"name": "mars"}, "'tiny' .* of space 'digits'"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_space_that_cannot_exist_is_refused(space: SearchSpace, change: Mapping[str, object], said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        replace(space, **change)


@pytest.mark.parametrize(("named", "said"), [({}, "no point named 'full'"), ("tiny", "'full' with width 48")])
def test_a_space_whose_full_point_holds_not_all_is_not_registered(named: object, said: str) -> None:
    points = {"full": DIGITS.named["tiny"]} if named else {}
    with pytest.raises(SpaceError, match=said):
        register_space(renamed(replace(DIGITS, named=points), "my-small-digits"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"width": 33}, "33"),
        ({"depth": [9, 4, 2]}, "9"),
        ({"bna_blocks": [4, 5]}, "5"),
        ({"bna_radius": [1, 4]}, "4"),
        ({"kv_compression": 4}, "4"),
        ({"space": "mars"}, "mars"),
    ],
)
def test_foreign_specs_are_refused_by_name(change: dict[str, object], named: str) -> None:
    values = {**DIGITS.named["full"].to_dict(), **change}
    with pytest.raises(SpecError, match=named):
        DIGITS.check(SubDiTSpec.from_dict(values))


def test_values_of_unknown_or_missing_dimensions_are_refused() -> None:
    values = DIGITS.values(DIGITS.named["full"])
    with pytest.raises(SpecError, match="unknown 'colour'"):
        DIGITS.spec({**values, "colour": 1})
    with pytest.raises(SpecError, match="lack 'width'"):
        DIGITS.spec({label: value for label, value in values.items() if label != "width"})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"width": 1}', '{"space": 3}', "null", '{"colour": 1}'])
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        SubDiTSpec.from_json(text)
