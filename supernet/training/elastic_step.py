"""One step of elastic training: the full network and one sampled sub-network, with balanced gradients (paper, 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call

from subdit.space import SubDiTSpec
from supernet.flow_matching import add_noise
from supernet.flow_matching import mean_squared_error
from supernet.flow_matching import velocity
from supernet.model.elastic import ElasticDiT
from supernet.model.placement import device_of
from supernet.model.placement import full_precision
from supernet.model.placement import model_inputs
from supernet.parallel import run_shards
from supernet.parallel import shard_slices


@dataclass(frozen=True)
class Batch:
    """Clean latents (batch, channels, size, size), noise of that shape, sigma (batch,), text per encoder, and where
    encoders are dropped the mask (batch, text tokens) of those that stay."""

    latents: Tensor
    noise: Tensor
    sigma: Tensor
    text: tuple[Tensor, ...]
    text_mask: Tensor | None = None

    def on(self, device: torch.device) -> Batch:
        """The same on a device. Types stay: what enters a model is converted there."""
        mask = None if self.text_mask is None else self.text_mask.to(device)
        text = tuple(tokens.to(device) for tokens in self.text)
        return Batch(self.latents.to(device), self.noise.to(device), self.sigma.to(device), text, mask)


@dataclass(frozen=True)
class StepLosses:
    """Losses and gradient norms of one elastic step."""

    full: float
    sub: float
    distill: float
    full_gradient_norm: float
    sub_gradient_norm: float


def balanced_scale(full_gradient: Tensor, sub_gradient: Tensor) -> Tensor:
    """min(1, |g_full| / |g_sub|) on the slice that both own, in float32 at least.

    The paper asks for adaptive scaling without a formula. This one keeps a sub-network from outvoting the full network
    on any tensor they share, the failure that elastic training is known for.
    """
    kind = torch.promote_types(full_gradient.dtype, torch.float32)
    return (full_gradient.norm(dtype=kind) / sub_gradient.norm(dtype=kind).clamp_min(1e-12)).clamp(max=1.0)


@dataclass(frozen=True)
class _Member:
    """One member's share of a step: weighted losses, and gradients by its own parameters."""

    losses: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]


