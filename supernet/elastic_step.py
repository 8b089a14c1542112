"""One step of elastic training: the full network and one sampled sub-network, with balanced gradients (paper, 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from supernet.elastic import ElasticDiT
from supernet.flow_matching import add_noise
from supernet.flow_matching import mean_squared_error
from supernet.flow_matching import velocity
from supernet.space import SubDiTSpec


@dataclass(frozen=True)
class Batch:
    """Clean latents (batch, channels, size, size), noise of that shape, sigma (batch,), text per encoder."""

    latents: Tensor
    noise: Tensor
    sigma: Tensor
    text: tuple[Tensor, ...]


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


def elastic_step(
    supernet: ElasticDiT, spec: SubDiTSpec, batch: Batch, *, sub_weight: float = 1.0, distill_weight: float = 0.5
) -> StepLosses:
    """Put the gradients of one step into `.grad`; the optimiser's step is the caller's.

    L = L_diff(full) + sub_weight * (L_diff(sub) + distill_weight * |v_sub - stopgrad v_full|^2), both members on the same
    x_t, sigma and text; on each shared tensor the sub-network's gradient is scaled by `balanced_scale`.
    """
    supernet.zero_grad(set_to_none=False)
    owners = dict(supernet.named_parameters())
    x_t = add_noise(batch.latents, batch.noise, batch.sigma)
    target = velocity(batch.latents, batch.noise)
    inputs = (x_t, 1000 * batch.sigma, *batch.text)

    full_velocity = supernet.full(*inputs)
    full_loss = mean_squared_error(full_velocity, target)
    full_loss.backward()  # type: ignore[no-untyped-call]

    template = supernet.template(spec)
    shares = supernet.shares(spec, template)
    # Leaves of the sub-network's own shape: its gradients come compact, not as full tensors padded with zeros.
    leaves = {name: share.read(owners[share.owner].detach()).clone().requires_grad_() for name, share in shares.items()}
    sub_velocity = functional_call(template, leaves, inputs)
    sub_loss = mean_squared_error(sub_velocity, target)
    distill_loss = mean_squared_error(sub_velocity, full_velocity.detach())
    total = sub_weight * (sub_loss + distill_weight * distill_loss)
    gradients = torch.autograd.grad(total, list(leaves.values()))

    norms = []
    for share, gradient in zip(shares.values(), gradients, strict=True):
        owner = owners[share.owner]
        if owner.grad is None:
            owner.grad = torch.zeros_like(owner)
        own = share.view(owner.grad)
        added = share.write_view(gradient)
        norms.append(gradient.norm())
        scale = 1.0 if share.owner.startswith("apart.") else balanced_scale(own, added)
        own.add_(scale * added)
    full_norm = torch.stack([p.grad.norm() for p in supernet.full.parameters() if p.grad is not None]).norm()
    return StepLosses(
        full=full_loss.item(),
        sub=sub_loss.item(),
        distill=distill_loss.item(),
        full_gradient_norm=full_norm.item(),
        sub_gradient_norm=torch.stack(norms).norm().item(),
    )
