"""Distances against closed forms, against references that are computed another way, and by what leaves them alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from subdit.core.errors import EvaluationError
from supernet.data.digits import digits
from supernet.evaluation import metrics
from supernet.evaluation.metrics import CLASSIFIER_ROWS
from supernet.evaluation.metrics import coverage
from supernet.evaluation.metrics import diversity
from supernet.evaluation.metrics import fit_classifier
from supernet.evaluation.metrics import frechet_distance
from supernet.evaluation.metrics import gaussian_kernel
from supernet.evaluation.metrics import kernel_distance
from supernet.evaluation.metrics import mean_pairwise_distance
from supernet.evaluation.metrics import median_distance
from supernet.evaluation.metrics import nearest_neighbor_distances
from supernet.evaluation.metrics import nearest_neighbor_ratio
from supernet.evaluation.metrics import polynomial_kernel
from supernet.evaluation.metrics import prompt_accuracy

DATA = digits()
Distance = Callable[[np.ndarray, np.ndarray], float]


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def polynomial(x: np.ndarray, y: np.ndarray) -> float:
    return kernel_distance(x, y, polynomial_kernel)


def gaussian(x: np.ndarray, y: np.ndarray) -> float:
    return kernel_distance(x, y, gaussian_kernel(1.5))


def with_moments(x: np.ndarray, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    """The rows moved so that their mean is `mean` and their covariance `root root^T`, but for rounding."""
    centred = x - x.mean(axis=0)
    whitened = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred, rowvar=False))).T
    return mean + whitened @ root.T


# Frechet distance -----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(10, 40), st.integers(0, 999))
def test_frechet_distance_against_a_matrix_root(dimensions: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (
        (rng.standard_normal((count, dimensions)) @ rng.standard_normal((dimensions, dimensions))).astype(np.float32)
        for _ in range(2)
    )
    covariances = [np.cov(x.astype(np.float64), rowvar=False).reshape(dimensions, dimensions) for x in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = first.astype(np.float64).mean(0) - second.astype(np.float64).mean(0)
    expected = means @ means + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_frechet_distance_of_two_gaussians_in_closed_form() -> None:
    """Dowson and Landau, 1982: for diagonal covariances the sum of (difference of means)^2 + (of deviations)^2."""
    means, stds = drawn(0, 2, 5), np.exp(drawn(1, 2, 5))
    first, second = (with_moments(drawn(2 + k, 30, 5), means[k], np.diag(stds[k])) for k in range(2))
    expected = np.square(means[0] - means[1]).sum() + np.square(stds[0] - stds[1]).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_moved_and_stretched_samples() -> None:
    x = drawn(0, 500, 1, 4, 4).astype(np.float32)
    shift = np.linspace(-1, 1, 16).reshape(1, 4, 4).astype(np.float32)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x + shift) == pytest.approx(np.square(shift).sum(), rel=1e-4)
    variance = np.cov(x.reshape(500, -1), rowvar=False).trace()
    middle = x - x.mean(axis=0)
    assert frechet_distance(middle, 3 * middle) == pytest.approx((3 - 1) ** 2 * variance, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(10, 30), st.integers(0, 999))
def test_frechet_distance_where_rows_are_fewer_than_dimensions(m: int, n: int, dimensions: int, seed: int) -> None:
    """By symmetric roots, of which the singular covariances here have exact ones."""
    first, second = drawn(seed, m, dimensions), 0.5 + 2 * drawn(seed + 1, n, dimensions)
    covariances = [np.cov(x, rowvar=False) for x in (first, second)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ covariances[1] @ root)
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(covariances[0] + covariances[1])
    expected -= 2 * np.sqrt(np.maximum(middle, 0)).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("m", "n"), [(9, 40), (40, 9), (8, 8), (40, 50)], ids=str)
def test_frechet_distance_by_singular_values_is_that_by_a_matrix_root(
    m: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of many dimensions: whichever set has fewer rows than the eight or nine dimensions, or neither."""
    monkeypatch.setattr(metrics, "EIGENVALUE_DIMENSIONS", 0)
    for dimensions in (8, 9):
        first, second = drawn(0, m, dimensions), 0.5 + drawn(1, n, dimensions) @ drawn(2, dimensions, dimensions)
        covariances = [np.cov(x, rowvar=False) for x in (first, second)]
        # With a little on the diagonal, since no root of a singular matrix is found exactly.
        root = scipy.linalg.sqrtm(covariances[0] @ covariances[1] + 1e-12 * np.eye(dimensions)).real
        expected = np.square(first.mean(0) - second.mean(0)).sum()
        expected += np.trace(covariances[0] + covariances[1] - 2 * root)
        found = frechet_distance(first, second)
        assert found == pytest.approx(expected, rel=1e-9 if min(m, n) > dimensions else 1e-5)


