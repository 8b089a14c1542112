"""The judge, its reference and prompts: figures against their parts, and what cannot be judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.svm import SVC

from benchmarks.quality import bootstrap_fd
from subdit.core.errors import EvaluationError
from supernet.data.digits import digit_caption
from supernet.data.digits import digits
from supernet.evaluation.feature_spaces import LATENT_NUMBERS
from supernet.evaluation.feature_spaces import PIXELS
from supernet.evaluation.judge import Judge
from supernet.evaluation.metrics import frechet_distance
from supernet.evaluation.metrics import gaussian_kernel
from supernet.evaluation.metrics import kernel_distance
from supernet.evaluation.metrics import median_distance
from supernet.evaluation.metrics import nearest_neighbor_distances
from supernet.evaluation.reference import RealImages
from supernet.evaluation.reference import Reference
from supernet.evaluation.samples import judge_samples
from tests.supernet.digit_data import condition_on
from tests.supernet.digit_data import digit_judge
from tests.supernet.digit_data import digit_reference

DATA = digits()
REFERENCE = digit_reference()
JUDGE = digit_judge()
NOISY = (DATA.judge.latents + 0.3 * np.random.default_rng(0).standard_normal((898, 1, 8, 8))).astype(np.float32)


def halves(train: RealImages, judge: RealImages, **options: Any) -> Reference:
    return Reference(train, judge, lambda prompts: condition_on(prompts.captions), **options)


def images(count: int, seed: int = 0, **labels: list[int]) -> RealImages:
    drawn = np.random.default_rng(seed).standard_normal((count, 2, 4, 4)).astype(np.float32)
    columns = {name: np.resize(np.asarray(values, dtype=np.int64), count) for name, values in labels.items()}
    return RealImages(drawn, tuple(f"caption {row}" for row in range(count)), columns, f"{seed:04}")


# Figures --------------------------------------------------------------------------------------------------------------


def test_figures_of_quality_json_are_those_that_digits_were_judged_by_always() -> None:
    """Bit for bit, by the formulas of the first version."""
    prompts = replace(REFERENCE.class_prompts(90), labels={"label": DATA.judge.labels})
    judged = judge_samples([NOISY, DATA.seen.latents[:898]], JUDGE, prompts, steps=3, shift=1.0)
    seen, real = DATA.seen.latents, DATA.judge.latents
    flat = seen.reshape(len(seen), -1)
    classifier = SVC(gamma=0.01, C=10).fit(flat, DATA.seen.labels)
    fd, ratios, shares = [], [], []
    for samples in (NOISY, seen[:898]):
        x, y = samples.reshape(len(samples), -1).astype(np.float64), real.reshape(len(real), -1).astype(np.float64)
        first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
        root_trace = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0)).sum()
        mean = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
        fd.append(round(float(mean + np.trace(first) + np.trace(second) - 2 * root_trace), 4))
        medians = [np.median(nearest_neighbor_distances(each, seen)) for each in (samples, real)]
        ratios.append(float(medians[0] / medians[1]))
        predicted = classifier.predict(samples.reshape(len(samples), -1))
        shares.append(float(np.mean(predicted == DATA.judge.labels)))
    assert judged.fd == tuple(fd) and judged.fd_mean == round(float(np.mean(fd)), 4)
    assert judged.fd_spread == round(max(fd) - min(fd), 4)
    assert judged.nn_ratio == round(float(np.mean(ratios)), 4)
    assert judged.accuracy == round(float(np.mean(shares)), 4)
    assert (judged.samples, judged.seeds, judged.steps, judged.shift) == (900, 2, 3, 1.0)
    assert (judged.feature_space, judged.reference_hash) == ("pixels", REFERENCE.hash)


def test_judging_real_digits() -> None:
    figures = JUDGE.figures(DATA.judge.latents, REFERENCE.judge.labels)
    assert figures["frechet_distance"] == pytest.approx(0, abs=1e-6)
    # Unbiased estimates of a set and itself are below zero: the pairs of a row and itself are in one mean only.
    assert figures["kernel_distance"] < 0 and figures["gaussian_kernel_distance"] < 0
    assert figures["diversity"] == pytest.approx(1) and figures["coverage"] == 1 and figures["nn_ratio"] == 1
    assert figures["accuracy_label"] > 0.97


def test_noise_shows_in_every_figure() -> None:
    real = JUDGE.real_figures(898, seed=0)
    noisy = JUDGE.figures((3 * (NOISY - DATA.judge.latents)).astype(np.float32), REFERENCE.judge.labels)
    for name in ("frechet_distance", "kernel_distance", "gaussian_kernel_distance"):
        assert noisy[name] > 10 * abs(real[name])
    assert noisy["coverage"] < 0.1 and noisy["accuracy_label"] < 0.3 and noisy["nn_ratio"] > 1.2


def test_real_images_are_the_train_half_against_the_judge_half() -> None:
    real, seen, judge = JUDGE.real_figures(10**6, seed=0), DATA.seen.latents, DATA.judge.latents
    assert real["frechet_distance"] == frechet_distance(seen, judge)
    kernel = gaussian_kernel(median_distance(judge))
    assert real["gaussian_kernel_distance"] == pytest.approx(kernel_distance(seen, judge, kernel))
    assert real["nn_ratio"] == 1 and 0.97 < real["accuracy_label"] < 1
    few = JUDGE.real_figures(100, seed=0)
    assert few["frechet_distance"] > 2 * real["frechet_distance"], "the distance of few is larger, for real ones too"
    assert abs(few["kernel_distance"]) < 0.05, "an unbiased one is not"
    assert few == JUDGE.real_figures(100, seed=0) != JUDGE.real_figures(100, seed=1)


def test_memorising_gives_about_half() -> None:
    found = bootstrap_fd(DATA, seeds=2)
    assert found == bootstrap_fd(DATA, seeds=2)
    assert all(0.3 < distance < 0.6 for distance in found)


def test_what_judges_teaches_nothing() -> None:
    """With the judge half's classes turned around, the samples are recognised as before."""
    turned = replace(REFERENCE.judge, labels={"label": 9 - REFERENCE.judge.labels["label"]})
    other = Judge(replace(REFERENCE, judge=turned), PIXELS)
    labels = REFERENCE.judge.labels
    assert other.figures(NOISY, labels) == JUDGE.figures(NOISY, labels)


