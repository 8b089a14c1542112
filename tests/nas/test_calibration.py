"""Calibrated quality: fits that find what is there, errors that are those of what was left out."""

from __future__ import annotations

import numpy as np
import pytest

from nas.calibration import fit_model
from nas.calibration import leave_one_out
from nas.calibration import quality_features
from nas.proxy_benchmark._calibration_curve import calibration_curve
from subdit.core.errors import SearchError
from subdit.space import get_space
from tests.nas.made_truth import quality_of

SPACE = get_space("digits")
RNG = np.random.default_rng(4)


def made(count: int, columns: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (count, columns), and a linear function of them with noise of that standard deviation."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, columns))
    return features, features @ rng.standard_normal(columns) + noise * rng.standard_normal(count)


def test_a_model_finds_what_is_linear_and_says_how_far_it_is_off() -> None:
    features, truth = made(200, 5, 0.3)
    fitted = fit_model(features[:60], truth[:60])(features[60:])
    errors = truth[60:] - fitted.mean
    assert np.std(errors) < 0.4 and np.mean(np.abs(errors) <= 1.96 * fitted.std) > 0.88
    assert np.median(fitted.std) == pytest.approx(0.32, abs=0.08)
    # Farther from what was fitted it is less sure.
    far = fit_model(features[:60], truth[:60])(10 * features[60:])
    assert (far.std > fitted.std).all()


def test_leaving_one_out_is_a_fit_on_the_others() -> None:
    features, truth = made(12, 3, 0.2)
    found = leave_one_out(features, truth)
    for row in (0, 7):
        others = np.arange(12) != row
        expected = fit_model(features[others], truth[others])(features[[row]])
        assert (found.mean[row], found.std[row]) == (expected.mean[0], expected.std[0])
    # What it was not told does not change it.
    told = truth.copy()
    told[7] += 100.0
    assert leave_one_out(features, told).mean[7] == found.mean[7]


def test_from_noise_nothing_is_learned() -> None:
    features, _ = made(30, 25, 1.0)
    truth = np.random.default_rng(5).standard_normal(30)
    found = leave_one_out(features, truth)
    assert np.std(found.mean) < 0.7 and np.sqrt(np.mean((truth - found.mean) ** 2)) < 1.4 * truth.std()
    assert 0.7 * truth.std() < np.median(found.std) < 1.6 * truth.std()


def test_units_do_not_matter_and_constants_say_nothing() -> None:
    features, truth = made(24, 3, 0.2)
    plain = fit_model(features, truth)(features[:5]).mean
    scaled = np.column_stack([features * [1.0, 1e3, 1e-3], np.full(24, 7.0)])
    asked = np.column_stack([features[:5] * [1.0, 1e3, 1e-3], np.full(5, 9.0)])
    np.testing.assert_allclose(fit_model(scaled, truth)(asked).mean, plain, rtol=1e-4, atol=1e-4)


def test_too_little_is_refused() -> None:
    features, truth = made(5, 2, 0.1)
    with pytest.raises(SearchError, match="Of 5 trainings no quality can be learned"):
        fit_model(features, truth)


def test_more_trainings_make_a_better_proxy() -> None:
    from nas.truth_table._order import draw_specs

    encoded = SPACE.encode(draw_specs(SPACE, 90, 5))
    truth = quality_of(90) + 0.005 * RNG.standard_normal(90)
    proxy = truth + 0.1 * RNG.standard_normal(90)
    features = quality_features(SPACE, encoded, {"proxy": proxy})
    assert features.shape[0] == 90 and (features[:, -1] == proxy).all()
    latency = encoded.sum(axis=1).astype(float)
    few, many = calibration_curve(features, truth, latency, [8, 60, 85])
    assert (few.trainings, many.trainings) == (8, 60)
    assert many.within > few.within + 0.1 and many.regret["front"] < few.regret["front"]
