"""Measured costs of a part of a sub-DiT, by the names that `components_by_stage` has."""

from __future__ import annotations

import re

from supernet.model.costs import Costs
from supernet.model.costs import PartCosts


def part_costs(costs: Costs, stage: str, kind: str | None = None) -> PartCosts:
    """Costs of a part of a sub-DiT by the names of `components_by_stage`, or of the components of a kind in it.

    FLOPs are added up; of the live sets it is the largest one.
    """
    below = _MODULE_OF_STAGE.get(stage, stage)
    pattern = rf"{below}(\.\d+)?"
    if kind in _MODULE_OF_KIND:
        pattern = rf"{below}\.\d+\.{_MODULE_OF_KIND[kind]}"
    found = [part for name, part in costs.parts.items() if re.fullmatch(pattern, name)]
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
