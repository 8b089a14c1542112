"""Components as modules: for each component of a space the same module that a sub-DiT runs, with example inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from subdit.space import STAGES
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import smallest_host
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_


@dataclass(frozen=True)
class ComponentModule:
    """A module in eval mode with redrawn weights, and inputs of batch 1 by name, in the order of its `forward`."""

    module: Any  # `downsample` is None without three stages, which every space has
    inputs: dict[str, Tensor]


def component_module(space: SearchSpace, component: Component, *, seed: int = 0) -> ComponentModule:
    """The module of a component; raises `SpecError` if the space has no such component."""
    host, part = smallest_host(space, component)
    model = SubDiT.from_spec(space, host)
    tokens, width = component.grid**2, component.width
    generator = torch.Generator().manual_seed(seed)
    whole = example_inputs(space, seed=seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    block: Any = getattr(model, part)[-1] if part in STAGES else None
    hidden_states = {"hidden_states": drawn(tokens, width)} if tokens and width else {}
    module: Any  # `downsample` is None without three stages, which every space has
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
