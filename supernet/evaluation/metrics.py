"""How good samples and models are: validation loss, Frechet distance, novelty, recognisability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from supernet.data.digits import CaptionedLatents

Samples = npt.NDArray[np.float32]


def frechet_distance(first: Samples, second: Samples) -> float:
    """Frechet distance of Gaussians fitted to two sets (count, ...): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2).

    The trace of the root is the sum of the roots of the eigenvalues of C1 C2, which are real and not negative.
    """
    flat = [samples.reshape(len(samples), -1).astype(np.float64) for samples in (first, second)]
    means = [samples.mean(axis=0) for samples in flat]
    covariances = [np.atleast_2d(np.cov(samples, rowvar=False)) for samples in flat]
    eigenvalues = np.linalg.eigvals(covariances[0] @ covariances[1]).real
    root_trace = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    return float(np.square(means[0] - means[1]).sum() + traces - 2 * root_trace)


def nearest_neighbor_distances(samples: Samples, references: Samples) -> npt.NDArray[np.float64]:
    """Euclidean distance of each sample (count, ...) to the nearest reference."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=1).fit(references.reshape(len(references), -1))
    distances, _ = index.kneighbors(samples.reshape(len(samples), -1))
    return np.asarray(distances[:, 0], dtype=np.float64)


def novelty(samples: Samples, *, seen: Samples, judge: Samples) -> float:
    """Median nearest-neighbour distance to what was trained on, over that of real unseen ones: 1 is as new as real."""
    return float(
        np.median(nearest_neighbor_distances(samples, seen)) / np.median(nearest_neighbor_distances(judge, seen))
    )


def recognised(samples: Samples, labels: npt.NDArray[np.int64], *, seen: CaptionedLatents) -> float:
    """Share of samples whose intended class a support-vector classifier fitted on the training half recognises."""
    from sklearn.svm import SVC

    classifier = SVC(gamma=0.01, C=10).fit(seen.latents.reshape(len(seen), -1), seen.labels)
    return float(np.mean(classifier.predict(samples.reshape(len(samples), -1)) == labels))
