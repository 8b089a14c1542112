"""What quality means: distances against references that are computed another way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from benchmarks.quality import bootstrap_fd
from subdit.space import get_space
from supernet.data.digits import load_data
from supernet.evaluation.metrics import frechet_distance
from supernet.evaluation.metrics import nearest_neighbor_distances
from supernet.evaluation.metrics import novelty
from supernet.evaluation.metrics import recognised
from supernet.evaluation.samples import class_labels
from supernet.evaluation.samples import generate
from supernet.evaluation.samples import judge
from supernet.evaluation.validation_loss import predicted_velocities
from supernet.evaluation.validation_loss import validation_loss
from supernet.evaluation.validation_loss import validation_set
from supernet.flow_matching import add_noise
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT

SPACE = get_space("digits")
DATA = load_data("digits")


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


def test_frechet_distance_in_closed_form() -> None:
    x = np.random.default_rng(0).standard_normal((500, 1, 4, 4)).astype(np.float32)
    shift = np.linspace(-1, 1, 16).reshape(1, 4, 4).astype(np.float32)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x + shift) == pytest.approx(np.square(shift).sum(), rel=1e-4)
    variance = np.cov(x.reshape(500, -1), rowvar=False).trace()
    middle = x - x.mean(axis=0)
    assert frechet_distance(middle, 3 * middle) == pytest.approx((3 - 1) ** 2 * variance, rel=1e-4)


def test_frechet_distance_of_a_singular_covariance_is_finite() -> None:
    """Real digits have pixels that are always empty."""
    assert 0.2 < frechet_distance(DATA.seen.latents, DATA.judge.latents) < 0.4


def test_nearest_neighbours_by_exhaustion() -> None:
    rng = np.random.default_rng(1)
    samples, references = rng.standard_normal((7, 1, 3, 3)), rng.standard_normal((11, 1, 3, 3))
    expected = [min(np.linalg.norm((one - other).ravel()) for other in references) for one in samples]
    np.testing.assert_allclose(nearest_neighbor_distances(samples, references), expected, rtol=1e-6)


def test_novelty_of_copies_is_zero_and_of_real_unseen_ones_is_one() -> None:
    seen, unseen = DATA.seen.latents, DATA.judge.latents
    assert novelty(seen, seen=seen, judge=unseen) == 0
    assert novelty(unseen, seen=seen, judge=unseen) == 1
    assert novelty(np.random.default_rng(0).uniform(-1, 1, unseen.shape), seen=seen, judge=unseen) > 2


def test_recognition_of_real_unseen_digits() -> None:
    assert recognised(DATA.judge.latents, DATA.judge.labels, seen=DATA.seen) > 0.97
    assert recognised(DATA.judge.latents, (DATA.judge.labels + 1) % 10, seen=DATA.seen) < 0.02


def test_judging_real_digits() -> None:
    judged = judge([DATA.judge.latents, DATA.seen.latents[:898]], DATA, DATA.judge.labels)
    assert judged.fd[0] == pytest.approx(0, abs=1e-6)
    assert judged.fd_mean == pytest.approx(np.mean(judged.fd), abs=1e-3)
    assert judged.fd_spread == pytest.approx(judged.fd[1] - judged.fd[0], abs=1e-3)
    assert judged.seeds == 2 and judged.samples == 898


def test_memorising_gives_about_half() -> None:
    found = bootstrap_fd(DATA, seeds=2)
    assert found == bootstrap_fd(DATA, seeds=2)
    assert all(0.3 < distance < 0.6 for distance in found)


def test_classes_are_judged_in_equal_numbers() -> None:
    labels = class_labels()
    assert len(labels) == 900 and np.bincount(labels).tolist() == [90] * 10


# On models ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def supernet() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.eval()


def test_validation_set_is_fixed_and_of_the_validation_images() -> None:
    one, again, other = validation_set("digits"), validation_set("digits"), validation_set("digits", seed=1)
    assert one.hash == again.hash != other.hash
    assert torch.equal(one.noise, again.noise)
    allowed = {image.tobytes() for image in DATA.validation.latents}
    assert {image.tobytes() for image in one.latents.numpy()} == allowed
    count = len(one.sigma)
    assert count == 200
    assert sorted((one.sigma * count).tolist()) == pytest.approx([at + 0.5 for at in range(count)], abs=1e-3)


def test_validation_loss_by_hand(supernet: ElasticDiT) -> None:
    spec = SPACE.named["tiny"]
    data = validation_set("digits", data=DATA.validation.take(range(5)), per_image=1)
    found = validation_loss(supernet, data, spec=spec)
    assert found == validation_loss(supernet, data, spec=spec)
    alone = supernet.extract(spec)
    errors = []
    for row in range(5):
        sigma, clean, noise = data.sigma[row], data.latents[row], data.noise[row]
        with torch.no_grad():
            x_t = ((1 - sigma) * clean + sigma * noise)[None]
            predicted = alone(x_t, 1000 * sigma[None], data.text[0][row : row + 1])[0]
        errors.append(float(np.mean((predicted - (noise - clean)).numpy() ** 2)))
    assert found == pytest.approx(np.mean(errors), rel=1e-5)
    assert validation_loss(supernet, data, spec=SPACE.named["full"]) != found


@pytest.mark.parametrize("name", ["tiny", "full"])
def test_predictions_are_the_sub_networks_within_the_supernet_on_any_number_of_threads(
    supernet: ElasticDiT, name: str
) -> None:
    spec = replace(SPACE.named[name], bna_radius=(2, 0))
    data = validation_set("digits", data=DATA.validation.take(range(11)), per_image=1)
    x_t = add_noise(data.latents, data.noise, data.sigma)
    with torch.no_grad():
        expected = supernet(x_t, 1000 * data.sigma, *data.text, spec=spec).numpy()
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(predicted_velocities(supernet, spec, data))
    finally:
        torch.set_num_threads(before)
    assert found[0].shape == expected.shape
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_a_silent_model_has_the_loss_of_the_target_itself() -> None:
    data = validation_set("digits")
    target = (data.noise - data.latents).square().mean().item()
    assert validation_loss(ElasticDiT(space="digits"), data, spec=SPACE.named["tiny"]) == pytest.approx(target)


def test_generation_is_seeded_and_guided(supernet: ElasticDiT) -> None:
    model = supernet.extract(SPACE.decode(SPACE.enumerate(0, 1))[0])
    labels = np.asarray([0, 7, 7])

    def drawn(**options: float) -> np.ndarray:
        return generate(model, "digits", labels, steps=2, **options)  # type: ignore[arg-type]

    one = drawn()
    assert one.shape == (3, 1, 8, 8) and np.array_equal(one, drawn())
    assert not np.array_equal(one[1], one[2]), "one class, two noises"
    assert not np.array_equal(one, drawn(seed=1))
    np.testing.assert_allclose(one, drawn(guidance_scale=1.0), atol=1e-6)
    assert np.abs(one - drawn(guidance_scale=2.0)).max() > 1e-3