def test_frechet_distance_of_many_dimensions_takes_no_matrix_of_their_square() -> None:
    """A set of 20 rows against one of more rows than dimensions, in closed form: both vary along the same ones."""
    dimensions = 3000
    directions = np.linalg.qr(drawn(0, dimensions, 4))[0].T
    first = drawn(1, 20, 4) @ directions
    second = np.zeros((dimensions + 1, dimensions))
    second[:30] = 1 + drawn(2, 30, 4) @ directions
    inner = [np.cov(x @ directions.T, rowvar=False) for x in (first, second)]
    outer = second - second.mean(axis=0)
    rest = np.square(outer).sum() / dimensions - np.trace(inner[1])
    root = np.linalg.cholesky(inner[0])
    middle = np.sqrt(np.linalg.eigvalsh(root.T @ inner[1] @ root)).sum()
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(inner[0] + inner[1]) + rest - 2 * middle
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_too_many_dimensions_and_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "EIGENVALUE_DIMENSIONS", 4)
    monkeypatch.setattr(metrics, "MOST_DIMENSIONS", 8)
    assert frechet_distance(drawn(0, 9, 8), drawn(1, 9, 8)) > 0
    assert frechet_distance(drawn(0, 8, 9), drawn(1, 9, 9)) > 0
    with pytest.raises(EvaluationError, match="draw fewer samples"):
        frechet_distance(drawn(0, 9, 9), drawn(1, 9, 9))


def test_frechet_distance_of_a_singular_covariance_is_finite() -> None:
    """Real digits have pixels that are always empty."""
    assert 0.2 < frechet_distance(DATA.seen.latents, DATA.judge.latents) < 0.4


# Kernel distance ------------------------------------------------------------------------------------------------------


def slow_kernel_distance(x: np.ndarray, y: np.ndarray, kernel: Callable[[np.ndarray, np.ndarray], float]) -> float:
    within = [
        sum(kernel(z[i], z[j]) for i, j in itertools.permutations(range(len(z)), 2)) / (len(z) * (len(z) - 1))
        for z in (x, y)
    ]
    return sum(within) - 2 * sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))


