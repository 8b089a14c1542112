"""Measured costs of the parts of a sub-DiT, by the names that `components_by_stage` has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch import nn

from supernet.model.costs import LiveSet
from supernet.model.costs import watch_forward


class PartLiveSet(LiveSet):
    """Notes the peak while each submodule runs, too."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.peak_of: dict[str, int] = {}
        self.running: list[str] = []
        self.handles = []
        for name, part in module.named_modules():
            if name:
                self.handles.append(part.register_forward_pre_hook(lambda *_, name=name: self.enter(name)))
                self.handles.append(part.register_forward_hook(lambda *_, name=name: self.running.remove(name)))

    def enter(self, name: str) -> None:
        self.running.append(name)
        self.note()

    def hold(self, tensor: Tensor) -> None:
        super().hold(tensor)
        self.note()

    def note(self) -> None:
        for name in self.running:
            self.peak_of[name] = max(self.peak_of.get(name, 0), self.now)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for handle in self.handles:
            handle.remove()


@dataclass(frozen=True)
class PartCosts:
    flops: int
    activation_bytes: int
    fused_activation_bytes: int


def measure_parts(module: nn.Module, inputs: Mapping[str, Tensor] | Iterable[Tensor]) -> dict[str, PartCosts]:
    """For each submodule by its path the FLOPs of all its calls, and the model's largest live sets while it runs."""
    flops, plain, fused = watch_forward(module, inputs, PartLiveSet(module), PartLiveSet(module))
    root = type(module).__name__
    counted = {name: sum(by_operator.values()) for name, by_operator in flops.get_flop_counts().items()}
    return {
        name: PartCosts(counted.get(f"{root}.{name}", 0), plain.peak_of[name], fused.peak_of[name])
        for name in plain.peak_of
    }


def part_costs(parts: Mapping[str, PartCosts], stage: str, kind: str | None = None) -> PartCosts:
    """Costs of a part of a sub-DiT by the names of `components_by_stage`, or of the components of a kind in it.

    FLOPs are added up; of the live sets it is the largest one.
    """
    below = _MODULE_OF_STAGE.get(stage, stage)
    pattern = rf"{below}(\.\d+)?"
    if kind in _MODULE_OF_KIND:
        pattern = rf"{below}\.\d+\.{_MODULE_OF_KIND[kind]}"
    found = [part for name, part in parts.items() if re.fullmatch(pattern, name)]
    return PartCosts(
        sum(part.flops for part in found),
        max((part.activation_bytes for part in found), default=0),
        max((part.fused_activation_bytes for part in found), default=0),
    )


_MODULE_OF_STAGE = {
    "text": "text_projection",
    "time": "time_embed",
    "patch": "patch_embed",
    "final": "final_layer",
}
_MODULE_OF_KIND = {
    "assa": "attn",
    "self_attention": "attn",
    "cross_attention": "cross_attn",
    "ffn": "ffn",
    "skip_fusion": "skip",
}