class _Within(nn.Module):
    """Does something with a network within a call of this module, which `functional_call` is able to make.

    A functional call has the slices in the place of the template's parameters while it runs. A checkpointed block runs
    again in the backward pass, so that pass must end before the call does.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, work: Callable[[nn.Module], _Member]) -> _Member:
        return work(self.network)


def elastic_step(
    supernet: ElasticDiT,
    spec: SubDiTSpec,
    batch: Batch,
    *,
    sub_weight: float = 1.0,
    distill_weight: float = 0.5,
    shards: int = 1,
    accumulation: int = 1,
    autocast: torch.dtype | None = None,
) -> StepLosses:
    """Put the gradients of one step into `.grad`; the optimiser's step is the caller's.

    L = L_diff(full) + sub_weight * (L_diff(sub) + distill_weight * |v_sub - stopgrad v_full|^2), both members on the
    same x_t, sigma and text; on each shared tensor the sub-network's gradient is scaled by `balanced_scale`. The batch
    goes through in `accumulation` parts one after the other, of whose activations only one part's are held at a time;
    a part is cut into `shards` that run side by side. Losses are means, so the sum of the parts' gradients is the
    batch's. Gradients are balanced over that sum, because the scale of a sum is not the sum of scales.

    The batch is moved to the supernet's device, where a processor alone has shards. Noise is added, and losses, norms,
    scales and sums of gradients are taken in float32 at least, whatever the supernet computes in. With `autocast` both
    members compute in that type where torch's autocast does so; parameters and gradients keep theirs. Where the
    supernet's gradient checkpointing is enabled, it is for both members.
    """
    device = device_of(supernet)
    batch = batch.on(device)
    owners = dict(supernet.named_parameters())
    full_parameters = dict(supernet.full.named_parameters())
    slices = supernet.slices(spec)
    # Leaves of the sub-network's own shape: its gradients come compact, not as full tensors padded with zeros.
    leaves = {name: part.copy(owners[part.owner].detach()).requires_grad_() for name, part in slices.items()}

    def run(rows: slice) -> tuple[_Member, _Member]:
        latents, noise, sigma = batch.latents[rows], batch.noise[rows], batch.sigma[rows]
        fraction = len(latents) / len(batch.latents)
        target = velocity(latents, noise)
        x_t = add_noise(latents, noise, sigma)
        inputs = model_inputs(supernet, x_t, 1000 * sigma, [text[rows] for text in batch.text])
        options = {} if batch.text_mask is None else {"encoder_attention_mask": batch.text_mask[rows]}
        with _autocast(device, autocast):
            full_velocity = supernet.full(*inputs, **options)
            full_loss = fraction * mean_squared_error(full_velocity, target)
        full = _Member((full_loss.detach(),), torch.autograd.grad(full_loss, list(full_parameters.values())))

        def sub_member(network: nn.Module) -> _Member:
            with _autocast(device, autocast):
                sub_velocity = network(*inputs, **options)
                sub_loss = fraction * mean_squared_error(sub_velocity, target)
                distill_loss = fraction * mean_squared_error(sub_velocity, full_velocity.detach())
                total = sub_weight * (sub_loss + distill_weight * distill_loss)
            gradients = torch.autograd.grad(total, list(leaves.values()))
            return _Member((sub_loss.detach(), distill_loss.detach()), gradients)

        # Asked for here: a functional call swaps parameters in, so that no two threads may have one template.
        template = supernet.template(spec, checkpointed=supernet.is_gradient_checkpointing)
        named = {f"network.{name}": leaf for name, leaf in leaves.items()}
        return full, functional_call(_Within(template), named, (sub_member,))

    full_gradients: list[Tensor] = []
    sub_gradients: list[Tensor] = []
    losses: list[Tensor] = []

    def add_part(rows: slice) -> None:
        """In a function of its own, so that a part's gradients are gone before the next part begins."""
        within = shard_slices(rows.stop - rows.start, shards, device)
        for full, sub in run_shards(run, [slice(rows.start + own.start, rows.start + own.stop) for own in within]):
            _add(full_gradients, full.gradients)
            _add(sub_gradients, sub.gradients)
            losses.append(torch.stack([*full.losses, *sub.losses]))

    for rows in shard_slices(len(batch.latents), accumulation):
        add_part(rows)
    # Read at once, and at the end: a device works on until then.
    full_loss, sub_loss, distill_loss = (sum(values) for values in zip(*torch.stack(losses).tolist(), strict=True))

    supernet.zero_grad(set_to_none=True)
    for parameter, gradient in zip(full_parameters.values(), full_gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    full_norm = _norm(full_gradients)
    for part, gradient in zip(slices.values(), sub_gradients, strict=True):
        owner = owners[part.owner]
        if owner.grad is None:
            owner.grad = torch.zeros_like(owner)
        own, added = part.view(owner.grad), part.write_view(full_precision(gradient))
        # In float32 up to the one rounding that the sum takes where it lies.
        own.add_(added if part.owner.startswith("apart.") else balanced_scale(own, added) * added)
    return StepLosses(
        full=full_loss,
        sub=sub_loss,
        distill=distill_loss,
        full_gradient_norm=full_norm,
        sub_gradient_norm=_norm(sub_gradients),
    )


def _autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Where it is entered, since autocast is a state of the thread; without its cache, which threads would share."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype, cache_enabled=False)


def _add(total: list[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add a part's gradients to those of the parts before it; several are added up in float32 at least."""
    if not total:
        total.extend(gradients)
        return
    total[:] = [full_precision(gradient) for gradient in total]
    torch._foreach_add_(total, list(gradients))


def _norm(gradients: Sequence[Tensor]) -> float:
    kind = torch.promote_types(gradients[0].dtype, torch.float32)
    return torch.stack(torch._foreach_norm(list(gradients), dtype=kind)).norm().item()
