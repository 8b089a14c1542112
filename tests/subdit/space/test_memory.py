"""Activation memory in closed form equals what watching the forward finds, to the byte."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from diffusers.models.modeling_utils import no_init_weights

from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import activation_bytes
from subdit.space import components_by_stage
from subdit.space import get_space
from subdit.space import part_activation_bytes
from supernet.model.costs import measure_costs
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from tests.supernet.part_costs import measure_parts
from tests.supernet.part_costs import part_costs
from tests.supernet.shrunk import SHIPPED
from tests.supernet.shrunk import shrunk


def watched(space: SearchSpace, spec: SubDiTSpec, dtype: torch.dtype | None = None) -> tuple[int, int]:
    """Live bytes with attention as plain operators and fused."""
    with torch.device("meta"), no_init_weights():
        model = SubDiT.from_spec(space, spec)
    costs = measure_costs(model, example_inputs(space), dtype=dtype)
    return costs.activation_bytes, costs.fused_activation_bytes


def watched_parts(space: SearchSpace, spec: SubDiTSpec, *, fused: bool) -> dict[tuple[str, str], int]:
    """Live bytes of the whole model while each part of it runs, in float32."""
    with torch.device("meta"), no_init_weights():
        model = SubDiT.from_spec(space, spec)
    parts = measure_parts(model, example_inputs(space))
    found = {
        (stage, component.kind): part_costs(parts, stage, component.kind)
        for stage, count in components_by_stage(space, spec).items()
        for component in count
    }
    return {part: one.fused_activation_bytes if fused else one.activation_bytes for part, one in sorted(found.items())}


def computed(space: SearchSpace, spec: SubDiTSpec, element_bytes: int = 4) -> tuple[int, int]:
    encoded = space.encode([spec])
    plain = activation_bytes(space, encoded, element_bytes=element_bytes)
    return int(plain[0]), int(activation_bytes(space, encoded, element_bytes=element_bytes, fused=True)[0])


def shallow(space: SearchSpace) -> SearchSpace:
    """With fewer blocks; of every block but those that wait for a long skip there is another just like it."""
    deepest = max(depths[-1] for depths in space.depths)
    return dataclasses.replace(space, depths=((1,), (2, 4, 8), (1,)), named={}) if deepest > 4 else space


# The long loops over strips of mobile-1k take torch seconds each.
LARGE = [name for name in SHIPPED if name.startswith("mobile-1k")]


@pytest.mark.parametrize("name", [*(name for name in SHIPPED if name not in LARGE), LARGE[0]])
def test_random_sub_dits_of_shrunken_spaces(name: str) -> None:
    space = shallow(shrunk(get_space(name)))
    for spec in space.decode(space.sample(np.random.default_rng(1), 1 if name in LARGE else 3)):
        assert computed(space, spec) == watched(space, spec), str(spec)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("name", [*(name for name in SHIPPED if name not in LARGE), LARGE[0]])
def test_parts_of_random_sub_dits_of_shrunken_spaces(name: str, fused: bool) -> None:
    space = shallow(shrunk(get_space(name)))
    (spec,) = space.decode(space.sample(np.random.default_rng(4), 1))
    parts = part_activation_bytes(space, spec, element_bytes=4, fused=fused)
    assert dict(sorted(parts.items())) == watched_parts(space, spec, fused=fused), str(spec)
    assert max(parts.values()) == computed(space, spec)[fused]


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_random_sub_dits_of_large_shrunken_spaces(name: str) -> None:
    space = shallow(shrunk(get_space(name)))
    for spec in space.decode(space.sample(np.random.default_rng(1), 3)):
        assert computed(space, spec) == watched(space, spec), str(spec)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mid-256", "mobile-1k"])
def test_sub_dits_at_their_real_size(name: str) -> None:
    space = get_space(name)
    spec = space.named["small"]
    assert computed(space, spec) == watched(space, spec)
    assert computed(space, spec, 2) == watched(space, spec, torch.float16)


def test_half_precision() -> None:
    space = get_space("digits")
    spec = space.named["small"]
    assert computed(space, spec, 2) == watched(space, spec, torch.float16)


# Sizes that move the largest moment from one place to another, or make a copy a view.
ODDITIES = {
    "a long text": {"text_inputs": (dataclasses.replace(get_space("digits").text_inputs[0], tokens=200),)},
    "a wide text": {"text_inputs": (dataclasses.replace(get_space("digits").text_inputs[0], width=5000),)},
    "a wide time": {"time_width": 4000},
    "large patches": {"latent_channels": 400},
    "one key-value head": {"kv_heads": 1},
    "a head for each": {"kv_heads": 2, "full_heads": 2, "widths": (48,), "named": {}},
    "strips of one token": {"bna_blocks": (16,), "named": {}},
    "one compressed token": {"kv_compressions": (4,), "named": {}},
    "one token in Middle": {"latent_size": 4, "bna_blocks": (2, 4), "named": {}},
    "deep in Middle": {"depths": ((1,), (16,), (1,)), "named": {}},
    "no skip from Down": {"down_up_skip": False},
    "narrow hidden layers": {"ffn_ratios": ((1,), (1,), (1,)), "named": {}},
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_where_the_largest_moment_is_elsewhere(oddity: str) -> None:
    space = dataclasses.replace(get_space("digits"), **ODDITIES[oddity])
    (spec,) = space.decode(space.sample(np.random.default_rng(2), 1))
    assert computed(space, spec) == watched(space, spec), str(spec)
    parts = part_activation_bytes(space, spec, element_bytes=4)
    assert dict(sorted(parts.items())) == watched_parts(space, spec, fused=False), str(spec)
