"""Quality of a model: validation loss, and samples by seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from subdit.space import get_space
from supernet.data.digits import digits
from supernet.evaluation.samples import generate
from supernet.evaluation.validation_loss import predicted_velocities
from supernet.evaluation.validation_loss import validation_loss
from supernet.evaluation.validation_loss import validation_set
from supernet.flow_matching import add_noise
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from tests.supernet.digit_data import condition_on
from tests.supernet.digit_data import digit_data

SPACE = get_space("digits")
DATA = digits()


@pytest.fixture(scope="module")
def supernet() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.eval()


def test_validation_set_is_fixed_and_of_the_validation_images() -> None:
    one, again, other = validation_set(digit_data()), validation_set(digit_data()), validation_set(digit_data(), seed=1)
    assert one.hash == again.hash != other.hash
    assert torch.equal(one.noise, again.noise)
    allowed = {image.tobytes() for image in DATA.validation.latents}
    assert {image.tobytes() for image in one.latents.numpy()} == allowed
    count = len(one.sigma)
    assert count == 200
    assert sorted((one.sigma * count).tolist()) == pytest.approx([at + 0.5 for at in range(count)], abs=1e-3)


def test_validation_loss_by_hand(supernet: ElasticDiT) -> None:
    spec = SPACE.named["tiny"]
    data = validation_set(digit_data(validation=5), per_image=1)
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
    data = validation_set(digit_data(validation=11), per_image=1)
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
    data = validation_set(digit_data())
    target = (data.noise - data.latents).square().mean().item()
    assert validation_loss(ElasticDiT(space="digits"), data, spec=SPACE.named["tiny"]) == pytest.approx(target)


def test_generation_is_seeded_and_guided(supernet: ElasticDiT) -> None:
    model = supernet.extract(SPACE.decode(SPACE.enumerate(0, 1))[0])
    captions = ("a handwritten zero", "a handwritten seven", "a handwritten seven")

    def drawn(**options: float) -> np.ndarray:
        return generate(model, "digits", condition_on(captions), steps=2, **options)  # type: ignore[arg-type]

    one = drawn()
    assert one.shape == (3, 1, 8, 8) and np.array_equal(one, drawn())
    assert not np.array_equal(one[1], one[2]), "one class, two noises"
    assert not np.array_equal(one, drawn(seed=1))
    np.testing.assert_allclose(one, drawn(guidance_scale=1.0), atol=1e-6)
    assert np.abs(one - drawn(guidance_scale=2.0)).max() > 1e-3
