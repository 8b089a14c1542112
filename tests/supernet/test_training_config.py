"""The configuration of a training: what it may be, and what follows from it on a device and for a space."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import nn

from subdit.core.errors import ConfigError
from subdit.core.settings import settings_of
from subdit.space import get_space
from supernet.flow_matching import resolution_shift
from supernet.flow_matching import sample_sigma
from supernet.model.dit import SubDiT
from supernet.model.placement import autocast_dtype
from supernet.training.config import TrainingConfig
from supernet.training.noise import noise_shift
from supernet.training.optimizers import optimizers_of


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps is 0; give a whole number from 1 to"),
        ({"ceiling_s": 0.0}, "ceiling_s is 0.0; give a number of seconds above 0, or null"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; give a number above 0"),
        ({"warmup": 1.0}, "warmup is 1.0; give a number from 0 below 1"),
        ({"text_drop": 1.5}, "text_drop is 1.5; give a number from 0 to 1"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"precision": "fp16"}, "precision is 'fp16'; give one of auto, fp32, bf16"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; give one of muon, adamw"),
        ({"sigma_shift": 0.0}, "sigma_shift is 0.0; give a number above 0, or null"),
        ({"sample_prompts": "a prompt"}, "sample_prompts is 'a prompt'; give a list of texts"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing is 1; give true or false"),
        ({"batch_size": 4, "accumulation": 5}, "A batch of 4 images does not go through in 5 parts; give a lower"),
        ({"keep_checkpoints": 3}, "none; give validate_every"),
    ],
)
def test_a_training_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        TrainingConfig(**options)
    assert "\n" not in str(refused.value)


def test_every_field_says_what_it_is() -> None:
    stated = settings_of(TrainingConfig)
    assert list(stated) == [entry.name for entry in fields(TrainingConfig)]
    assert all(each.help.endswith(".") and each.help[0].isupper() for each in stated.values())
    assert TrainingConfig(sample_prompts=["a"]) == TrainingConfig(sample_prompts=("a",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        ("auto", "cpu", None),
        ("auto", "cuda", torch.bfloat16),
        ("auto", "mps", None),
        ("bf16", "cpu", torch.bfloat16),
        ("fp32", "cuda", None),
    ],
)
def test_precision_by_device(precision: str, device: str, expected: torch.dtype | None) -> None:
    assert autocast_dtype(precision, torch.device(device)) == expected


def test_the_shift_is_the_configurations_or_by_resolution() -> None:
    paper = get_space("paper")
    assert noise_shift(TrainingConfig(), paper) == resolution_shift(paper.tokens) == pytest.approx(3.0)
    assert noise_shift(TrainingConfig(sigma_shift=2.5), paper) == 2.5
    assert noise_shift(TrainingConfig(), get_space("digits")) == 1.0


def test_the_shift_by_resolution() -> None:
    assert [resolution_shift(get_space(name).grid ** 2) for name in ("digits", "mid-256")] == [1.0, 1.0]
    assert resolution_shift(get_space("paper").grid ** 2) == pytest.approx(3.0)
    assert resolution_shift(1024) == pytest.approx(3**0.5), "half-way between the two, in logarithms"


@pytest.mark.parametrize("shift", [1.0, 1.7, 3.0])
def test_drawn_sigmas_have_the_closed_form_of_their_distribution(shift: float) -> None:
    """A shift s takes sigma to s sigma / (1 + (s - 1) sigma), so the logit of what is drawn is normal around log s.

    One draw from each of n equally likely parts: no quantile is off by more than 1 / n. Independent draws, another
    shift or a uniform distribution would be.
    """
    generator = torch.Generator().manual_seed(0)
    count = 4000
    drawn = sample_sigma(count, generator=generator, shift=shift).double().sort().values
    quantiles = torch.special.ndtr((drawn / (1 - drawn)).log() - torch.tensor(shift).log())
    expected = (torch.arange(count) + 0.5) / count
    assert (quantiles - expected).abs().max() <= 0.5 / count + 1e-5


def test_adamw_alone_has_all_parameters() -> None:
    model = SubDiT.from_spec(get_space("digits"), get_space("digits").named["tiny"])
    parameters = list(model.parameters())
    config = TrainingConfig(optimizer="adamw", learning_rate=1e-3)
    ((optimizer, peak),) = optimizers_of(model, parameters, config)
    assert type(optimizer) is torch.optim.AdamW and peak == 1e-3
    owned = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(owned) == sorted(map(id, parameters))
    both = [type(each).__name__ for each, _ in optimizers_of(model, parameters, TrainingConfig())]
    assert set(both) == {"Muon", "AdamW"}


def test_one_muon_on_a_device_that_is_no_processor() -> None:
    """Shards of the matrices are for the cores of a processor."""
    with torch.device("meta"):
        model = nn.ModuleDict({"down": nn.ModuleList(nn.Linear(4, 4) for _ in range(8))})
    made = [each for each, _ in optimizers_of(model, list(model.parameters()), TrainingConfig())]
    assert [type(each).__name__ for each in made] == ["Muon", "AdamW"]


def test_adamw_reads_a_gradient_whose_strides_are_not_its_weights() -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    stepped = []
    for order in (torch.contiguous_format, torch.channels_last):
        model = nn.ParameterDict({"weight": nn.Parameter(weight.clone())})
        ((adamw, _),) = optimizers_of(model, list(model.parameters()), TrainingConfig(optimizer="adamw"))
        model["weight"].grad = gradient.to(memory_format=order)
        adamw.step()
        stepped.append(model["weight"].detach())
    torch.testing.assert_close(*stepped, rtol=0, atol=0)


def test_longer_trainings_have_lower_rates_unless_they_are_set() -> None:
    short, long = TrainingConfig(steps=100), TrainingConfig(steps=4 * 1235)
    assert (short.adamw_peak, short.muon_peak) == (TrainingConfig().adamw_peak, TrainingConfig().muon_peak)
    assert (long.adamw_peak, long.muon_peak) == pytest.approx((short.adamw_peak / 2, short.muon_peak / 2))
    given = TrainingConfig(steps=10**6, learning_rate=3e-3, muon_learning_rate=4e-3)
    assert (given.adamw_peak, given.muon_peak) == (3e-3, 4e-3)
