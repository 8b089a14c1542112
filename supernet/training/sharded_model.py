"""A supernet whose weights FSDP2 cuts among processes, block by block, and its sub-networks.

A block is whole only while it runs, so a sub-network's slices are taken there: after the block is gathered, within its
own forward pass. FSDP2's hooks run around that pass, and gradients of slices are reduced as all others are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.func import functional_call

from subdit.space import STAGES
from subdit.space import SubDiTSpec
from supernet.model.dit import SubDiT
from supernet.model.elastic import ElasticDiT
from supernet.model.elastic import ParameterSlice
from supernet.model.layers import Block


class ShardedSupernet(nn.Module):
    """Runs a supernet of which each process of a mesh holds some rows of every tensor.

    Gradients reach its parameters, cut as those are, by `Tensor.backward` alone: FSDP2 does not see `autograd.grad`.

    Attributes:
        supernet: with parameters that are `DTensor`, by the names that they had.
        group: the processes.
    """

    def __init__(self, supernet: ElasticDiT, mesh: DeviceMesh) -> None:
        """Cut the supernet, in place."""
        super().__init__()
        self.supernet = supernet
        self.group = mesh.get_group()
        for stage in STAGES:
            for block in getattr(supernet.full, stage):
                fully_shard(block, mesh=mesh)
                register_fsdp_forward_method(block, Block.within.__name__)
        # What is outside of blocks, and the norms and modulation of smaller widths, stay whole during a pass.
        fully_shard(self, mesh=mesh)

    def forward(self, spec: SubDiTSpec | None, *inputs: Tensor | None, **options: Any) -> Tensor:
        """The velocity of a sub-network, None for the full network; other arguments as `SubDiT.forward`."""
        supernet = self.supernet
        if spec is None:
            return supernet.full(*inputs, **options)
        slices = supernet.slices(spec)
        template = supernet.template(spec, checkpointed=supernet.is_gradient_checkpointing)
        owners = dict(supernet.named_parameters())
        outside = {
            name: part.read(owners[part.owner]) for name, part in slices.items() if name.partition(".")[0] not in STAGES
        }
        with _HostedBlocks(template, supernet, slices):
            return functional_call(template, outside, inputs, options)


class _HostedBlocks:
    """Lets a template's blocks run in those of the supernet that they are slices of, while the context lasts."""

    def __init__(self, template: SubDiT, supernet: ElasticDiT, slices: Mapping[str, ParameterSlice]) -> None:
        self._template = template
        self._own = {stage: getattr(template, stage) for stage in STAGES}
        self._hosted = {
            stage: nn.ModuleList(
                _HostedBlock(block, _parts(slices, f"{stage}.{index}."), supernet) for index, block in enumerate(blocks)
            )
            for stage, blocks in self._own.items()
        }

    def __enter__(self) -> None:
        for stage, blocks in self._hosted.items():
            setattr(self._template, stage, blocks)

    def __exit__(self, *_: object) -> None:
        for stage, blocks in self._own.items():
            setattr(self._template, stage, blocks)


class _HostedBlock(nn.Module):
    """A block without parameters of its own, which takes them out of a block of the supernet when that is whole."""

    def __init__(self, block: Block, parts: Mapping[str, ParameterSlice], supernet: ElasticDiT) -> None:
        super().__init__()
        # Whatever the sub-network's depth, these are never kept apart, so they say which block it is.
        owner = parts["attn.to_q.weight"].owner.split(".")[:3]
        # In a tuple, so that none of them becomes a child of this module.
        self._of = (block, parts, supernet, supernet.get_submodule(".".join(owner)), ".".join(owner) + ".")

    def forward(self, *inputs: Tensor | None) -> Tensor:
        block, parts, supernet, host, prefix = self._of

        def run(host: Block, *inputs: Tensor | None) -> Tensor:
            # Parameters are looked up now: outside of this call FSDP2 has others in their place.
            inside = dict(host.named_parameters())
            apart = dict(supernet.apart.items())
            own = {
                name: part.read(
                    inside[part.owner.removeprefix(prefix)]
                    if part.owner.startswith(prefix)
                    else apart[part.owner.removeprefix("apart.")]
                )
                for name, part in parts.items()
            }
            return functional_call(block, own, inputs)

        return host.within(run, *inputs)


def _parts(slices: Mapping[str, ParameterSlice], prefix: str) -> dict[str, ParameterSlice]:
    return {name.removeprefix(prefix): part for name, part in slices.items() if name.startswith(prefix)}
