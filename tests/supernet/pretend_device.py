"""What a supernet does on a device that is no processor, without one: `python -m tests.supernet.pretend_device`.

Tensors are torch's fake ones, which have a device and no numbers, and refuse operations on tensors of two devices. The
device is a name that is registered for this process, hence the process of its own: autograd of fake CUDA tensors needs
a torch that was built with CUDA. Where numbers are asked for, which fake tensors have not, `numpy()` gives zeros.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.library import Library
from torch.library import fallthrough_kernel
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from subdit.space import SubDiTSpec
from subdit.space import get_space
from subdit.space import register_space
from supernet import pipeline as pipeline_module
from supernet.data.data_set import DataBatch
from supernet.data.data_set import TextBatch
from supernet.distillation.few_step_teacher import draw_trajectories
from supernet.distillation.kdmd import Student
from supernet.distillation.kdmd import critic_loss
from supernet.distillation.kdmd import draw_batch
from supernet.evaluation.samples import generate
from supernet.evaluation.validation_loss import predicted_velocities
from supernet.evaluation.validation_loss import validation_loss
from supernet.evaluation.validation_loss import validation_set
from supernet.evaluation.validation_loss import velocity_function
from supernet.model.elastic import ElasticDiT
from supernet.parallel import sharded_backward
from supernet.pipeline import SubDiTPipeline
from supernet.sampling import sample_euler
from supernet.training.config import TrainingConfig
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import elastic_step
from supernet.training.trainer import Trainer
from tests.supernet.digit_data import condition_on
from tests.supernet.digit_data import digit_data
from tests.supernet.digit_data import word_tensors

DEVICE = "pretend"
DIGITS, NAME = get_space("digits"), "digits-of-few-blocks"
# Fake tensors take as long for each operation as computing does, and more blocks of a kind have nothing else to leave.
FULL = SubDiTSpec(NAME, DIGITS.widths[-1], (1, 2, 2), (4, 3, 4), (4, 4), (1, 1), 2)
SPEC = replace(FULL, width=DIGITS.widths[0], depth=(1, 2, 1))
SPACE = register_space(replace(DIGITS, name=NAME, depths=((1,), (2,), (1, 2)), named={"tiny": SPEC, "full": FULL}))


class Zeros:
    """A data set whose latents are fake, as all tensors here."""

    def count(self, split: str) -> int:
        return 2

    def read(self, split: str, rows: list[int]) -> DataBatch:
        text = word_tensors(("",) * len(rows))
        mask = torch.ones(text[0].shape[:2], dtype=torch.bool)
        return DataBatch(("",) * len(rows), torch.zeros(len(rows), 1, 8, 8), TextBatch(text, mask))

    def null_text(self) -> TextBatch:
        return self.read("train", [0]).text


ROWS: Any = Zeros()


def made(dtype: torch.dtype) -> ElasticDiT:
    with torch.device(DEVICE):
        supernet = ElasticDiT(space=NAME)
    # `to` cannot exchange fake parameters.
    for module in supernet.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().to(dtype))
    return supernet


def batch(count: int = 4) -> Batch:
    text = word_tensors(("a handwritten digit three",) * count)
    return Batch(torch.zeros(count, 1, 8, 8), torch.zeros(count, 1, 8, 8), torch.ones(count) / 2, text)


def step(supernet: ElasticDiT) -> None:
    # More shards than one are for a processor: fake tensors know one thread only.
    elastic_step(supernet, [SPEC], batch(), shards=2)
    assert all(p.grad is None or (p.grad.device, p.grad.dtype) == (p.device, p.dtype) for p in supernet.parameters())
    assert sum(p.grad is not None for p in supernet.parameters()) > 100


def autocast_step(supernet: ElasticDiT) -> None:
    plain = made(torch.float32)
    elastic_step(plain, [SPEC], batch(), accumulation=2, autocast=torch.bfloat16)
    assert all(p.grad is None or (p.grad.device, p.grad.dtype) == (p.device, p.dtype) for p in plain.parameters())
    assert not torch.is_autocast_enabled(DEVICE)


def training(supernet: ElasticDiT) -> None:
    """A step with each kind of optimiser, and of the average."""
    for optimizer in ("muon", "adamw"):
        config = TrainingConfig(batch_size=4, accumulation=2, optimizer=optimizer, gradient_checkpointing=True)
        # Made there, since fake parameters cannot be moved.
        with torch.device(DEVICE):
            trainer = Trainer(SPACE, ROWS, config, device=torch.device(DEVICE))
        trainer.null = ROWS.null_text()
        # A step asks whether its losses are finite, and AdamW for its own count of steps.
        FakeTensor.item = lambda self: 1.0  # type: ignore[method-assign, assignment]
        FakeTensor.tolist = lambda self: np.ones(self.shape).tolist()  # type: ignore[method-assign]
        trainer.train_step(0.5)
        places = {p.device.type for p in trainer.supernet.parameters()}
        places |= {shadow.device.type for shadow in trainer.ema.shadow_params}
        assert places == {DEVICE} and trainer.shards == 1


def forward(supernet: ElasticDiT) -> None:
    inputs = (torch.zeros(2, 1, 8, 8), torch.zeros(2), *word_tensors(("", "")))
    like = next(supernet.parameters())
    placed = [value.to(like.device, like.dtype) for value in inputs]
    inside, alone = supernet(*placed, spec=SPEC), supernet.extract(SPEC)(*placed)
    assert inside.device.type == alone.device.type == DEVICE and inside.dtype == alone.dtype == like.dtype


def sample(supernet: ElasticDiT) -> None:
    velocity = velocity_function(supernet, SPEC, word_tensors(("", "")))
    assert sample_euler(velocity, np.zeros((2, 1, 8, 8), np.float32), steps=2).shape == (2, 1, 8, 8)


def judged(supernet: ElasticDiT) -> None:
    model = supernet.extract(SPEC).requires_grad_(False)
    text = condition_on(("a handwritten one",) * 3)
    assert generate(model, NAME, text, steps=2, guidance_scale=1.5).shape == (3, 1, 8, 8)


def pipeline(supernet: ElasticDiT) -> None:
    model = supernet.extract(SPEC)
    piped = SubDiTPipeline(transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0))
    piped.set_progress_bar_config(disable=True)
    text = list(word_tensors(("", "")))
    options: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 2.0, "negative_prompt_embeds": text}
    latents = torch.zeros(2, 1, 8, 8)

    def check(scheduler: FlowMatchEulerDiscreteScheduler) -> None:
        # Fake sigmas have no numbers to look at; real ones are looked at where nobody waits for a device.
        assert scheduler.sigmas.device.type == "cpu"

    pipeline_module._check_sigmas = check
    assert piped(text, latents=latents, output_type="latent", **options).images.device.type == DEVICE


def shards(supernet: ElasticDiT) -> None:
    like = next(supernet.parameters())
    layer = nn.Linear(3, 3, device=DEVICE, dtype=like.dtype)
    rows = torch.zeros(6, 3, device=DEVICE, dtype=like.dtype)
    seen = []

    def loss_of(part: slice) -> Tensor:
        seen.append(part)
        return layer(rows[part]).square().mean()

    sharded_backward(loss_of, list(layer.parameters()), 6)
    assert seen == [slice(0, 6)], "shards are for a processor"


def few_steps(supernet: ElasticDiT) -> None:
    drawn = draw_trajectories(supernet.extract(SPEC), ROWS, torch.arange(2), substeps=1, seed=0)
    assert (drawn.points.device.type, drawn.points.shape) == ("cpu", (2, 5, 1, 8, 8))


def distilled(supernet: ElasticDiT) -> None:
    # Distillation is in float32 throughout.
    plain = made(torch.float32)
    with torch.device(DEVICE):
        student = Student(plain.extract(SPEC), 96)
    drawn = draw_batch(ROWS, 2, seed=0, device=DEVICE)
    assert {drawn.x_t.device.type, drawn.tau.device.type, drawn.noise.device.type} == {DEVICE}
    assert critic_loss(student, plain.extract(SPEC), drawn).device.type == DEVICE


def mixed(supernet: ElasticDiT) -> None:
    """Not what anything does: that a tensor left on the processor is noticed at all."""
    supernet(torch.zeros(2, 1, 8, 8), torch.zeros(2), *word_tensors(("", "")), spec=SPEC)


SCENARIOS: dict[str, Callable[[ElasticDiT], Any]] = {
    "elastic step": step,
    "elastic step in bfloat16": autocast_step,
    "forward and extract": forward,
    "validation loss": lambda supernet: validation_loss(supernet, validation_set(digit_data(), per_image=1), spec=SPEC),
    "validation velocities": lambda supernet: predicted_velocities(supernet, SPEC, validation_set(digit_data())),
    "sampling": sample,
    "judging": judged,
    "pipeline": pipeline,
    "sharded backward": shards,
    "few-step trajectories": few_steps,
    "K-DMD": distilled,
    "mixed": mixed,
    # The last one, since numbers of fake tensors are ones from then on.
    "training": training,
}


def zeros(tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.device.type != "cpu":
        raise TypeError(f"can't convert a tensor on {tensor.device} to numpy; copy it to host memory first")
    return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))


def main() -> None:
    _setup_privateuseone_for_python_backend(DEVICE)
    # Autocast may be entered there, and casts nothing.
    getattr(torch, DEVICE).get_amp_supported_dtype = lambda: [torch.bfloat16]
    library = Library("_", "IMPL")
    library.fallback(fallthrough_kernel, "AutocastPrivateUse1")
    torch.set_num_threads(2)
    FakeTensor.numpy = zeros  # type: ignore[method-assign]
    found = {}
    with FakeTensorMode(allow_non_fake_inputs=False, shape_env=ShapeEnv()):
        supernet = made(torch.bfloat16)
        for name, scenario in SCENARIOS.items():
            try:
                scenario(supernet)
                found[name] = ""
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"[:300]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
