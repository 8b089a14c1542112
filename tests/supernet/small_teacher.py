"""For tests of distillation: a redrawn supernet, its few-step teacher, a few digits, and what stands for a kill."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch import nn

from subdit.space import get_space
from supernet.data.digits import digits
from supernet.distillation.kdmd import KDMDBatch
from supernet.distillation.kdmd import draw_batch
from supernet.few_step_adapter import add_few_step_adapter
from supernet.model.dit import SubDiT
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from tests.supernet.digit_data import digit_data
from tests.supernet.digit_data import word_tensors

SPACE = get_space("digits")
TINY = SPACE.decode(SPACE.enumerate(0, 1))[0]
DATA = digit_data(train=40)
TEXT = word_tensors(digits().train.captions[:40])
EMPTY = word_tensors(("",))


def redrawn_supernet() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.eval()


def teacher_with_adapter() -> SubDiT:
    teacher = redrawn_supernet().full
    add_few_step_adapter(teacher, rank=2)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if "lora" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return teacher.eval()


def drawn_batch(count: int = 8) -> KDMDBatch:
    return draw_batch(DATA, count, seed=5)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def leaping_clock() -> Any:
    """A clock by which every step takes so long that a resume state is written after it."""
    now = iter(range(0, 10**6, 20))
    return SimpleNamespace(perf_counter=lambda: float(next(now)))
