"""The truth benchmark on a small instance: it counts, compares and draws as it says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas._costs import CostTable
from nas._loop import run_search
from nas._pareto import on_front
from subdit.core.run import Run
from subdit.core.run import start_manifest
from tests.nas import analytic

SPACE = analytic.little_space()
TABLES = CostTable(SPACE, analytic.Latency(SPACE), analytic.params)


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("search_truth")


@pytest.fixture
def points(tmp_path: Path, truth: Any) -> np.ndarray:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    loss = analytic.Loss(SPACE)
    quality = truth.score_all(run, SPACE, loss)
    assert len(loss.asked) == SPACE.size
    again = analytic.Loss(SPACE)
    assert (truth.score_all(run, SPACE, again) == quality).all() and not again.asked
    return np.c_[TABLES.look_up(SPACE.enumerate()).latency_ms, quality]


def test_the_sub_space_is_as_large_as_it_says(truth: Any) -> None:
    space = truth.sub_space()
    assert space.size == 12_288
    assert set(space.decode(space.sample(np.random.default_rng(0), 50))[0].to_dict()) > {"width"}


def test_every_method_finds_everything_in_the_end(truth: Any, points: np.ndarray) -> None:
    front = points[on_front(points)]
    for name, method in truth.methods().items():
        found, count = truth.trace(TABLES, points, method, 30, 0)
        assert len(np.unique(found, axis=0)) == count == 30, name
        share = truth.shares(found, front)
        assert (np.diff(share) >= 0).all() and share[-1] > 0.9, name
    whole = truth.shares(points, front)
    assert whole[-1] == pytest.approx(1.0)


def test_the_default_method_is_the_default_search(truth: Any, points: np.ndarray, tmp_path: Path) -> None:
    run = Run(tmp_path / "search")
    start_manifest(run, space="digits")
    result = run_search(run, "default", analytic.problem(table=TABLES, trials=40))
    lines = (result.folder / "trials.csv").read_text().splitlines()[1:]
    hashes = [line.split(",")[1] for line in lines]
    found, _ = truth.trace(TABLES, points, truth.search_by_subdit, 40, 0)
    by_hash = {spec.hash: point for spec, point in zip(SPACE.decode(SPACE.enumerate()), points, strict=True)}
    np.testing.assert_array_equal(found, [by_hash[one] for one in hashes])


def test_the_table_and_the_plot_are_made(truth: Any, points: np.ndarray, tmp_path: Path) -> None:
    result = truth.compare(TABLES, points, evaluations=12, seeds=2)
    text = truth.describe(result)
    assert "48 sub-DiTs scored" in text and all(name in text for name in result["methods"])
    assert result["methods"]["subdit"]["p_against_default"] is None
    truth.draw(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


@pytest.mark.parametrize("profile", ["linux-amd-epyc/onnxruntime/fp32/t1", "linux-amd-epyc/litert/fp32/t1"])
def test_a_sub_space_has_the_latencies_of_the_whole_space(truth: Any, profile: str) -> None:
    from device_profiles import LatencyEstimator
    from device_profiles import load_profile
    from subdit.space import get_space

    whole = get_space("digits")
    estimator = LatencyEstimator(load_profile(profile, space="digits"), whole)
    space = truth.sub_space()
    rows = space.sample(np.random.default_rng(3), 40)
    found = truth.SubLatencies(estimator, whole, space).estimate(rows).latency_ms
    np.testing.assert_array_equal(found, estimator.estimate(whole.encode(space.decode(rows))).latency_ms)
