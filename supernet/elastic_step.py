"""One step of elastic training: the full network and one sampled sub-network, with balanced gradients (paper, 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from supernet.dit import SubDiT
from supernet.elastic import ElasticDiT
from supernet.flow_matching import add_noise
from supernet.flow_matching import mean_squared_error
from supernet.flow_matching import velocity
from supernet.parallel import run_shards
from supernet.parallel import shard_slices
from supernet.space import SubDiTSpec


@dataclass(frozen=True)
class Batch:
    """Clean latents (batch, channels, size, size), noise of that shape, sigma (batch,), text per encoder, and where
    encoders are dropped the mask (batch, text tokens) of those that stay."""

    latents: Tensor
    noise: Tensor
    sigma: Tensor
    text: tuple[Tensor, ...]
    text_mask: Tensor | None = None


@dataclass(frozen=True)
class StepLosses:
    """Losses and gradient norms of one elastic step."""

    full: float
    sub: float
    distill: float
    full_gradient_norm: float
    sub_gradient_norm: float


def balanced_scale(full_gradient: Tensor, sub_gradient: Tensor) -> Tensor:
    """min(1, |g_full| / |g_sub|) on the slice that both own.

    The paper asks for adaptive scaling without a formula. This one keeps a sub-network from outvoting the full network
    on any tensor they share, the failure that elastic training is known for.
    """
    return (full_gradient.norm() / sub_gradient.norm().clamp_min(1e-12)).clamp(max=1.0)


@dataclass(frozen=True)
class _Member:
    """One member's share of a step: weighted losses, and gradients by its own parameters."""

    losses: tuple[float, ...]
    gradients: tuple[Tensor, ...]


def elastic_step(
    supernet: ElasticDiT,
    spec: SubDiTSpec,
    batch: Batch,
    *,
    sub_weight: float = 1.0,
    distill_weight: float = 0.5,
    shards: int = 1,
) -> StepLosses:
    """Put the gradients of one step into `.grad`; the optimiser's step is the caller's.

    L = L_diff(full) + sub_weight * (L_diff(sub) + distill_weight * |v_sub - stopgrad v_full|^2), both members on the
    same x_t, sigma and text; on each shared tensor the sub-network's gradient is scaled by `balanced_scale`. The batch
    is cut into `shards` that run side by side; losses are means, so the sum of the shards' gradients is the batch's.
    """
    owners = dict(supernet.named_parameters())
    full_parameters = dict(supernet.full.named_parameters())
    slices = shard_slices(len(batch.latents), shards)
    # A functional call swaps the template's parameters in, so that no two threads may share one.
    templates = [supernet.template(spec) for _ in slices]
    shares = supernet.shares(spec, templates[0])
    # Leaves of the sub-network's own shape: its gradients come compact, not as full tensors padded with zeros.
    leaves = {name: share.read(owners[share.owner].detach()).clone().requires_grad_() for name, share in shares.items()}

    def run(job: tuple[slice, SubDiT]) -> tuple[_Member, _Member]:
        rows, template = job
        latents, noise, sigma = batch.latents[rows], batch.noise[rows], batch.sigma[rows]
        part = len(latents) / len(batch.latents)
        target = velocity(latents, noise)
        inputs = (add_noise(latents, noise, sigma), 1000 * sigma, *(text[rows] for text in batch.text))
        options = {} if batch.text_mask is None else {"encoder_attention_mask": batch.text_mask[rows]}
        full_velocity = supernet.full(*inputs, **options)
        full_loss = part * mean_squared_error(full_velocity, target)
        full = _Member((full_loss.item(),), torch.autograd.grad(full_loss, list(full_parameters.values())))
        sub_velocity = functional_call(template, leaves, inputs, options)
        sub_loss = part * mean_squared_error(sub_velocity, target)
        distill_loss = part * mean_squared_error(sub_velocity, full_velocity.detach())
        total = sub_weight * (sub_loss + distill_weight * distill_loss)
        gradients = torch.autograd.grad(total, list(leaves.values()))
        return full, _Member((sub_loss.item(), distill_loss.item()), gradients)

    members = run_shards(run, zip(slices, templates, strict=True))
    full, sub = (_summed([pair[at] for pair in members]) for at in (0, 1))

    supernet.zero_grad(set_to_none=True)
    for parameter, gradient in zip(full_parameters.values(), full.gradients, strict=True):
        parameter.grad = gradient
    full_norm = _norm(full.gradients)
    for share, gradient in zip(shares.values(), sub.gradients, strict=True):
        owner = owners[share.owner]
        if owner.grad is None:
            owner.grad = torch.zeros_like(owner)
        own, added = share.view(owner.grad), share.write_view(gradient)
        own.add_(added if share.owner.startswith("apart.") else balanced_scale(own, added) * added)
    return StepLosses(
        full=full.losses[0],
        sub=sub.losses[0],
        distill=sub.losses[1],
        full_gradient_norm=full_norm,
        sub_gradient_norm=_norm(sub.gradients),
    )


def _summed(members: list[_Member]) -> _Member:
    losses = tuple(sum(values) for values in zip(*(member.losses for member in members), strict=True))
    gradients = list(members[0].gradients)
    for member in members[1:]:
        torch._foreach_add_(gradients, list(member.gradients))
    return _Member(losses, tuple(gradients))


def _norm(gradients: tuple[Tensor, ...]) -> float:
    return torch.stack(torch._foreach_norm(list(gradients))).norm().item()
