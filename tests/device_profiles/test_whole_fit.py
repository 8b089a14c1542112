"""The whole-model fit finds the drift that was put in, says where and how large, and leaves alone what has none."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from device_profiles import WholeFit
from device_profiles import WholeRows
from device_profiles import fit_whole
from device_profiles import summarize_errors
from device_profiles._additive_fit import fit_additive
from device_profiles._changepoints import find_segments
from device_profiles._gaussian_process import Kernel
from device_profiles._gaussian_process import _prior
from device_profiles._gaussian_process import condition
from device_profiles._gaussian_process import fit_kernel
from device_profiles._gaussian_process import log_likelihood
from device_profiles._whole_fit import _relative_median

NOISE = 0.01


def features_of(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Width, layers, FFN ratio and a feature that says nothing, shape (rows, 4)."""
    choices = ([64, 96, 128], [1, 2, 3, 4, 5, 6], [2, 3, 4], [1, 2])
    return np.column_stack([rng.choice(values, rows) for values in choices]).astype(np.float64)


def true_ms(features: np.ndarray) -> np.ndarray:
    """A fixed cost, and layers that cost by width and FFN ratio; no sum of features."""
    width, layers, ratio, _ = features.T
    return 3.0 + layers * (0.5 + 1e-4 * width**2 * (4 + 2 * ratio) / 10)


def made_up(rows: int, seed: int, drift: np.ndarray | float = 1.0) -> WholeRows:
    rng = np.random.default_rng(seed)
    features = features_of(rows, rng)
    return WholeRows(features, true_ms(features) * drift * np.exp(rng.normal(0, NOISE, rows)))


def error_of(fit: WholeFit, seed: int = 99) -> float:
    features = features_of(300, np.random.default_rng(seed))
    return summarize_errors(fit.predict(features), true_ms(features)).mean


def test_drift_is_found_where_it_is_and_taken_out() -> None:
    rows = made_up(200, 1, np.repeat([1.25, 1.0, 1.1], [40, 120, 40]))
    validation = made_up(40, 2)
    fit = fit_whole(rows, validation=validation)
    assert fit.drift.corrected
    first, middle, last = fit.drift.segments
    assert (abs(first.last - 39) <= 1, abs(last.first - 160) <= 1) == (True, True)
    assert first.factor / middle.factor == pytest.approx(1.25, rel=0.02)
    assert last.factor / middle.factor == pytest.approx(1.1, rel=0.02)
    assert first.low < first.factor < first.high
    assert error_of(fit) < 0.01
    assert fit.drift.likelihood_ratio > 100
    assert fit.drift.error_with < 0.5 * fit.drift.error_without
    assert "3 segments, corrected" in fit.drift.statement()[0]
    assert len(fit.drift.statement()) == 4


def test_validation_says_which_level_holds_on() -> None:
    """Rows to come may be as most rows were, or as the last: the rows alone cannot tell."""
    rows = made_up(200, 3, np.repeat([1.0, 1.2], [140, 60]))
    assert error_of(fit_whole(rows, validation=made_up(40, 4))) < 0.01
    later = fit_whole(rows, validation=made_up(40, 4, 1.2))
    features = features_of(100, np.random.default_rng(5))
    assert summarize_errors(later.predict(features), 1.2 * true_ms(features)).mean < 0.01
    assert later.level.startswith("rows 140")
    assert len(later.candidates) >= 3


def test_no_drift_no_alarm() -> None:
    """Of 40 sequences without drift at most one is said to have drifted; the price of a cut allows one in a hundred."""
    fits = [fit_whole(made_up(80, seed)) for seed in range(40)]
    assert sum(fit.drift.corrected for fit in fits) <= 1
    assert np.mean([error_of(fit) for fit in fits]) < 0.015
    assert "No drift" in fits[0].drift.statement()[0]


@pytest.mark.parametrize("rows", [50, 400])
def test_pure_noise_is_rarely_cut(rows: int) -> None:
    """A stated rate: at most one sequence of a hundred, counted over 400 with room for chance."""
    rng = np.random.default_rng(rows)
    cut = sum(find_segments(rng.normal(0, 1, rows), 1.0).any() for _ in range(400))
    assert cut <= 10


def test_latency_that_is_noise_alone_predicts_its_level() -> None:
    rng = np.random.default_rng(0)
    rows = WholeRows(rng.normal(size=(60, 3)), np.exp(rng.normal(2, 0.1, 60)))
    predicted = fit_whole(rows).predict(rng.normal(size=(50, 3)))
    assert np.std(np.log(predicted)) < 0.06
    assert np.mean(np.log(predicted)) == pytest.approx(2, abs=0.06)


