"""How truth tables are read: against simulations whose truth is known, closed forms and slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nas._pareto import on_front
from nas._picks import choose_picks
from nas.proxy_benchmark._bands import banded_agreement
from nas.proxy_benchmark._bands import banded_tau
from nas.proxy_benchmark._bands import compare
from nas.proxy_benchmark._bands import latency_bands
from nas.proxy_benchmark._bands import power
from nas.proxy_benchmark._bias import size_bias
from nas.proxy_benchmark._ceiling import expected_reading
from nas.proxy_benchmark._ceiling import find_ceiling
from nas.proxy_benchmark._ceiling import reliability
from nas.proxy_benchmark._ceiling import training_noise
from nas.proxy_benchmark._correlation import expected_agreement
from nas.proxy_benchmark._correlation import kendall_tau
from nas.proxy_benchmark._regret import FRONT
from nas.proxy_benchmark._regret import noise_regret
from nas.proxy_benchmark._regret import regret_intervals
from nas.proxy_benchmark._regret import regrets
from nas.proxy_benchmark._selection import cross_fitted

RNG_SEED = 12


def trained(count: int, pair_tau: float, trainings: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True qualities (count,), and trainings (count, trainings) of which two agree with that tau."""
    share = reliability(pair_tau)
    quality = np.sqrt(share) * rng.standard_normal(count)
    return quality, quality[:, None] + np.sqrt(1 - share) * rng.standard_normal((count, trainings))


@pytest.mark.parametrize(("trainings", "perfect", "good"), [(1, 0.79, 0.76), (2, 0.85, 0.82), (4, 0.89, 0.85)])
def test_what_a_proxy_can_read(trainings: int, perfect: float, good: float) -> None:
    """The table of the research notes, for two trainings that agree with tau .70; by closed form and by simulation."""
    assert expected_reading(0.70, [trainings] * 9) == pytest.approx(perfect, abs=0.006)
    assert expected_reading(0.70, [trainings] * 9, noise_free_tau=0.90) == pytest.approx(good, abs=0.006)
    rng = np.random.default_rng(RNG_SEED)
    quality, looks = trained(3000, 0.70, trainings, rng)
    assert stats.kendalltau(quality, looks.mean(axis=1)).statistic == pytest.approx(perfect, abs=0.015)
    rho, share = np.sin(np.pi / 2 * 0.90), reliability(0.70)
    proxy = rho * quality + np.sqrt((1 - rho**2) * share) * rng.standard_normal(len(quality))
    assert stats.kendalltau(proxy, looks.mean(axis=1)).statistic == pytest.approx(good, abs=0.015)


def test_the_ceiling_of_a_truth_with_unequal_numbers_of_trainings() -> None:
    rng = np.random.default_rng(RNG_SEED)
    count, twice = 800, 320
    quality, looks = trained(count, 0.6, 2, rng)
    losses = [row if index < twice else row[:1] for index, row in enumerate(looks)]
    truth = np.asarray([each.mean() for each in losses])
    found = find_ceiling(losses)
    assert found is not None and found.low < found.value < found.high and found.tells_apart
    assert found.pair.value == pytest.approx(0.6, abs=0.05) and found.pair.count == twice
    assert found.value == pytest.approx(stats.kendalltau(quality, truth).statistic, abs=0.03)
    assert training_noise(losses) == pytest.approx(np.sqrt(1 - reliability(0.6)), rel=0.1)
    # Of one training each it is what the plain benchmark says of expected quality.
    assert expected_reading(0.6, [1, 1]) == pytest.approx(expected_agreement(0.6))
    assert expected_reading(1.0, [1, 2]) == pytest.approx(1.0) and expected_reading(-0.2, [1, 2]) == 0.0


def test_a_ceiling_from_few_pairs_is_hardly_known_and_noise_alone_tells_nothing_apart() -> None:
    rng = np.random.default_rng(RNG_SEED)
    _, looks = trained(12, 0.70, 2, rng)
    found = find_ceiling(list(looks))
    assert found is not None and found.high - found.low > 0.15
    noise = find_ceiling(list(rng.standard_normal((40, 2))))
    assert noise is not None and not noise.tells_apart
    assert find_ceiling(list(rng.standard_normal((40, 1)))) is None and training_noise([np.ones(1)]) is None


