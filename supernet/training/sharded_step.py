"""The elastic step of a supernet whose weights FSDP2 cuts among processes: same losses and gradients, each a shard."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch import nn

from subdit.space import SubDiTSpec
from supernet.flow_matching import add_noise
from supernet.flow_matching import mean_squared_error
from supernet.flow_matching import velocity
from supernet.model.placement import device_of
from supernet.model.placement import full_precision
from supernet.parallel import shard_slices
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import StepLosses
from supernet.training.row_shards import local_part
from supernet.training.sharded_balance import add_balanced_shards
from supernet.training.sharded_model import ShardedSupernet


def sharded_elastic_step(
    model: ShardedSupernet,
    specs: Sequence[SubDiTSpec],
    batch: Batch,
    *,
    full_spec: SubDiTSpec | None = None,
    sub_weight: float = 1.0,
    distill_weight: float = 0.5,
    balance: str = "tensor",
    accumulation: int = 1,
) -> StepLosses:
    """As `elastic_step`: put the gradients of one step into `.grad`, here of this process's rows of each tensor.

    `batch` has this process's samples, as many as every other process's; losses, gradients and norms are of all. The
    full network's gradients and each sub-network's are reduced by themselves, part after part, and balanced at the end.
    Members and their order must be the same in all processes, which wait for each other in every block.
    """
    supernet = model.supernet
    batch = batch.on(device_of(supernet))
    owners = dict(supernet.named_parameters())
    slices = [supernet.slices(spec) for spec in specs]
    weight = sub_weight / max(1, len(specs))
    gradients = [_Gradients(owners) for _ in range(1 + len(specs))]
    losses: list[Tensor] = []
    for rows in shard_slices(len(batch.latents), accumulation):
        latents, noise, sigma = batch.latents[rows], batch.noise[rows], batch.sigma[rows]
        fraction = len(latents) / len(batch.latents)
        target = velocity(latents, noise)
        texts = [text[rows] for text in batch.text]
        inputs = (add_noise(latents, noise, sigma), 1000 * sigma, *texts)
        options = {} if batch.text_mask is None else {"encoder_attention_mask": batch.text_mask[rows]}

        full_velocity = model(full_spec, *inputs, **options)
        full_loss = fraction * mean_squared_error(full_velocity, target)
        gradients[0].add(full_loss)
        part = [full_loss.detach()]
        for spec, own in zip(specs, gradients[1:], strict=True):
            sub_velocity = model(spec, *inputs, **options)
            sub_loss = fraction * mean_squared_error(sub_velocity, target)
            distill_loss = fraction * mean_squared_error(sub_velocity, full_velocity.detach())
            own.add(weight * (sub_loss + distill_weight * distill_loss))
            part += [sub_loss.detach(), distill_loss.detach()]
        losses.append(torch.stack(part))

    group = model.group
    mean_losses = torch.stack(losses).sum(0) / dist.get_world_size(group)
    dist.all_reduce(mean_losses, group=group)
    full_loss, *sub_losses = mean_losses.tolist()
    norms = [own.norm(group) for own in gradients]
    for name, owner in owners.items():
        owner.grad = gradients[0].found.get(name)
    add_balanced_shards(owners, slices, [own.found for own in gradients[1:]], balance, group)
    return StepLosses(
        full=full_loss,
        sub=_mean(sub_losses[::2]),
        distill=_mean(sub_losses[1::2]),
        full_gradient_norm=norms[0],
        sub_gradient_norm=_mean(norms[1:]),
    )


class _Gradients:
    """One member's gradients by its owners' names, cut as these are, summed over the parts of a batch."""

    def __init__(self, owners: Mapping[str, nn.Parameter]) -> None:
        self._owners = owners
        self.found: dict[str, Tensor] = {}

    def add(self, loss: Tensor) -> None:
        """Run a backward pass that adds to what was found before, and to nothing else."""
        for name, owner in self._owners.items():
            owner.grad = self.found.get(name)
        loss.backward()
        self.found = {name: owner.grad for name, owner in self._owners.items() if owner.grad is not None}
        for owner in self._owners.values():
            owner.grad = None

    def norm(self, group: dist.ProcessGroup) -> float:
        """Of all gradients together, of all processes."""
        parts = [full_precision(local_part(gradient)) for gradient in self.found.values()]
        square = torch.stack(torch._foreach_norm(parts)).square().sum()
        dist.all_reduce(square, group=group)
        return square.sqrt().item()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