def test_single_outliers_are_no_stretch() -> None:
    rows = made_up(120, 7)
    latency_ms = rows.latency_ms.copy()
    latency_ms[[10, 50, 90]] *= 1.6
    fit = fit_whole(dataclasses.replace(rows, latency_ms=latency_ms))
    assert not fit.drift.corrected
    assert error_of(fit) < 0.015


def test_few_rows_and_many_features_lean_on_the_parts() -> None:
    rng = np.random.default_rng(11)
    features = np.column_stack([features_of(12, rng), rng.uniform(1, 2, (12, 20))])
    expected = true_ms(features[:, :4])
    rows = WholeRows(features, 1.3 * expected * np.exp(rng.normal(0, NOISE, 12)), prior_ms=expected)
    fit = fit_whole(rows)
    others = np.column_stack([features_of(50, rng), rng.uniform(1, 2, (50, 20))])
    prior_ms = true_ms(others[:, :4])
    assert fit.form == "parts"
    assert summarize_errors(fit.predict(others, prior_ms=prior_ms), 1.3 * prior_ms).mean < 0.02


@settings(max_examples=8, deadline=None)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 20))
def test_units_of_latency_change_nothing(factor: float, seed: int) -> None:
    rows = made_up(60, seed, np.repeat([1.2, 1.0], 30))
    scaled = dataclasses.replace(rows, latency_ms=factor * rows.latency_ms)
    one, other = fit_whole(rows), fit_whole(scaled)
    np.testing.assert_allclose(other.predict(rows.features), factor * one.predict(rows.features), rtol=1e-3)
    assert [s.first for s in one.drift.segments] == [s.first for s in other.drift.segments]


@settings(max_examples=8, deadline=None)
@given(columns=st.permutations(range(4)), seed=st.integers(0, 20))
def test_order_of_features_changes_nothing(columns: list[int], seed: int) -> None:
    rows = made_up(60, seed)
    shuffled = dataclasses.replace(rows, features=rows.features[:, columns])
    np.testing.assert_allclose(
        fit_whole(shuffled).predict(rows.features[:, columns]), fit_whole(rows).predict(rows.features), rtol=1e-3
    )


def test_order_need_not_be_without_gaps() -> None:
    """A draw of the rows still knows when each was measured."""
    rows = made_up(400, 13, np.repeat([1.3, 1.0], 200))
    drawn = np.sort(np.random.default_rng(1).choice(400, 80, replace=False))
    part = WholeRows(rows.features[drawn], rows.latency_ms[drawn], order=drawn.astype(np.float64))
    first, second = fit_whole(part).drift.segments
    assert first.last < 200 <= second.first


def test_rows_that_all_say_the_same_are_repeated() -> None:
    """Neither features without spread nor latencies without noise are divided by."""
    features = features_of(40, np.random.default_rng(23))
    same = fit_whole(WholeRows(features, np.full(40, 3.0)))
    np.testing.assert_allclose(same.predict(features), 3.0, rtol=1e-6)
    assert not same.drift.corrected
    empty = fit_whole(WholeRows(np.zeros((20, 2)), np.full(20, 3.0)))
    np.testing.assert_allclose(empty.predict(np.zeros((2, 2))), 3.0, rtol=1e-6)