def test_tau_within_bands_against_one_pair_after_another() -> None:
    rng = np.random.default_rng(RNG_SEED)
    first, second, latency = rng.integers(0, 6, 30).astype(float), rng.standard_normal(30), rng.standard_normal(30)
    bands = latency_bands(latency, 4)
    assert sorted(np.concatenate(bands)) == list(range(30)) and {len(rows) for rows in bands} == {7, 8}
    assert all(latency[one].max() < latency[other].min() for one, other in zip(bands, bands[1:], strict=False))
    agree = untied_first = untied_second = 0
    for rows in bands:
        for index, one in enumerate(rows):
            for other in rows[index + 1 :]:
                left, right = np.sign(first[one] - first[other]), np.sign(second[one] - second[other])
                agree += left * right
                untied_first += left != 0
                untied_second += right != 0
    assert banded_tau(first, second, bands) == pytest.approx(agree / np.sqrt(untied_first * untied_second))
    whole = [np.arange(30)]
    assert banded_tau(first, second, whole) == pytest.approx(float(kendall_tau(first, second)))
    assert banded_tau(np.zeros(30), second, bands) == 0.0
    assert len(latency_bands(np.arange(5.0))) == 2


def test_size_alone_ranks_all_and_little_within_a_band() -> None:
    """As FLOPs do: well over the whole range, hardly within an eighth of it."""
    rng = np.random.default_rng(RNG_SEED)
    size = rng.standard_normal(400)
    truth = -size + 0.6 * rng.standard_normal(400)
    bands = latency_bands(size)
    assert banded_tau(-size, truth, [np.arange(400)]) > 0.6
    assert banded_agreement(-size, truth, bands).value < 0.3


def test_intervals_within_bands_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(RNG_SEED)
    rho, held = np.sin(np.pi / 2 * 0.4), 0
    bands = latency_bands(np.arange(96.0))
    for seed in range(60):
        truth = rng.standard_normal(96)
        proxy = rho * truth + np.sqrt(1 - rho**2) * rng.standard_normal(96)
        found = banded_agreement(proxy, truth, bands, seed=seed, draws=200)
        held += found.low <= 0.4 <= found.high
    assert held >= 51


def test_the_spread_of_tau_and_what_is_seen_ahead() -> None:
    """The second table of the research notes: deviations of tau, and how often .68 is seen ahead of .51."""
    rng = np.random.default_rng(RNG_SEED)
    for count, at_51, at_68 in ((24, 0.11, 0.08), (50, 0.07, 0.05), (100, 0.05, 0.03)):
        truth = rng.standard_normal((400, count))
        for tau, deviation in ((0.51, at_51), (0.68, at_68)):
            rho = np.sin(np.pi / 2 * tau)
            proxy = rho * truth + np.sqrt(1 - rho**2) * rng.standard_normal(truth.shape)
            assert banded_tau(proxy, truth, [np.arange(count)]).std() == pytest.approx(deviation, abs=0.01)
    seen = [power([count], 0.68, 0.51, trials=60, draws=60) for count in (24, 50, 100)]
    # The notes' figures are of 28, 74 and 94 % of draws, one-sided; here an interval of both sides excludes 0.
    assert 0.15 < seen[0] < 0.45 and 0.45 < seen[1] < 0.8 and seen[2] > 0.85
    assert power([100], 0.5, 0.5, trials=80, draws=100) < 0.1


def test_a_comparison_is_paired() -> None:
    rng = np.random.default_rng(RNG_SEED)
    truth = rng.standard_normal(80)
    bands = latency_bands(np.arange(80.0))
    worse = truth + rng.standard_normal(80)
    better = truth + 0.4 * rng.standard_normal(80)
    found = compare(better, worse, truth, bands)
    assert found.is_ahead and found.low < found.value < found.high
    assert found.value == pytest.approx(
        banded_agreement(better, truth, bands).value - banded_agreement(worse, truth, bands).value
    )
    mirrored = compare(worse, better, truth, bands)
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-found.value, -found.high, -found.low))
    # A proxy is not ahead of itself, and its difference has no noise.
    assert compare(worse, worse, truth, bands) == type(found)(0.0, 0.0, 0.0)


