"""The judge: real images in a feature space, and the figures of samples against them.

What judges is never trained on and chooses nothing: `Reference.judge` is read here and nowhere that learns.
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
"""Figures by name; None where one has no value, such as a ratio to a distance that is zero."""

FRECHET, KERNEL, GAUSSIAN = "frechet_distance", "kernel_distance", "gaussian_kernel_distance"
NN_RATIO, DIVERSITY, COVERAGE = "nn_ratio", "diversity", "coverage"
ACCURACY = "accuracy_"
"""Before the name of a column of classes."""

LOWER_IS_BETTER = (FRECHET, KERNEL, GAUSSIAN)
LEAST_IMAGES = metrics.NEIGHBORS + 1
_STREAM = 10
_IMAGES_AT_ONCE = 256


class Judge:
    """Figures of samples against a reference, in one feature space; features of real images are computed once.

    Raises `EvaluationError` where a half has too few images, or the feature space needs pictures and none can be had.
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
        """Features (count, dims) of latents (count, ...); raises `EvaluationError` where there are no finite ones."""
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
        """Of the Gaussian kernel: the median distance between real images of the judge half."""
        return metrics.median_distance(self.judge_features)

    def figures(self, latents: Images, labels: Labels) -> Figures:
        """All figures of samples (count, ...) that were asked for these classes; raises `EvaluationError`."""
        features = self.features(latents)
        return self._distances(features) | self._by_train(features, labels)

    def real_figures(self, count: int, *, seed: int) -> Figures:
        """The same figures of real images, the scale to read others by: train half against judge half.

        Of `count` images of the train half, drawn without replacement, or of all, since distances depend on the count;
        the nearest-neighbour ratio and the accuracies are of the judge half, which nothing learned from.
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
        """What depends on the train half: how new, and how well recognised by what learned from it."""
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
        """One per column, fitted on the train half; None where it has no two classes."""
        fitted = {}
        for column, labels in self.reference.train.labels.items():
            known = labels >= 0
            features = self.train_features[known]
            fitted[column] = metrics.fit_classifier(features, labels[known], linear=self.space.linear)
        return fitted


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