KERNELS = {
    "polynomial": (polynomial, lambda a, b: (float(a @ b) / len(a) + 1) ** 3),
    "gaussian": (gaussian, lambda a, b: math.exp(-float(np.square(a - b).sum()) / (2 * 1.5**2))),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("rows_at_once", [1, 2, 3, 1024])
def test_kernel_distance_by_loops(name: str, rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_ROWS_AT_ONCE", rows_at_once)
    distance, kernel = KERNELS[name]
    x, y = drawn(0, 5, 3), 0.3 + drawn(1, 7, 3)
    assert distance(x, y) == pytest.approx(slow_kernel_distance(x, y, kernel), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_distance_is_unbiased(name: str) -> None:
    """Two distributions on three points each: the mean over all samples of two and three is the distance itself."""
    distance, kernel = KERNELS[name]
    p, q = drawn(0, 3, 2), 0.5 + drawn(1, 3, 2)
    truth = np.mean([kernel(a, b) for a in p for b in p]) + np.mean([kernel(a, b) for a in q for b in q])
    truth -= 2 * np.mean([kernel(a, b) for a in p for b in q])
    found = [
        distance(p[list(first)], q[list(second)])
        for first in itertools.product(range(3), repeat=2)
        for second in itertools.product(range(3), repeat=3)
    ]
    assert np.mean(found) == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_distance_of_one_distribution_is_zero_on_average(name: str) -> None:
    distance, _ = KERNELS[name]
    p = drawn(0, 3, 2)
    samples = [p[list(rows)] for rows in itertools.product(range(3), repeat=2)]
    assert np.mean([distance(x, y) for x in samples for y in samples]) == pytest.approx(0, abs=1e-12)


def test_bandwidth_is_the_median_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(0, 9, 4)
    expected = np.median([np.linalg.norm(a - b) for a, b in itertools.combinations(x, 2)])
    assert median_distance(x) == pytest.approx(expected)
    monkeypatch.setattr(metrics, "BANDWIDTH_ROWS", 3)
    assert median_distance(x) == pytest.approx(median_distance(x[[0, 4, 8]]))
    with pytest.raises(ValueError, match="bandwidth 0"):
        gaussian_kernel(0.0)


# What leaves a distance alone -----------------------------------------------------------------------------------------

DISTANCES: dict[str, Distance] = {"frechet": frechet_distance, "polynomial": polynomial, "gaussian": gaussian}
ROTATED = st.integers(0, 999).map(lambda seed: np.linalg.qr(drawn(seed, 4, 4))[0])


@pytest.mark.parametrize("name", DISTANCES)
@given(st.integers(0, 999), ROTATED)
@settings(max_examples=20, deadline=None)
def test_order_sides_and_rotations_do_not_count(name: str, seed: int, rotation: np.ndarray) -> None:
    distance, rng = DISTANCES[name], np.random.default_rng(seed)
    x, y = rng.standard_normal((11, 4)), 1.5 * rng.standard_normal((8, 4)) - 0.3
    found = distance(x, y)
    assert distance(y, x) == pytest.approx(found, rel=1e-6, abs=1e-8)
    assert distance(rng.permutation(x), y) == pytest.approx(found, rel=1e-6, abs=1e-8)
    assert distance(x @ rotation, y @ rotation) == pytest.approx(found, rel=1e-6, abs=1e-8)
    assert distance(x.reshape(11, 1, 2, 2), y.reshape(8, 1, 2, 2)) == pytest.approx(found, rel=1e-12)


@given(st.integers(0, 999), st.floats(-3, 3), st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_places_do_not_count_and_scales_count_as_squares(seed: int, shift: float, scale: float) -> None:
    x, y = drawn(seed, 11, 4), 1.5 * drawn(seed + 1, 8, 4)
    assert gaussian(x + shift, y + shift) == pytest.approx(gaussian(x, y), rel=1e-6, abs=1e-8)
    assert frechet_distance(x + shift, y + shift) == pytest.approx(frechet_distance(x, y), rel=1e-6, abs=1e-8)
    expected = scale**2 * frechet_distance(x, y)
    assert frechet_distance(scale * x, scale * y) == pytest.approx(expected, rel=1e-6, abs=1e-8)
    ratio = nearest_neighbor_ratio(x[:5], train=y, judge=x[5:])
    assert nearest_neighbor_ratio(scale * x[:5], train=scale * y, judge=scale * x[5:]) == pytest.approx(ratio)
    assert diversity(scale * x + shift, judge=scale * y + shift) == pytest.approx(diversity(x, judge=y))
    assert coverage(scale * x, judge=scale * y) == pytest.approx(coverage(x, judge=y))


@pytest.mark.parametrize("distance", DISTANCES.values())
def test_one_row_has_no_distance(distance: Distance) -> None:
    with pytest.raises(ValueError, match="at least 2 rows, not 1"):
        distance(drawn(0, 1, 4), drawn(1, 5, 4))


# Neighbours, diversity, coverage --------------------------------------------------------------------------------------


def test_nearest_neighbours_by_exhaustion() -> None:
    samples, references = drawn(1, 7, 1, 3, 3), drawn(2, 11, 1, 3, 3)
    expected = [min(np.linalg.norm((one - other).ravel()) for other in references) for one in samples]
    np.testing.assert_allclose(nearest_neighbor_distances(samples, references), expected, rtol=1e-6)


def test_copies_are_not_new_and_real_unseen_ones_are() -> None:
    seen, unseen = DATA.seen.latents, DATA.judge.latents
    assert nearest_neighbor_ratio(seen, train=seen, judge=unseen) == 0
    assert nearest_neighbor_ratio(unseen, train=seen, judge=unseen) == 1
    noise = np.random.default_rng(0).uniform(-1, 1, unseen.shape)
    assert nearest_neighbor_ratio(noise, train=seen, judge=unseen) > 2
    assert math.isinf(nearest_neighbor_ratio(unseen, train=seen, judge=seen))


def test_mean_pairwise_distance_by_exhaustion() -> None:
    x = drawn(0, 9, 2, 3)
    expected = np.mean([np.linalg.norm(a - b) for a, b in itertools.combinations(x, 2)])
    assert mean_pairwise_distance(x) == pytest.approx(expected)


def test_one_image_over_and_over_is_not_diverse() -> None:
    real = DATA.judge.latents
    assert diversity(np.repeat(real[:1], 50, axis=0), judge=real) == pytest.approx(0, abs=1e-6)
    assert diversity(real, judge=real) == pytest.approx(1)
    assert diversity(real / 2, judge=real) == pytest.approx(0.5)
    assert coverage(np.repeat(real[:1], 50, axis=0), judge=real) < 0.05
    assert coverage(real, judge=real) == 1


def test_one_class_alone_covers_its_share() -> None:
    """A collapse that neither novelty nor recognition sees."""
    ones = DATA.seen.latents[DATA.seen.labels == 1]
    share = np.mean(DATA.judge.labels == 1)
    assert 0.5 * share < coverage(ones, judge=DATA.judge.latents) < 1.5 * share


def test_coverage_by_exhaustion() -> None:
    samples, real = drawn(0, 6, 3), drawn(1, 8, 3)
    covered = []
    for row, image in enumerate(real):
        others = sorted(float(np.linalg.norm(image - other)) for k, other in enumerate(real) if k != row)
        covered.append(min(float(np.linalg.norm(image - sample)) for sample in samples) <= others[2])
    assert coverage(samples, judge=real, neighbors=3) == np.mean(covered)


@pytest.mark.parametrize(("real", "neighbors"), [(3, 1), (4, 2), (3, 2)])
def test_coverage_of_one_distribution_is_what_its_authors_derive(real: int, neighbors: int) -> None:
    """The mean over all ways to call some of seven points real is the expectation in closed form, without a draw."""
    points, count = drawn(0, 7, 2), 7 - real
    found = []
    for chosen in itertools.combinations(range(7), real):
        others = [row for row in range(7) if row not in chosen]
        found.append(coverage(points[others], judge=points[list(chosen)], neighbors=neighbors))
    uncovered = math.prod((real - k) / (real + count - k) for k in range(1, neighbors + 1))
    assert np.mean(found) == pytest.approx(1 - uncovered)


# Recognition ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linear", [False, True])
def test_recognition_of_real_unseen_digits(linear: bool) -> None:
    classifier = fit_classifier(DATA.seen.latents, DATA.seen.labels, linear=linear)
    assert prompt_accuracy(DATA.judge.latents, DATA.judge.labels, classifier) > (0.9 if linear else 0.97)
    assert prompt_accuracy(DATA.judge.latents, (DATA.judge.labels + 1) % 10, classifier) < 0.02


def test_the_classifier_of_digits_is_the_one_that_judged_them_always() -> None:
    classifier = fit_classifier(DATA.seen.latents, DATA.seen.labels, linear=False)
    assert classifier.gamma == 0.01 and classifier.C == 10


def test_of_many_rows_some_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CLASSIFIER_ROWS", 100)
    classifier = fit_classifier(DATA.seen.latents, DATA.seen.labels, linear=False)
    chosen = np.linspace(0, 898, 100).round().astype(int)
    known = fit_classifier(DATA.seen.latents[chosen], DATA.seen.labels[chosen], linear=False)
    flat = DATA.judge.latents.reshape(898, -1)
    assert np.array_equal(classifier.predict(flat), known.predict(flat))


def test_a_class_that_thinning_leaves_out_is_none() -> None:
    features = np.zeros((2 * CLASSIFIER_ROWS, 1))
    labels = np.zeros(len(features), dtype=np.int64)
    labels[1] = 1
    assert fit_classifier(features, labels, linear=False) is None
