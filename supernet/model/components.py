"""Components as modules: for each piece of a search space the very module that a sub-DiT runs, with example inputs."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from subdit.core.errors import SpecError
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import all_components
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_


@dataclass(frozen=True)
class ComponentModule:
    """A module in eval mode with redrawn weights, and inputs of batch 1 by name, in the order of its `forward`."""

    module: Any  # a sub-DiT of one stage has no `downsample`; none of a space is one
    inputs: dict[str, Tensor]


def component_module(space: SearchSpace, component: Component, *, seed: int = 0) -> ComponentModule:
    """The module of a component; raises `SpecError` where the space has no such component."""
    if component not in all_components(space):
        raise SpecError(f"Space {space.name!r} has no component {component.name!r}; 'subdit spaces show' lists them.")
    model = _host(space, component)
    tokens, width = component.grid**2, component.width
    generator = torch.Generator().manual_seed(seed)
    whole = example_inputs(space, seed=seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    block: Any = model.down[0] if component.grid == space.grid else model.middle[-1]
    hidden_states = {"hidden_states": drawn(tokens, width)} if tokens and width else {}
    module: Any  # a sub-DiT of one stage has no `downsample`; none of a space is one
    match component.kind:
        case "patch_embed":
            module, inputs = model.patch_embed, {"hidden_states": whole["hidden_states"]}
        case "time_embed":
            module, inputs = model.time_embed, {"timestep": whole["timestep"]}
        case "text_projection":
            module = model.text_projection
            inputs = {name: value for name, value in whole.items() if name.startswith("encoder_hidden_states")}
        case "assa" | "self_attention":
            module, inputs = block.attn, {**hidden_states, "modulation": drawn(3, width)}
        case "cross_attention":
            module, inputs = block.cross_attn, {**hidden_states, "text": drawn(space.text_tokens, space.text_width)}
        case "ffn":
            module, inputs = block.ffn, {**hidden_states, "modulation": drawn(3, width)}
        case "downsample":
            module, inputs = model.downsample, hidden_states
        case "upsample":
            skip = {"skip": drawn(space.tokens, width)} if space.down_up_skip else {}
            module, inputs = model.upsample, {**hidden_states, **skip}
        case "skip_fusion":
            module, inputs = block.skip, {**hidden_states, "skip": drawn(tokens, width)}
        case _:
            module, inputs = model.final_layer, {**hidden_states, "modulation": drawn(2, width)}
    return ComponentModule(redraw_(module, seed).eval(), inputs)


def _host(space: SearchSpace, component: Component) -> SubDiT:
    """The shallowest sub-DiT that contains the component."""
    spec = space.decode(space.enumerate(0, 1))[0]
    if component.width:
        spec = replace(spec, width=component.width)
    if component.kind == "assa":
        spec = replace(
            spec,
            bna_blocks=(component.bna_blocks, component.bna_blocks),
            bna_radius=(component.bna_radius, component.bna_radius),
            kv_compression=component.kv_compression,
        )
    if component.kind == "ffn":
        down, middle, up = spec.ffn_ratio
        at_grid = (component.ffn_ratio, middle, up) if component.grid == space.grid else (down, component.ffn_ratio, up)
        # Down may lack a ratio that Up has; the module is the same, so the host need not be a point of the space.
        ratios = ((at_grid[0],), (at_grid[1],), (at_grid[2],))
        return SubDiT.from_spec(replace(space, ffn_ratios=ratios, named={}), replace(spec, ffn_ratio=at_grid))
    return SubDiT.from_spec(space, spec)
