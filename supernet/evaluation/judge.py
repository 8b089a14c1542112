"""The judge: real images in a feature space, and the figures of samples against them.

Judge images train nothing and choose nothing: no code that learns reads `Reference.judge`.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from subdit.core.errors import EvaluationError
from supernet.evaluation import metrics
from supernet.evaluation.feature_spaces import PICTURES
from supernet.evaluation.feature_spaces import Features
from supernet.evaluation.feature_spaces import FeatureSpace
from supernet.evaluation.reference import Images
from supernet.evaluation.reference import Labels
from supernet.evaluation.reference import Reference

Figures = dict[str, float | None]
"""Figures by name; None for a figure without a value, such as a ratio to a distance of zero."""

FRECHET, KERNEL, GAUSSIAN = "frechet_distance", "kernel_distance", "gaussian_kernel_distance"
NN_RATIO, DIVERSITY, COVERAGE = "nn_ratio", "diversity", "coverage"
ACCURACY = "accuracy_"
"""Prefix of the name of a column of classes."""

LOWER_IS_BETTER = (FRECHET, KERNEL, GAUSSIAN)
LEAST_IMAGES = metrics.NEIGHBORS + 1
_STREAM = 10
_IMAGES_AT_ONCE = 256


class Judge:
    """Figures of samples against a reference, in one feature space; features of real images are computed once.

    Raises `EvaluationError` if a half has too few images, or the feature space needs pictures and there is no decoder.
    """

    def __init__(self, reference: Reference, space: FeatureSpace) -> None:
        self.reference = reference
        self.space = space
        for name, half in {"train and validation": reference.train, "judge": reference.judge}.items():
            if len(half) < LEAST_IMAGES:
                raise EvaluationError(
                    f"The data has {len(half)} images in {name}, which is too few to judge by; there must be at least "
                    f"{LEAST_IMAGES}."
                )
        if space.expects == PICTURES and reference.decode is None:
            raise EvaluationError(
                f"The feature space {space.id!r} needs pictures, and there is no decoder of these latents; take "
                "--features latents."
            )

    def features(self, latents: Images) -> Features:
        """Features (count, dims) of latents (count, ...); raises `EvaluationError` if either are not finite."""
        if not np.isfinite(latents).all():
            raise EvaluationError("The samples are not finite, so the weights are broken; train the supernet again.")
        parts = []
        for start in range(0, len(latents), _IMAGES_AT_ONCE):
            images = latents[start : start + _IMAGES_AT_ONCE]
            if self.space.expects == PICTURES and self.reference.decode is not None:
                images = self.reference.decode(images)
            parts.append(self.space(images))
        found = np.concatenate(parts)
        if found.ndim != 2 or len(found) != len(latents) or not np.isfinite(found).all():
            raise EvaluationError(
                f"The feature space {self.space.id!r} gives an array of shape {found.shape} for {len(latents)} images, "
                "or numbers that are not finite; repair it."
            )
        return found

    @cached_property
    def train_features(self) -> Features:
        return self.features(self.reference.train.latents)

    @cached_property
    def judge_features(self) -> Features:
        return self.features(self.reference.judge.latents)

    @cached_property
    def bandwidth(self) -> float:
        """Bandwidth of the Gaussian kernel: the median distance between real images of the judge half."""
        return metrics.median_distance(self.judge_features)

    def figures(self, latents: Images, labels: Labels) -> Figures:
        """All figures of samples (count, ...) drawn for prompts of the classes `labels`; raises `EvaluationError`."""
        features = self.features(latents)
        return self._distances(features) | self._by_train(features, labels)

    def real_figures(self, count: int, *, seed: int) -> Figures:
        """The same figures of real images, as the scale for those of samples.

        Distances are between the judge half and `count` images of the train half, drawn without replacement, or all of
        it, because distances depend on the count. The nearest-neighbour ratio and the accuracies are those of the judge
        half, from which nothing learned.
        """
        rng = np.random.default_rng([seed, _STREAM])
        rows = np.sort(rng.permutation(len(self.reference.train))[:count])
        judge = self.judge_features
        return self._distances(self.train_features[rows]) | self._by_train(judge, self.reference.judge.labels)

    def _distances(self, features: Features) -> Figures:
        real = self.judge_features
        found = {
            FRECHET: metrics.frechet_distance(features, real),
            KERNEL: metrics.kernel_distance(features, real, metrics.polynomial_kernel),
            DIVERSITY: metrics.diversity(features, judge=real),
            COVERAGE: metrics.coverage(features, judge=real),
        }
        if self.bandwidth > 0:
            found[GAUSSIAN] = metrics.kernel_distance(features, real, metrics.gaussian_kernel(self.bandwidth))
        return {name: _finite(found.get(name, math.nan)) for name in (FRECHET, KERNEL, GAUSSIAN, DIVERSITY, COVERAGE)}

    def _by_train(self, features: Features, labels: Labels) -> Figures:
        """Figures that depend on the train half: novelty, and accuracy of the classifiers that it trained."""
        train, judge = self.train_features, self.judge_features
        found = {NN_RATIO: metrics.nearest_neighbor_ratio(features, train=train, judge=judge)}
        for column, wanted in labels.items():
            asked, classifier = wanted >= 0, self._classifiers.get(column)
            known = classifier is not None and asked.any()
            accuracy = metrics.prompt_accuracy(features[asked], wanted[asked], classifier) if known else math.nan
            found[ACCURACY + column] = accuracy
        return {name: _finite(value) for name, value in found.items()}

    @cached_property
    def _classifiers(self) -> dict[str, Any]:
        """One classifier per column, fitted on the train half; None if the column has fewer than two classes."""
        fitted = {}
        for column, labels in self.reference.train.labels.items():
            known = labels >= 0
            features = self.train_features[known]
            fitted[column] = metrics.fit_classifier(features, labels[known], linear=self.space.linear)
        return fitted


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
