"""Who takes part in a step: by seed and step alone, and as each way of drawing says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from subdit.core.errors import ConfigError
from subdit.space import SubDiTSpec
from subdit.space import count_flops
from subdit.space import get_space
from supernet.training.config import TrainingConfig
from supernet.training.members import draw_members
from supernet.training.members import smallest

SPACE = get_space("digits")
STEPS = range(60)


def drawn(**settings: object) -> list[tuple[SubDiTSpec, ...]]:
    config = TrainingConfig(**settings)  # type: ignore[arg-type]
    return [draw_members(SPACE, config, step).subs for step in STEPS]


def test_the_papers_step_has_one_sub_network_drawn_uniformly() -> None:
    found = drawn()
    assert found == drawn() != drawn(seed=1)
    assert all(len(subs) == 1 for subs in found)
    assert len(set(found)) > 50
    assert drawn(sub_networks=0) == [()] * len(STEPS)
    several = drawn(sub_networks=3)
    assert [subs[:1] for subs in several] == found, "more sub-networks leave the first as it is"
    assert all(len(set(subs)) == 3 for subs in several)


@pytest.mark.parametrize("space", ["digits", "emoji-32", "mobile-1k", "mid-256"])
def test_the_smallest_has_the_fewest_flops(space: str) -> None:
    other = get_space(space)
    least = count_flops(other, smallest(other))[0]
    assert least <= count_flops(other, other.sample(np.random.default_rng(0), 5_000)).min()
    assert least <= count_flops(other, other.encode(list(other.named.values()))).min()


def test_a_sandwich_has_the_smallest_in_every_step() -> None:
    (first,) = SPACE.decode(smallest(SPACE))
    found = drawn(sub_networks=2, sub_sampling="sandwich")
    assert {subs[0] for subs in found} == {first}
    assert [subs[1:] for subs in found] == drawn()


def test_sub_networks_that_are_near_have_about_as_many_flops() -> None:
    def spread(found: list[tuple[SubDiTSpec, ...]]) -> float:
        flops = [np.log(count_flops(SPACE, SPACE.encode(subs)).astype(float)) for subs in found]
        return float(np.mean([np.ptp(each) for each in flops]))

    near, uniform = drawn(sub_networks=3, sub_sampling="near"), drawn(sub_networks=3)
    assert [subs[0] for subs in near] == [subs[0] for subs in uniform]
    assert spread(near) < 0.1 * spread(uniform)


def test_the_full_networks_attention_is_drawn_without_a_change_of_the_rest() -> None:
    config = TrainingConfig(draw_full_bna=True)
    found = [draw_members(SPACE, config, step) for step in STEPS]
    full = SPACE.named_spec("full")
    assert [members.subs for members in found] == drawn()
    specs = [members.full for members in found if members.full is not None]
    assert len(specs) == len(STEPS)
    assert {replace(spec, bna_blocks=full.bna_blocks, bna_radius=full.bna_radius) for spec in specs} == {full}
    possible = (len(SPACE.bna_blocks) * len(SPACE.bna_radii)) ** 2
    assert len(set(specs)) > min(possible, 20) / 2
    assert all(members.full is None for members in (draw_members(SPACE, TrainingConfig(), step) for step in STEPS))


@pytest.mark.parametrize("sampling", ["sandwich", "near"])
def test_one_sub_network_is_no_sandwich(sampling: str) -> None:
    with pytest.raises(ConfigError, match="give sub_networks 2 or more"):
        TrainingConfig(sub_sampling=sampling)
