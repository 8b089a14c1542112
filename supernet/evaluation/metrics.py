"""Distances between samples and real images, as pure functions of their features (count, ...).

Dimensions after the first are flattened. Every function raises `ValueError` where it has too few rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.core.errors import EvaluationError

Features = npt.NDArray[np.floating[Any]]
Kernel = Callable[[Features, Features], npt.NDArray[np.float64]]
"""Features (n, dims) and (m, dims) to the kernel's values (n, m)."""

EIGENVALUE_DIMENSIONS = 1024
"""Up to which a Frechet distance takes eigenvalues of a product of covariances; of some thousands they take minutes."""
MOST_DIMENSIONS = 4096
"""Of a Frechet distance of as many rows in both sets: a matrix of this size takes a minute."""
NEIGHBORS = 5
"""Of coverage, as its authors choose."""
BANDWIDTH_ROWS = 1000
"""Rows whose distances give the Gaussian kernel's bandwidth."""
CLASSIFIER_ROWS = 5000
"""Rows that a classifier is fitted on."""
_ROWS_AT_ONCE = 1024


def frechet_distance(first: Features, second: Features) -> float:
    """Frechet distance of Gaussians fitted to two sets: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2).

    Heusel et al., NeurIPS 2017, section 2. The trace of the root is the sum of the roots of the eigenvalues of C1 C2,
    which are real and not negative. It is also the sum of the singular values of F G^T, where F^T F and G^T G are the
    covariances: of rows without their means where one set has fewer rows than dimensions, so that nothing has the size
    of a covariance, and of triangular factors otherwise. Of few dimensions it is the eigenvalues.

    Raises `EvaluationError` where both sets have as many rows as more than `MOST_DIMENSIONS`.
    """
    flat = [_rows(samples, least=2) for samples in (first, second)]
    dimensions, fewest = flat[0].shape[1], min(map(len, flat))
    means = [samples.mean(axis=0) for samples in flat]
    shift = float(np.square(means[0] - means[1]).sum())
    if dimensions <= EIGENVALUE_DIMENSIONS and max(map(len, flat)) >= dimensions:
        covariances = [np.atleast_2d(np.cov(samples, rowvar=False)) for samples in flat]
        eigenvalues = np.linalg.eigvals(covariances[0] @ covariances[1]).real
        root_trace = np.sqrt(np.maximum(eigenvalues, 0)).sum()
        traces = np.trace(covariances[0]) + np.trace(covariances[1])
        return float(shift + traces - 2 * root_trace)
    if fewest >= dimensions > MOST_DIMENSIONS:
        raise EvaluationError(
            f"A Frechet distance of {fewest:,} images with {dimensions:,} features takes too long; draw fewer samples "
            f"than features, or compare by at most {MOST_DIMENSIONS:,} features."
        )
    for samples, mean in zip(flat, means, strict=True):
        # In place: of many dimensions a copy takes gigabytes.
        samples -= mean
        samples /= np.sqrt(len(samples) - 1)
    a, b = flat
    traces = np.square(a).sum() + np.square(b).sum()
    if fewest >= dimensions:
        a, b = (np.asarray(np.linalg.qr(x, mode="r")) for x in (a, b))
    return shift + float(traces - 2 * np.linalg.norm(a @ b.T, "nuc"))


def polynomial_kernel(first: Features, second: Features) -> npt.NDArray[np.float64]:
    """(x.y / dims + 1)^3, the kernel of KID (Binkowski et al., ICLR 2018, section 4)."""
    return np.asarray((first @ second.T / first.shape[1] + 1) ** 3, dtype=np.float64)


def gaussian_kernel(bandwidth: float) -> Kernel:
    """exp(-|x - y|^2 / (2 bandwidth^2)), the kernel of CMMD (Jayasumana et al., CVPR 2024, equation 5)."""
    if not bandwidth > 0:
        raise ValueError(f"a Gaussian kernel of bandwidth {bandwidth} tells nothing apart")

    def kernel(first: Features, second: Features) -> npt.NDArray[np.float64]:
        from sklearn.metrics.pairwise import rbf_kernel

        return np.asarray(rbf_kernel(first, second, gamma=1 / (2 * bandwidth**2)), dtype=np.float64)

    return kernel


def median_distance(features: Features) -> float:
    """Median Euclidean distance between two rows: the usual bandwidth (Gretton et al., JMLR 2012, section 8).

    Of at most `BANDWIDTH_ROWS` rows, evenly spaced.
    """
    from scipy.spatial.distance import pdist

    flat = _rows(features, least=2)
    return float(np.median(pdist(flat[_evenly(len(flat), BANDWIDTH_ROWS)])))


