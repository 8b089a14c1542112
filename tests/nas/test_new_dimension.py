"""A new elastic dimension is one declaration: this file adds two, and everything from JSON to a search knows them."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nas._config import SearchConfig
from nas._costs import CostTable
from nas._loop import run_search
from nas._problem import Objectives
from nas._problem import SearchProblem
from nas.samplers._nsga2 import cross
from nas.samplers._nsga2 import mutate
from reports._results import read_results
from subdit.core.errors import SpaceError
from subdit.core.errors import SpecError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import load_search
from subdit.space import Component
from subdit.space import Dimension
from subdit.space import EncodedSpecs
from subdit.space import Operations
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import components
from subdit.space import components_up_to
from subdit.space import count_flops
from subdit.space import count_params
from subdit.space import get_space
from subdit.space import known_dimensions
from subdit.space import register_dimension
from subdit.space import spec_features

DIGITS = get_space("digits")


# The whole of what a dimension takes ----------------------------------------------------------------------------------


def attend_in_windows(operations: Operations, window: int) -> Operations:
    """A query attends to one of `window` x `window` parts of the grid."""
    return replace(operations, attended=operations.attended // window**2)


def mix_experts(operations: Operations, experts: int) -> Operations:
    """Each token goes through all experts, which are FFNs of their own."""
    return replace(operations, matrices=operations.matrices * experts)


WINDOW = Dimension("window", "n", kinds=("self_attention",), effect=attend_in_windows)
EXPERTS = Dimension("experts", "x", ("down", "middle", "up"), kinds=("ffn",), is_nested=True, effect=mix_experts)


# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("subdit.space._dimensions._registered", {})
    register_dimension(WINDOW)
    register_dimension(EXPERTS)
    yield


@pytest.fixture
def space() -> SearchSpace:
    point = replace(DIGITS.named["full"], space="windows", extra=(("experts", (2, 2, 2)), ("window", 1)))
    return replace(
        DIGITS,
        name="windows",
        depths=((1, 2), (2, 4), (1, 2, 3)),
        bna_blocks=(4,),
        bna_radii=(1,),
        named={"full": point},
        extra=(("window", (1, 2)), ("experts", (1, 2))),
    )


def spec_of(space: SearchSpace, **changed: int) -> SubDiTSpec:
    return space.spec({**space.values(space.named["full"]), **changed})


def test_specs_are_read_written_and_named_with_it(space: SearchSpace) -> None:
    spec = spec_of(space, window=2, experts_middle=1)
    assert str(spec) == "w96 d2/4/3 f4/3/4 B4/4 r1/1 c2 x2/1/2 n2"
    assert json.loads(spec.to_json()) == {
        **{key: value for key, value in DIGITS.named["full"].to_dict().items() if key != "space"},
        "space": "windows",
        "window": 2,
        "experts": [2, 1, 2],
    }
    assert SubDiTSpec.from_json(spec.to_json()) == spec
    assert SubDiTSpec.from_cells("windows", {**spec.to_cells(), "latency_ms": "1.5"}) == spec
    assert spec.to_cells()["experts"] == "2/1/2"
    assert spec.hash != spec_of(space, window=1, experts_middle=1).hash


def test_specs_without_it_stay_what_they_are() -> None:
    text = (
        '{"bna_blocks":[4,4],"bna_radius":[1,1],"depth":[2,4,3],"ffn_ratio":[4,3,4],"kv_compression":2,'
        '"space":"digits","width":96}'
    )
    assert DIGITS.named["full"].to_json() == text


def test_encoding_and_sampling_reach_each_value(space: SearchSpace) -> None:
    assert list(space.dimensions)[-4:] == ["window", "experts_down", "experts_middle", "experts_up"]
    drawn = space.sample(np.random.default_rng(3), 400)
    specs = space.decode(drawn)
    assert (space.encode(specs) == drawn).all()
    seen = {(spec.values["window"], spec.values["experts"]) for spec in specs}
    assert seen == set(itertools.product((1, 2), itertools.product((1, 2), repeat=3)))
    assert len(np.unique(space.enumerate(), axis=0)) == space.size == 4 * 12 * 48 * 2 * 2**3
    assert spec_features(space, drawn).shape[1] > spec_features(replace_extra(space), drawn[:, :-4]).shape[1]


def replace_extra(space: SearchSpace) -> SearchSpace:
    return replace(space, named={}, extra=())


def test_children_take_it_from_either_parent_and_mutate_it(space: SearchSpace) -> None:
    rng = np.random.default_rng(5)
    low = np.repeat(space.encode([spec_of(space, width=48, window=1, experts_down=1)]), 500, axis=0)
    high = np.repeat(space.encode([spec_of(space, width=96, window=2, experts_down=2)]), 500, axis=0)
    children = cross(space, low, high, rng)
    at = list(space.dimensions).index("experts_down")
    assert 0.2 < children[:, at].mean() < 0.8
    assert (mutate(space, children, rng)[:, at] != children[:, at]).any()


def test_components_carry_it_where_it_applies(space: SearchSpace) -> None:
    spec = spec_of(space, window=2, experts_up=1)
    counted = components(space, spec)
    names = {component.name: count for component, count in counted.items()}
    assert names["self_attention-w96-g2-n2"] == 4
    assert (names["ffn-w96-g4-f4-x2"], names["ffn-w96-g2-f3-x2"], names["ffn-w96-g4-f4-x1"]) == (2, 4, 3)
    assert all(Component.from_name(component.name) == component for component in all_components(space))
    row = component_counts(space, space.encode([spec]))[0]
    pairs = zip(all_components(space), row, strict=True)
    assert {component: int(count) for component, count in pairs if count} == dict(counted)


def test_costs_follow_from_its_effect(space: SearchSpace) -> None:
    plain, windowed, single = (
        spec_of(space),
        spec_of(space, window=2),
        spec_of(space, experts_down=1, experts_middle=1, experts_up=1),
    )
    of_digits = DIGITS.encode([DIGITS.named["full"]])
    encoded = space.encode([plain, windowed, single])
    params, flops = count_params(space, encoded).tolist(), count_flops(space, encoded).tolist()
    # The same network as the full one of digits, but for the window.
    assert params[2] == count_params(DIGITS, of_digits)[0]
    assert flops[2] == count_flops(DIGITS, of_digits)[0]
    assert params[0] == params[1]
    # Two products of 8 numbers for each pair that is not attended to: 12 heads, 4 tokens in Middle, 4 blocks.
    assert flops[0] - flops[1] == 4 * (2 * 2 * 8) * 12 * (4 * 4 - 4 * 4 // 4)
    ffn = sum(depth * 2 * 96 * ratio * 96 for depth, ratio in zip((2, 4, 3), (4, 3, 4), strict=True))
    biases = sum(depth * (96 + ratio * 96) for depth, ratio in zip((2, 4, 3), (4, 3, 4), strict=True))
    assert params[0] - params[2] == ffn + biases
    small = components_up_to(space, int(count_params(space, space.enumerate(0, 1))[0]))
    assert {component.name for component in small if component.kind == "self_attention"} == {
        "self_attention-w48-g2-n1",
        "self_attention-w48-g2-n2",
    }


class Flops:
    """A device that does a GFLOP in 10 ms."""

    fingerprint = "10 ms per GFLOP"

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def estimate(self, encoded: EncodedSpecs) -> Any:
        latency = count_flops(self.space, encoded) / 1e8
        return SimpleNamespace(latency_ms=latency, low_ms=0.9 * latency, high_ms=1.1 * latency)


class Loss:
    """Less with more parameters, and with a smaller window."""

    id, unit, supernet_digest, data_hash = "closed-form", "loss", "0123abcd", "feed"

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def evaluate(self, spec: SubDiTSpec) -> float:
        values = self.space.values(spec)
        return 1e4 / float(count_params(self.space, self.space.encode([spec]))[0]) + 0.01 * values["window"]


@pytest.mark.parametrize("sampler", ["random", "nsga2", "tpe"])
def test_a_search_finds_specs_with_it_and_its_tables_hold_it(space: SearchSpace, sampler: str, tmp_path: Path) -> None:
    tables, loss = CostTable(space, Flops(space), count_params, {"latency_ms": 0.2}), Loss(space)
    config = SearchConfig(("closed form",), seed=7, sampler=sampler, trials=40)
    problem = SearchProblem(config, tables, {loss.id: loss}, Objectives(qualities=(loss.id,)))

    def search(name: str) -> Any:
        run = Run(tmp_path / name)
        start_manifest(run, space="windows")
        return run_search(run, "default", problem)

    result = search("one")
    with (result.folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["window"] for row in rows} == {"1", "2"}
    assert len({row["experts"] for row in rows}) > 2
    for row in rows:
        spec = SubDiTSpec.from_cells("windows", row)
        assert (space.check(spec).hash, row["experts"]) == (row["spec_hash"], spec.to_cells()["experts"])
        assert float(row["latency_ms"]) == count_flops(space, space.encode([spec]))[0] / 1e8 <= 0.2
    assert load_search(tmp_path / "one") == result
    assert [trial.spec for trial in read_results(Run(tmp_path / "one"), "default").front] == [
        row.spec for row in result.front
    ]
    again = search("two")
    assert (again.folder / "trials.csv").read_bytes() == (result.folder / "trials.csv").read_bytes()


def test_what_cannot_be_declared_is_refused(space: SearchSpace) -> None:
    assert register_dimension(WINDOW) is WINDOW
    for strange, said in (
        (replace(WINDOW, letter="m"), "named 'window'"),
        (Dimension("grid", "m"), "named 'grid'"),
        (Dimension("two words", "m"), "named 'two words'"),
        (Dimension("heads", "b"), "letter 'b'"),
        (Dimension("heads", "G"), "letter 'G'"),
        (Dimension("heads", "h", kinds=("convolution",)), "'convolution'"),
    ):
        with pytest.raises(SpaceError, match=said):
            register_dimension(strange)
    assert list(known_dimensions())[-2:] == ["window", "experts"]
    for extra, said in (
        ((("heads", (1,)),), "'heads'"),
        ((("width", (1,)),), "'width'"),
        ((("window", (1,)), ("window", (2,))), "'window'"),
        ((("window", (2, 1)),), "window as .2, 1"),
        ((("window", (0, 1)),), "window as .0, 1"),
    ):
        with pytest.raises(SpaceError, match=said):
            replace(space, named={}, extra=extra)


def test_a_spec_and_its_space_must_agree_on_it(space: SearchSpace) -> None:
    spec = spec_of(space)
    for strange, said in (
        (replace(spec, extra=()), "no 'experts'"),
        (replace(spec, extra=(("experts", (2, 2, 2)), ("window", 3))), "no window 3"),
    ):
        with pytest.raises(SpecError, match=said):
            space.check(strange)
    with pytest.raises(SpecError, match="no dimension 'experts'"):
        DIGITS.check(replace(spec, space="digits"))
    with pytest.raises(SpecError, match="'experts' is 2"):
        SubDiTSpec.from_dict({**spec.to_dict(), "experts": 2})
    with pytest.raises(SpecError, match="unknown key 'colour'"):
        SubDiTSpec.from_dict({**spec.to_dict(), "colour": 2})
