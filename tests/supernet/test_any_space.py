"""What a space allows, the model builds and runs; what it cannot build, the space has refused."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import settings

from subdit.space import SearchSpace
from subdit.space import all_components
from subdit.space import count_params
from subdit.space import rename_space
from subdit.space import space_hash
from supernet.model.dit import SubDiT
from supernet.model.elastic import ElasticDiT
from tests.subdit.space.any_space import spaces


@given(spaces(most=8))
@settings(max_examples=12)
def test_every_space_can_be_built_and_run(drawn: SearchSpace) -> None:
    # A supernet makes its space known by its name.
    space = rename_space(drawn, f"any-{space_hash(drawn)}")
    assert all_components(space)
    for spec in (space.decode(space.sample(np.random.default_rng(0), 1))[0], space.named["full"]):
        model = SubDiT.from_spec(space, spec)
        assert sum(each.numel() for each in model.parameters()) == count_params(space, space.encode([spec]))[0]
        inputs = model.example_inputs()
        with torch.no_grad():
            assert model(*inputs.values()).shape == inputs["hidden_states"].shape
    supernet = ElasticDiT.of_space(space)
    assert supernet.extract(spec).spec == spec