def test_several_columns_of_classes_and_some_that_are_not_known() -> None:
    train = replace(REFERENCE.train, labels={**REFERENCE.train.labels, "odd": REFERENCE.train.labels["label"] % 2})
    train.labels["odd"][:100] = -1
    judge = replace(REFERENCE.judge, labels={**REFERENCE.judge.labels, "odd": REFERENCE.judge.labels["label"] % 2})
    judged = Judge(replace(REFERENCE, train=train, judge=judge), PIXELS)
    known = np.where(np.arange(898) < 400, judge.labels["odd"], -1)
    figures = judged.figures(judge.latents, {"label": judge.labels["label"], "odd": known})
    assert figures["accuracy_label"] == JUDGE.figures(judge.latents, REFERENCE.judge.labels)["accuracy_label"]
    assert figures["accuracy_odd"] > 0.97
    wrong = np.where(known >= 0, 1 - known, -1)
    assert judged.figures(judge.latents, {"odd": wrong})["accuracy_odd"] < 0.03


def test_a_figure_without_a_value_is_none() -> None:
    same = images(10, label=[0], style=[0, 1])
    judged = Judge(halves(same, same), LATENT_NUMBERS)
    figures = judged.figures(images(12, seed=1).latents, {"label": np.zeros(12, int), "style": np.full(12, -1)})
    assert figures["accuracy_label"] is None and figures["accuracy_style"] is None and figures["nn_ratio"] is None
    flat = replace(same, latents=np.zeros_like(same.latents))
    figures = Judge(halves(same, flat), LATENT_NUMBERS).figures(same.latents, {})
    assert figures["gaussian_kernel_distance"] is None and figures["diversity"] is None


