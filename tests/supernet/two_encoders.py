"""A small sub-DiT of two text encoders, as a config that no space knows."""

from __future__ import annotations

from typing import Any

from supernet.dit import SubDiT
from supernet.dit import redraw_

CONFIG: dict[str, Any] = {
    "space": "nobody's",
    "latent_size": 16,
    "latent_channels": 3,
    "patch_size": 2,
    "width": 48,
    "depth": (1, 2, 1),
    "ffn_ratio": (2, 3, 2),
    "bna_blocks": (4, 8),
    "bna_radius": (1, 2),
    "kv_compression": 2,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 8,
    "text_inputs": (("clip", 12, 5), ("gemma", 20, 3)),
    "text_width": 24,
    "time_width": 32,
    "rope_theta": 100.0,
    "down_up_skip": False,
}


def redrawn(seed: int = 0, **changes: Any) -> SubDiT:
    """The model in eval mode, every parameter drawn."""
    model = SubDiT(**{**CONFIG, **changes})
    redraw_(model, seed)
    return model.eval()
