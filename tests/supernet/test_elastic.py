"""The supernet's central promise: a sub-network and its extraction are one and the same function."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from subdit.errors import SpecError
from supernet.dit import example_inputs
from supernet.dit import redraw_
from supernet.elastic import ElasticDiT
from supernet.space import SubDiTSpec
from supernet.space import get_space

SPACE = get_space("digits")


@pytest.fixture(scope="module")
def supernet() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.eval()


@pytest.fixture(scope="module")
def supernet64() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=1)
    return model.eval().double()


def random_specs(count: int, seed: int = 5) -> list[SubDiTSpec]:
    return SPACE.decode(SPACE.sample(np.random.default_rng(seed), count))


@pytest.mark.parametrize("spec", random_specs(50), ids=lambda spec: spec.hash)
def test_extracted_equals_supernet(supernet: ElasticDiT, supernet64: ElasticDiT, spec: SubDiTSpec) -> None:
    for model, tolerance in ((supernet, 1e-6), (supernet64, 1e-12)):
        inputs = [value.to(model.dtype) for value in example_inputs(SPACE, batch=2, seed=3).values()]
        with torch.no_grad():
            inside = model(*inputs, spec=spec)
            alone = model.extract(spec)(*inputs)
        assert inside.std() > 0.1, "a silent model would prove nothing"
        assert torch.linalg.norm(inside - alone) <= tolerance * torch.linalg.norm(inside)