def test_pictures_are_decoded_and_latents_are_not() -> None:
    seen: list[int] = []

    def decode(latents: np.ndarray) -> np.ndarray:
        seen.append(len(latents))
        return np.repeat(latents[:, :1], 3, axis=1) / 2

    reference = halves(images(300), images(20, seed=1), decode=decode)
    found = Judge(reference, PIXELS).features(reference.train.latents)
    assert found.shape == (300, 48) and np.array_equal(
        found[:, :16], reference.train.latents[:, 0].reshape(300, 16) / 2
    )
    assert sum(seen) == 300 and max(seen) < 300, "not all at once"
    assert Judge(reference, LATENT_NUMBERS).features(reference.train.latents).shape == (300, 32)


# What cannot be judged ------------------------------------------------------------------------------------------------


def shaped(make: Callable[[np.ndarray], np.ndarray]) -> object:
    class Space:
        id, hash, expects, linear = "mine", "abcd", "latents", False

        def __call__(self, images: np.ndarray) -> np.ndarray:
            return make(images)

    return Space()


def test_what_cannot_be_judged_is_refused() -> None:
    reference = halves(images(9), images(9, seed=1))
    with pytest.raises(EvaluationError, match="'pixels' needs pictures.*--features latents"):
        Judge(reference, PIXELS)
    with pytest.raises(EvaluationError, match="5 images in judge, which is too few.*at least 6"):
        Judge(replace(reference, judge=images(5)), LATENT_NUMBERS)
    with pytest.raises(EvaluationError, match="0 images in train and validation"):
        Judge(replace(reference, train=images(0)), LATENT_NUMBERS)
    with pytest.raises(EvaluationError, match="samples are not finite"):
        Judge(reference, LATENT_NUMBERS).figures(np.full((6, 2, 4, 4), np.nan, np.float32), {})


@pytest.mark.parametrize(
    "make", [lambda x: x, lambda x: x[:1].reshape(1, -1), lambda x: np.log(-np.square(x.reshape(len(x), -1)))]
)
def test_a_feature_space_that_gives_no_features_is_named(make: Callable[[np.ndarray], np.ndarray]) -> None:
    judge = Judge(halves(images(9), images(9, seed=1)), shaped(make))  # type: ignore[arg-type]
    with np.errstate(invalid="ignore"), pytest.raises(EvaluationError, match="'mine' gives an array of shape"):
        judge.figures(images(9).latents, {})


# Reference and prompts ------------------------------------------------------------------------------------------------


def test_the_reference_is_the_two_halves() -> None:
    assert np.array_equal(REFERENCE.train.latents, DATA.seen.latents)
    assert np.array_equal(REFERENCE.judge.latents, DATA.judge.latents)
    assert REFERENCE.hash == digit_reference().hash
    for half in ("train", "judge"):
        changed = replace(REFERENCE, **{half: replace(getattr(REFERENCE, half), hash="0")})
        assert changed.hash != REFERENCE.hash


def test_prompts_of_classes_come_in_equal_numbers() -> None:
    prompts = REFERENCE.class_prompts(90)
    labels = np.repeat(np.arange(10), 90)
    assert np.array_equal(prompts.labels["label"], labels)
    assert prompts.captions == tuple(digit_caption(label) for label in labels.tolist())
    assert len(REFERENCE.class_prompts(200)) == 2000, "a class with fewer images gives them again"
    with pytest.raises(EvaluationError, match="2 columns of classes"):
        halves(images(9), images(9, a=[0, 1], b=[1, 2])).class_prompts(3)


@pytest.mark.parametrize(("count", "fewest", "most"), [(1, 0, 1), (9, 0, 1), (20, 1, 1), (47, 2, 3), (60, 3, 3)])
def test_drawn_prompts_are_those_of_images_each_as_often_as_others(count: int, fewest: int, most: int) -> None:
    reference = halves(images(9), images(20, label=list(range(20))))
    prompts = reference.draw_prompts(count, seed=3)
    assert len(prompts) == count
    times = np.bincount(prompts.labels["label"], minlength=20)
    assert times.min() == fewest and times.max() == most
    assert prompts.captions == tuple(f"caption {label}" for label in prompts.labels["label"].tolist())
    assert prompts.captions == reference.draw_prompts(count, seed=3).captions
    if count % 20:
        assert prompts.captions != reference.draw_prompts(count, seed=4).captions
