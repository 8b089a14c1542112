"""Distorted pictures: which maps, from which draws, and of which latents."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from subdit.core.errors import ConfigError
from subdit.space import get_space
from supernet.data.loader import BatchOrder
from supernet.training.augmentation import augment
from supernet.training.augmentation import check_augmentation
from supernet.training.config import TrainingConfig
from supernet.training.standalone import train_alone
from supernet.training.trainer import Trainer
from tests.supernet.digit_data import digit_data

SIDE, INSIDE = 32, slice(10, 22)


def _gradients(count: int) -> torch.Tensor:
    """Pictures whose two channels are the coordinates of their pixels' centres, from -1 to 1."""
    at = (2 * torch.arange(SIDE) + 1) / SIDE - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y]).expand(count, 2, SIDE, SIDE)


def test_pictures_are_under_affine_maps_near_the_identity() -> None:
    """Bicubic interpolation keeps affine functions to a hundredth, so that maps can be read off their pictures."""
    amount, count = 0.2, 200
    moved = augment(_gradients(count), amount, seed=3, step=5)
    x, y = (channel[INSIDE, INSIDE].reshape(-1) for channel in _gradients(1)[0])
    design = torch.stack([x, y, torch.ones_like(x)], dim=1)
    target = moved[:, :, INSIDE, INSIDE].reshape(count, 2, -1)
    maps = torch.linalg.lstsq(design.expand(count, -1, 3), target.mT).solution.mT
    torch.testing.assert_close(maps @ design.T, target, atol=0.01, rtol=0)
    away = maps - torch.eye(2, 3)
    assert float(away.abs().max()) <= amount + 0.002
    assert (away.abs().amax(dim=0) > 0.95 * amount).all(), "each of the six entries is drawn over its whole range"
    assert len({tuple(each.flatten().tolist()) for each in away}) == count


def test_distortion_is_a_function_of_seed_and_step() -> None:
    pictures = torch.rand(4, 3, 8, 8)
    first = augment(pictures, 0.1, seed=1, step=2)
    assert torch.equal(first, augment(pictures, 0.1, seed=1, step=2))
    assert not torch.equal(first, augment(pictures, 0.1, seed=1, step=3))
    assert not torch.equal(first, augment(pictures, 0.1, seed=2, step=2))
    assert augment(pictures, 0.0, seed=1, step=2) is pictures


def test_values_stay_in_their_range_and_the_edge_goes_on() -> None:
    pictures = torch.full((8, 3, 8, 8), 1.0)
    pictures[:, :, 3:5, 3:5] = -1.0
    moved = augment(pictures, 0.3, seed=0, step=0)
    assert float(moved.min()) >= -1 and float(moved.max()) <= 1
    assert torch.equal(augment(torch.full((8, 3, 8, 8), 0.5), 0.9, seed=0, step=0), torch.full((8, 3, 8, 8), 0.5))


def test_other_draws_of_a_step_do_not_depend_on_it() -> None:
    space, config = get_space("digits"), TrainingConfig(steps=4, batch_size=8)
    plain, distorted = (Trainer(space, digit_data(), replace(config, augmentation=share)) for share in (0.0, 0.2))
    (batch, members), (other, others) = (each.draw(next(each.batches)) for each in (plain, distorted))
    assert torch.equal(batch.noise, other.noise) and torch.equal(batch.sigma, other.sigma) and members == others
    assert not torch.equal(batch.latents, other.latents)
    read = distorted.data.read("train", distorted.order.rows(0).tolist())
    assert torch.equal(other.latents, augment(read.latents, 0.2, seed=0, step=0))


def test_a_sub_dit_alone_sees_distorted_pictures_too() -> None:
    """One update on distorted pictures is that of a data set that holds them distorted."""
    spec, data = get_space("digits").named_spec("tiny"), digit_data()
    config = TrainingConfig(batch_size=8, augmentation=0.2)
    rows = BatchOrder(data.count("train"), 8, seed=3).rows(0).tolist()
    read = data.read("train", rows)
    distorted = replace(read, latents=augment(read.latents, 0.2, seed=3, step=0))
    held: Any = SimpleNamespace(key=data.key, count=data.count, read=lambda split, rows: distorted)
    one = train_alone(spec, data, updates=1, seed=3, config=config)
    other = train_alone(spec, held, updates=1, seed=3, config=replace(config, augmentation=0.0))
    plain = train_alone(spec, data, updates=1, seed=3, config=replace(config, augmentation=0.0))
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name])
    assert any(not torch.equal(weight, plain.state_dict()[name]) for name, weight in one.state_dict().items())


def test_latents_of_an_autoencoder_are_refused() -> None:
    data: Any = SimpleNamespace(key={"latents": {"class": "AutoencoderKL"}})
    with pytest.raises(ConfigError, match="for latents that are pixels"):
        check_augmentation(TrainingConfig(augmentation=0.1), data)
    check_augmentation(TrainingConfig(), data)
