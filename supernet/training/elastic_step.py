"""One step of elastic training: the full network and sampled sub-networks, with balanced gradients (paper, 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from typing import TypeVar
from typing import cast

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
from supernet.training.balance import add_balanced
from supernet.training.world import World


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
    """Losses and gradient norms of one elastic step; where it had several sub-networks, their means."""

    full: float
    sub: float
    distill: float
    full_gradient_norm: float
    sub_gradient_norm: float


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

    def forward(self, work: Callable[[nn.Module], Any]) -> Any:
        return work(self.network)


_Result = TypeVar("_Result")


def elastic_step(
    supernet: ElasticDiT,
    specs: Sequence[SubDiTSpec],
    batch: Batch,
    *,
    full_spec: SubDiTSpec | None = None,
    sub_weight: float = 1.0,
    distill_weight: float = 0.5,
    balance: str = "tensor",
    shards: int = 1,
    accumulation: int = 1,
    autocast: torch.dtype | None = None,
    world: World | None = None,
) -> StepLosses:
    """Put the gradients of one step into `.grad`; the optimiser's step is the caller's.

    L = L_diff(full) + sub_weight * mean over subs of (L_diff(sub) + distill_weight * |v_sub - stopgrad v_full|^2), all
    members on the same x_t, sigma and text; on each shared tensor a sub-network's gradient is scaled by
    `balanced_scales` against the full network's. The paper has one sub-network in a step. The full network may have
    other strips and another radius, as `full_spec` says, which has no weights but the full network's. The batch goes
    through in `accumulation` parts one after the other, of whose activations only one part's are held at a time; a part
    is cut into `shards` that run side by side. Losses are means, so the sum of the parts' gradients is the batch's.
    Gradients are balanced over that sum, because the scale of a sum is not the sum of scales.

    The batch is moved to the supernet's device, where a processor alone has shards. Noise is added, and losses, norms,
    scales and sums of gradients are taken in float32 at least, whatever the supernet computes in. With `autocast` all
    members compute in that type where torch's autocast does so; parameters and gradients keep theirs. Where the
    supernet's gradient checkpointing is enabled, it is for all members.

    Each process of a `world` has its own samples, as many as every other; losses and gradients are those of all. The
    full network's gradients and each sub-network's are summed over processes before they are balanced. Members must be
    the same in all processes.
    """
    world = world or World()
    device = device_of(supernet)
    batch = batch.on(device)
    owners = dict(supernet.named_parameters())
    full_parameters = dict(supernet.full.named_parameters())
    slices = [supernet.slices(spec) for spec in specs]
    # Leaves of a sub-network's own shape: its gradients come compact, not as full tensors padded with zeros.
    leaves = [
        {name: part.copy(owners[part.owner].detach()).requires_grad_() for name, part in own.items()} for own in slices
    ]
    weight = sub_weight / max(1, len(specs))

    def run(rows: slice) -> list[_Member]:
        latents, noise, sigma = batch.latents[rows], batch.noise[rows], batch.sigma[rows]
        fraction = len(latents) / (len(batch.latents) * world.ranks)
        target = velocity(latents, noise)
        x_t = add_noise(latents, noise, sigma)
        inputs = model_inputs(supernet, x_t, 1000 * sigma, [text[rows] for text in batch.text])
        options = {} if batch.text_mask is None else {"encoder_attention_mask": batch.text_mask[rows]}

        def full_member(network: nn.Module) -> tuple[_Member, Tensor]:
            with _autocast(device, autocast):
                full_velocity = network(*inputs, **options)
                full_loss = fraction * mean_squared_error(full_velocity, target)
            gradients = torch.autograd.grad(full_loss, list(full_parameters.values()))
            return _Member((full_loss.detach(),), gradients), full_velocity.detach()

        def sub_member(network: nn.Module, own: Mapping[str, Tensor], full_velocity: Tensor) -> _Member:
            with _autocast(device, autocast):
                sub_velocity = network(*inputs, **options)
                sub_loss = fraction * mean_squared_error(sub_velocity, target)
                distill_loss = fraction * mean_squared_error(sub_velocity, full_velocity)
                total = weight * (sub_loss + distill_weight * distill_loss)
            return _Member((sub_loss.detach(), distill_loss.detach()), torch.autograd.grad(total, list(own.values())))

        def within(spec: SubDiTSpec, own: Mapping[str, Tensor], work: Callable[[nn.Module], _Result]) -> _Result:
            # Asked for here: a functional call swaps parameters in, so that no two threads may have one template.
            template = supernet.template(spec, checkpointed=supernet.is_gradient_checkpointing)
            named = {f"network.{name}": leaf for name, leaf in own.items()}
            return cast(_Result, functional_call(_Within(template), named, (work,)))

        if full_spec is None:
            full, full_velocity = full_member(supernet.full)
        else:
            full, full_velocity = within(full_spec, full_parameters, full_member)
        subs = [
            within(spec, own, partial(sub_member, own=own, full_velocity=full_velocity))
            for spec, own in zip(specs, leaves, strict=True)
        ]
        return [full, *subs]

    gradients: list[list[Tensor]] = [[] for _ in range(1 + len(specs))]
    losses: list[Tensor] = []

    def add_part(rows: slice) -> None:
        """In a function of its own, so that a part's gradients are gone before the next part begins."""
        shard_rows = shard_slices(rows.stop - rows.start, shards, device)
        for members in run_shards(run, [slice(rows.start + own.start, rows.start + own.stop) for own in shard_rows]):
            for total, member in zip(gradients, members, strict=True):
                _add(total, member.gradients)
            losses.append(torch.stack([loss for member in members for loss in member.losses]))

    for rows in shard_slices(len(batch.latents), accumulation):
        add_part(rows)
    # Read at once, and at the end: a device works on until then. Summed here, since not every device has float64.
    own_losses = [sum(values) for values in zip(*torch.stack(losses).tolist(), strict=True)]
    full_loss, *sub_losses = world.sums(own_losses)
    full_gradients, *sub_gradients = (world.sum_tensors(own) for own in gradients)

    supernet.zero_grad(set_to_none=True)
    for parameter, gradient in zip(full_parameters.values(), full_gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    full_norm = _norm(full_gradients)
    add_balanced(owners, slices, sub_gradients, balance)
    return StepLosses(
        full=full_loss,
        sub=_mean(sub_losses[::2]),
        distill=_mean(sub_losses[1::2]),
        full_gradient_norm=full_norm,
        sub_gradient_norm=_mean([_norm(own) for own in sub_gradients]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


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