def kernel_distance(first: Features, second: Features, kernel: Kernel) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al., JMLR 2012, equation 3).

    Its expectation does not depend on the number of rows, and is 0 for equal distributions, so that it may be negative.
    """
    x, y = (_rows(samples, least=2) for samples in (first, second))
    within = [_kernel_sum(z, z, kernel, diagonal=False) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return within[0] + within[1] - 2 * _kernel_sum(x, y, kernel) / (len(x) * len(y))


def nearest_neighbor_distances(samples: Features, references: Features) -> npt.NDArray[np.float64]:
    """Euclidean distance of each sample to the nearest reference."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=1).fit(references.reshape(len(references), -1))
    distances, _ = index.kneighbors(samples.reshape(len(samples), -1))
    return np.asarray(distances[:, 0], dtype=np.float64)


def nearest_neighbor_ratio(samples: Features, *, train: Features, judge: Features) -> float:
    """Median nearest-neighbour distance to what was trained on, over that of real unseen images.

    1 is as new as real, 0 is copied; infinite or not a number where real images are copies themselves.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        medians = [np.median(nearest_neighbor_distances(each, train)) for each in (samples, judge)]
        return float(medians[0] / medians[1])


def mean_pairwise_distance(features: Features) -> float:
    """Mean Euclidean distance of two different rows."""
    from sklearn.metrics import pairwise_distances_chunked

    flat = _rows(features, least=2)
    total = sum(float(block.sum()) for block in pairwise_distances_chunked(flat, working_memory=64))
    return total / (len(flat) * (len(flat) - 1))


def diversity(samples: Features, *, judge: Features) -> float:
    """Mean pairwise distance of samples over that of real images: 1 is as diverse as real, 0 is one image alone."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(mean_pairwise_distance(samples)) / mean_pairwise_distance(judge))


def coverage(samples: Features, *, judge: Features, neighbors: int = NEIGHBORS) -> float:
    """Share of real images that have a sample as near as their k-th neighbour among real ones.

    Naeem et al., ICML 2020, equation 4. With k neighbours, N real images and M samples of the same distribution, its
    expectation is 1 - (N-1)...(N-k) / ((N+M-1)...(N+M-k)).
    """
    from sklearn.neighbors import NearestNeighbors

    real, drawn = _rows(judge, least=neighbors + 1), _rows(samples, least=1)
    # Without a query a row is no neighbour of itself.
    radii, _ = NearestNeighbors(n_neighbors=neighbors).fit(real).kneighbors()
    nearest = nearest_neighbor_distances(real, drawn)
    return float(np.mean(nearest <= radii[:, -1]))


def fit_classifier(train: Features, labels: npt.NDArray[np.int64], *, linear: bool) -> Any:
    """A classifier of scikit-learn fitted on real images, that recognises what samples were asked for.

    It is a support-vector classifier with a Gaussian kernel for numbers of about [-1, 1], such as pixels, and with
    `linear` a logistic regression on standardised features, the linear probe that learned features are read by. Of more
    than `CLASSIFIER_ROWS` rows as many are used, evenly spaced; None where these are not of two classes or more.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    chosen = _evenly(len(train), CLASSIFIER_ROWS)
    if len(np.unique(labels[chosen])) < 2:
        return None
    flat = train[chosen].reshape(len(chosen), -1)
    if linear:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    else:
        classifier = SVC(gamma=0.64 / flat.shape[1], C=10)
    return classifier.fit(flat, labels[chosen])


def prompt_accuracy(samples: Features, labels: npt.NDArray[np.int64], classifier: Any) -> float:
    """Share of samples whose intended class the classifier recognises."""
    return float(np.mean(classifier.predict(samples.reshape(len(samples), -1)) == labels))


def _evenly(count: int, most: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _rows(samples: Features, *, least: int) -> npt.NDArray[np.float64]:
    if len(samples) < least:
        raise ValueError(f"this needs at least {least} rows, not {len(samples)}")
    return samples.reshape(len(samples), -1).astype(np.float64)


def _kernel_sum(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], kernel: Kernel, *, diagonal: bool = True
) -> float:
    total = 0.0
    for start in range(0, len(x), _ROWS_AT_ONCE):
        block = kernel(x[start : start + _ROWS_AT_ONCE], y)
        total += float(block.sum())
        if not diagonal:
            total -= float(np.trace(block, offset=start))
    return total
