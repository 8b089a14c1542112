"""Steps of training by one process, and by several among which FSDP2 has cut the weights, for `test_sharded_step.py`.

python -m tests.supernet.sharded_steps FOLDER short|long
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch._dynamo  # noqa: F401  FSDP2 imports it when it is used, and each process would by itself
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

import supernet.training.sharded_balance as sharded_balance
from subdit.space import get_space
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.training.config import TrainingConfig
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import StepLosses
from supernet.training.elastic_step import elastic_step
from supernet.training.optimizers import optimizers_of
from supernet.training.row_shards import clip_row_norm_
from supernet.training.sharded_model import ShardedSupernet
from supernet.training.sharded_step import sharded_elastic_step
from tests.supernet.ranks import run_ranks

SPACE = get_space("digits")
CONFIG = TrainingConfig(steps=20, sub_networks=2)
BATCH = 12


def drawn_batch(count: int, kind: torch.dtype, rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(1)
    shape = (count, 1, 8, 8)
    latents, noise = (torch.randn(shape, generator=generator).to(kind)[rows] for _ in range(2))
    sigma = torch.rand(count, generator=generator).to(kind)[rows]
    text = [tokens.to(kind)[rows] for tokens in list(example_inputs(SPACE, batch=count, seed=2).values())[2:]]
    return Batch(latents, noise, sigma, tuple(text))


def train(
    path: Path, kind: torch.dtype, steps: int, *, rank: int = 0, ranks: int = 0, checkpointing: bool = False
) -> None:
    """Train for some steps, and leave the losses, the first step's gradients and the weights.

    With 0 ranks by `elastic_step`, in one process and with torch's own AdamW.
    """
    supernet = ElasticDiT.of_space(SPACE)
    redraw_(supernet, seed=0)
    supernet.to(kind).train()
    if checkpointing:
        supernet.enable_gradient_checkpointing()
    sharded = ShardedSupernet(supernet, init_device_mesh("cpu", (ranks,))) if ranks else None
    parameters = list(supernet.parameters())
    optimizers = [optimizer for optimizer, _ in optimizers_of(supernet.full, parameters, CONFIG)]
    batch = drawn_batch(BATCH, kind, slice(rank, None, max(1, ranks)))
    losses: list[StepLosses] = []
    left: dict[str, torch.Tensor] = {}
    for step in range(steps):
        specs = SPACE.decode(SPACE.sample(np.random.default_rng(step), CONFIG.sub_networks))
        if sharded is None:
            losses.append(elastic_step(supernet, specs, batch))
        else:
            losses.append(sharded_elastic_step(sharded, specs, batch, accumulation=2))
        if sharded is None:
            torch.nn.utils.clip_grad_norm_(parameters, CONFIG.max_grad_norm)
        else:
            clip_row_norm_(parameters, CONFIG.max_grad_norm, sharded.group)
        if step == 0:
            left |= {f"gradient.{name}": whole(p.grad) for name, p in supernet.named_parameters() if p.grad is not None}
        for optimizer in optimizers:
            optimizer.step()
    left |= {f"weight.{name}": whole(parameter.detach()) for name, parameter in supernet.named_parameters()}
    if rank == 0:
        save_file(left, str(path.with_suffix(".safetensors")))
        path.with_suffix(".json").write_text(json.dumps([asdict(of) for of in losses]))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone().contiguous()


def unreduced(*_: object, **__: object) -> None:
    """Stands for the sum over processes of what balancing needs of all rows."""


def long_training(folder: Path, ranks: int, rank: int) -> None:
    train(folder / f"{ranks}", torch.float32, 20, rank=rank, ranks=ranks)


def main(folder: Path, length: str) -> None:
    """Each training in processes of its own, forked from this one, which computes nothing."""
    if length == "long":
        run_ranks(1, lambda _: train(folder / "1", torch.float32, 20))
        for ranks in (2, 4):
            run_ranks(ranks, partial(long_training, folder, ranks))
        return
    double = torch.float64
    run_ranks(1, lambda _: train(folder / "1", double, 2))
    run_ranks(2, lambda rank: train(folder / "2", double, 2, rank=rank, ranks=2))
    # No width is a multiple of three.
    run_ranks(3, lambda rank: train(folder / "3", double, 2, rank=rank, ranks=3, checkpointing=True))
    sharded_balance.dist = SimpleNamespace(all_reduce=unreduced)  # type: ignore[assignment]
    run_ranks(2, lambda rank: train(folder / "unreduced", double, 1, rank=rank, ranks=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