@given(st.integers(1, 40), st.integers(0, 10_000))
def test_regret_is_what_is_lost_at_the_latency_of_a_pick(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    latency = rng.integers(1, 12, count).astype(float)
    proxy, truth = rng.integers(0, 8, count).astype(float), rng.standard_normal(count)
    found = regrets(latency, proxy, truth)
    points = np.c_[latency, proxy]
    order = np.lexsort((proxy, latency))
    front = [row for row in order if on_front(points)[row]]
    for name, choice in choose_picks(points[front]).items():
        pick = front[choice.index]
        lost = truth[pick] - truth[latency <= latency[pick]].min()
        # Where several are equal to the proxy, any of them may be picked.
        alike = [
            truth[row] - truth[latency <= latency[row]].min() for row in front if (points[row] == points[pick]).all()
        ]
        assert found[name] == pytest.approx(lost) or found[name] in pytest.approx(alike)
    assert min(found.values()) >= 0
    assert max(regrets(latency, truth, truth).values()) == 0.0


def test_regret_of_the_whole_front_against_one_budget_after_another() -> None:
    rng = np.random.default_rng(RNG_SEED)
    latency, proxy, truth = rng.standard_normal((3, 50))
    lost = []
    for budget in latency:
        within = np.flatnonzero(latency <= budget)
        lost.append(truth[within[np.argmin(proxy[within])]] - truth[within].min())
    assert regrets(latency, proxy, truth)[FRONT] == pytest.approx(np.mean(lost))
    found = regret_intervals(latency, proxy, truth, draws=50)
    assert found[FRONT].value == pytest.approx(np.mean(lost)) and found[FRONT].low <= found[FRONT].high


def test_a_perfect_proxy_regrets_the_noise_of_the_truth() -> None:
    rng = np.random.default_rng(RNG_SEED)
    latency, quality = np.arange(60.0), -0.02 * np.arange(60.0)
    noise = np.full(60, 0.3)
    expected = noise_regret(latency, quality, noise)
    seen = [regrets(latency, quality, quality + noise * rng.standard_normal(60)) for _ in range(200)]
    assert expected[FRONT] == pytest.approx(np.mean([each[FRONT] for each in seen]), rel=0.15)
    assert expected[FRONT] > 0.3 and max(noise_regret(latency, quality, 0 * noise).values()) == 0.0


def test_the_bias_by_size_is_found_and_a_constant_is_none() -> None:
    rng = np.random.default_rng(RNG_SEED)
    flops = 2 ** rng.uniform(20, 24, 100)
    alone = 1.0 - 0.1 * np.log2(flops / 2**22) + 0.02 * rng.standard_normal(100)
    # Small ones suffer more: .05 more at each halving.
    inherited = alone + 0.3 - 0.05 * np.log2(flops / 2**24) + 0.02 * rng.standard_normal(100)
    found = size_bias(flops, inherited, alone)
    assert found.low < -0.05 < found.high and found.high < -0.04
    assert len(found.gap) == 10 and found.gap[0] == pytest.approx(0.3 + 0.05 * 3.8, abs=0.03)
    assert list(found.flops) == sorted(found.flops)
    flat = size_bias(flops, alone + 0.3 + 0.02 * rng.standard_normal(100), alone)
    assert flat.low < 0 < flat.high


def test_what_one_half_chooses_is_judged_on_the_other() -> None:
    rng = np.random.default_rng(RNG_SEED)
    latency = rng.standard_normal(80)
    truth = rng.standard_normal(80)
    # Of many proxies that know nothing, the best of a half looks good there and is worth nothing to the other.
    nothing = {f"guess_{index}": rng.standard_normal(80) for index in range(60)}
    found = cross_fitted(nothing, truth, latency)
    assert min(half.tau_where_chosen for half in found) > 0.2 > np.mean([half.tau.value for half in found])
    knowing = cross_fitted({**nothing, "knows": truth + 0.3 * rng.standard_normal(80)}, truth, latency)
    assert all(half.chosen == "knows" and half.tau.low > 0.4 for half in knowing)
    assert sum(half.tau.count for half in found) == 80
