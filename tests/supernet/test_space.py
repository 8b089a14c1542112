"""The search space against slow, independent references."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subdit.errors import SpaceError
from subdit.errors import SpecError
from supernet.components import component_module
from supernet.dit import SubDiT
from supernet.space import Component
from supernet.space import SubDiTSpec
from supernet.space import all_components
from supernet.space import component_counts
from supernet.space import component_params
from supernet.space import components
from supernet.space import count_params
from supernet.space import get_space

SPACE = get_space("digits")
specs = st.builds(
    lambda row: SPACE.decode(np.asarray([row]))[0],
    st.tuples(*[st.integers(0, len(values) - 1) for values in SPACE.dimensions.values()]),
)


def test_space_is_as_large_as_promised() -> None:
    assert SPACE.size >= 100_000
    assert {"tiny", "small", "full"} <= set(SPACE.named)


@given(specs)
def test_spec_survives_json_and_encoding(spec: SubDiTSpec) -> None:
    assert SubDiTSpec.from_json(spec.to_json()) == spec
    assert SPACE.decode(SPACE.encode([spec])) == [spec]
    assert len(spec.hash) == 10


@given(specs)
def test_vectorised_counts_equal_the_plain_ones(spec: SubDiTSpec) -> None:
    row = component_counts(SPACE, SPACE.encode([spec]))[0]
    counted = {component: int(count) for component, count in zip(all_components(SPACE), row, strict=True) if count}
    assert Counter(counted) == components(SPACE, spec)


@pytest.mark.parametrize("spec", SPACE.decode(SPACE.sample(np.random.default_rng(11), 8)), ids=lambda spec: spec.hash)
def test_closed_form_params_equal_torch(spec: SubDiTSpec) -> None:
    model = SubDiT.from_spec(SPACE, spec)
    assert count_params(SPACE, SPACE.encode([spec]))[0] == sum(p.numel() for p in model.parameters())


def test_every_component_is_a_module_with_its_params() -> None:
    for component in all_components(SPACE):
        assert Component.from_name(component.name) == component
        if component.kind != "assa" or component.bna_radius == 1:
            module = component_module(SPACE, component).module
            assert component_params(SPACE, component) == sum(p.numel() for p in module.parameters()), component.name


def test_enumeration_is_complete_and_distinct() -> None:
    rows = SPACE.enumerate()
    assert len(rows) == SPACE.size == len(np.unique(rows, axis=0))


@pytest.mark.parametrize(
    ("change", "named"),
    [({"width": 33}, "33"), ({"depth": [9, 4, 2]}, "9"), ({"bna_blocks": [4, 5]}, "5"), ({"space": "mars"}, "mars")],
)
def test_foreign_specs_are_refused_by_name(change: dict[str, object], named: str) -> None:
    values = {**SPACE.named["full"].to_dict(), **change}
    with pytest.raises(SpecError, match=named):
        SPACE.check(SubDiTSpec.from_dict(values))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"width": 1}', '{"space": 3}', "null", '{"colour": 1}'])
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        SubDiTSpec.from_json(text)


def test_unknown_space_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SpaceError, match="digits"):
        get_space("mars")
