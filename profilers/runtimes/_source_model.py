"""What runtimes export: a torch module with its inputs, and the description that it can be built from again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from profilers.runtimes._reference_kernel import REFERENCE_DESCRIPTION
from profilers.runtimes._reference_kernel import reference_inputs
from profilers.runtimes._reference_kernel import reference_weights
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import built_in_space
from subdit.space import recorded_space
from subdit.space import space_record

if TYPE_CHECKING:
    from torch import Tensor
    from torch import nn

    from supernet.model.dit import SubDiT

SEED = 0
"""Of the redrawn weights and of the inputs, so that a kit is the same every time it is made."""


@dataclass(frozen=True)
class SourceModel:
    """A model before its export.

    Attributes:
        module: in eval mode, with one output.
        inputs: by name, in the order of `forward`.
        description: JSON that `described_model` builds the same architecture from, with redrawn weights.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    description: Mapping[str, Any]


def source_model(space: SearchSpace, part: Component | SubDiTSpec, *, seed: int = SEED) -> SourceModel:
    """A component or a whole sub-DiT with redrawn weights."""
    from supernet.model.components import component_module
    from supernet.model.dit import SubDiT
    from supernet.model.dit import redraw_

    if isinstance(part, Component):
        made = component_module(space, part, seed=seed)
        description = {"subdit_model": 1, **_space_keys(space), "component": part.name, "seed": seed}
        return SourceModel(made.module, made.inputs, description)
    sub_dit = SubDiT.from_spec(space, part)
    redraw_(sub_dit, seed)
    return sub_dit_model(sub_dit, seed=seed)


def sub_dit_model(sub_dit: SubDiT, *, seed: int = SEED) -> SourceModel:
    """A `SubDiT` with the weights it has."""
    spec, config = sub_dit.spec, sub_dit.config
    known = config.get("space_definition") is not None
    keys = _space_keys(recorded_space(config, "The sub-DiT's config")) if known else {"space": spec.space}
    description = {"subdit_model": 1, **keys, "spec": spec.to_dict(), "seed": seed}
    return SourceModel(sub_dit.eval(), sub_dit.example_inputs(seed=seed), description)


def _space_keys(space: SearchSpace) -> dict[str, Any]:
    """Of a built-in space the name alone, so that kits of it stay what they are, byte for byte."""
    return {"space": space.name} if built_in_space(space.name) == space else space_record(space)


def described_model(description: Mapping[str, Any]) -> SourceModel:
    """The model of a description; raises `KeyError`, `ValueError` or a `SubditError` where it describes none."""
    if description == REFERENCE_DESCRIPTION:
        return reference_model()
    part: Component | SubDiTSpec = (
        Component.from_name(description["component"])
        if "component" in description
        else SubDiTSpec.from_dict(description["spec"])
    )
    return source_model(recorded_space(description, "The model's description"), part, seed=int(description["seed"]))


def reference_model() -> SourceModel:
    """The reference kernel in torch."""
    import torch
    from torch import nn
    from torch.nn import functional

    layers = [{name: torch.from_numpy(array) for name, array in layer.items()} for layer in reference_weights()]

    class ReferenceKernel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for layer in layers:
                h = functional.layer_norm(x, layer["scale"].shape, layer["scale"]) @ layer["up"]
                h = functional.gelu(h, approximate="tanh") @ layer["down"]
                x = functional.softmax(h, dim=-1) + x
            return x

    inputs = {name: torch.from_numpy(array) for name, array in reference_inputs().items()}
    return SourceModel(ReferenceKernel().eval(), inputs, REFERENCE_DESCRIPTION)