def test_same_rows_same_fit() -> None:
    rows = made_up(60, 17)
    np.testing.assert_array_equal(fit_whole(rows).predict(rows.features), fit_whole(rows).predict(rows.features))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"latency_ms": np.zeros(6)}, "above zero"),
        ({"latency_ms": np.full(6, np.nan)}, "finite"),
        ({"features": np.ones((5, 2))}, "6 finite rows"),
        ({"order": np.arange(6.0)[::-1]}, "order"),
        ({"prior_ms": -np.ones(6)}, "above zero"),
    ],
)
def test_rows_that_cannot_be_are_refused(change: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WholeRows(**{"features": np.ones((6, 2)), "latency_ms": np.ones(6), **change})


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 6 rows, not 5"):
        fit_whole(made_up(5, 0))


def test_a_cut_is_the_cheapest_of_all_cuts() -> None:
    """Against every way to cut a short sequence into segments of at least four rows."""
    rng = np.random.default_rng(3)
    values = np.repeat([0.0, 3.0, 1.0], [5, 5, 6]) + rng.normal(0, 0.5, 16)
    price = 3.0 * np.log(16)

    def cost(cuts: tuple[int, ...]) -> float:
        parts = np.split(values, cuts)
        if min(map(len, parts)) < 4:
            return np.inf
        return sum(float(np.sum(np.square(part - part.mean()))) for part in parts) / 0.25 + price * len(cuts)

    best = min((cuts for count in range(4) for cuts in itertools.combinations(range(1, 16), count)), key=cost)
    found = find_segments(values, 0.5)
    assert tuple(np.flatnonzero(np.diff(found)) + 1) == best == (5, 10)


def test_the_gradient_of_the_likelihood_is_its_slope() -> None:
    rng = np.random.default_rng(5)
    features, target, order = rng.normal(size=(15, 3)), rng.normal(0, 0.1, 15), np.arange(15.0)
    segment, scale = np.repeat([0, 1], [7, 8]), rng.uniform(0.5, 2, 15)
    vector = Kernel.start(3).to_vector() + rng.normal(0, 0.3, 10)

    def value(at: np.ndarray) -> float:
        return log_likelihood(Kernel.from_vector(at), features, target, order, segment, scale)[0]

    _, gradient = log_likelihood(Kernel.from_vector(vector), features, target, order, segment, scale)
    steps = 1e-5 * np.eye(10)
    np.testing.assert_allclose(gradient, [(value(vector + s) - value(vector - s)) / 2e-5 for s in steps], rtol=1e-4)


def test_the_kernel_that_is_found_is_the_most_probable_one() -> None:
    """No parameter is more probable a little further on, but at the bounds of the search."""
    rng = np.random.default_rng(6)
    features, order, scale = rng.normal(size=(40, 3)), np.arange(40.0), np.ones(40)
    segment = np.zeros(40, dtype=np.int64)
    target = features @ [0.3, 0.1, 0.0] + 0.05 * np.sin(3 * features[:, 0]) + rng.normal(0, 0.02, 40)
    found = fit_kernel(features, target, order, segment, scale=scale, start=Kernel.start(3)).to_vector()
    mean, std = _prior(3)

    def log_posterior(vector: np.ndarray) -> float:
        value, _ = log_likelihood(Kernel.from_vector(vector), features, target, order, segment, scale)
        return value - 0.5 * float(np.sum(np.square((vector - mean) / std)))

    steps = np.vstack([np.eye(10), -np.eye(10)]) * 0.1
    inside = (np.abs(found + steps - mean) <= 4 * std).all(axis=1)
    assert inside.sum() >= 18
    assert max(log_posterior(found + step) for step in steps[inside]) < log_posterior(found) + 1e-3


def test_left_out_residuals_are_those_of_a_fit_without_the_row() -> None:
    rng = np.random.default_rng(7)
    features, target, order = rng.normal(size=(9, 2)), rng.normal(0, 0.1, 9), np.arange(9.0)
    one, noise, kernel = (
        np.zeros(9, dtype=np.int64),
        np.full(9, 0.05),
        dataclasses.replace(Kernel.start(2), drift_std=1e-9),
    )
    posterior = condition(kernel, features, target, order, one, noise)
    rest = np.arange(9) != 4
    without = condition(kernel, features[rest], target[rest], order[rest], one[rest], noise[rest])
    off = target[4] - without.predict(features[4:5])[0]
    among = kernel.of_features(features[rest], features[rest]) + np.diag(noise[rest] ** 2)
    to_rest = kernel.of_features(features[4:5], features[rest])
    prior = kernel.of_features(features[4:5], features[4:5])[0, 0] + noise[4] ** 2
    variance = prior - (to_rest @ np.linalg.solve(among, to_rest.T))[0, 0]
    assert posterior.left_out[4] == pytest.approx(off / np.sqrt(variance), rel=1e-3)


def test_an_additive_fit_finds_a_sum() -> None:
    rng = np.random.default_rng(9)
    features = rng.uniform(1, 2, (100, 3))
    latency_ms = 1 + features @ [2.0, 0.5, 0.0]
    latency_ms[3] *= 3
    np.testing.assert_allclose(fit_additive(features, latency_ms).predict(features[5:]), latency_ms[5:], rtol=2e-3)


@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=15))
def test_the_level_is_that_of_least_relative_error(ratios: list[float]) -> None:
    measured, predicted = np.asarray(ratios), np.ones(len(ratios))
    level = np.exp(_relative_median(predicted, measured))
    errors = [np.abs(at * predicted / measured - 1).sum() for at in [level, *ratios]]
    assert errors[0] <= min(errors) + 1e-9
