"""Two text encoders: a small sub-DiT as a config that no space knows, and a space of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from subdit.space import SearchSpace
from subdit.space import TextInput
from subdit.space import get_space
from subdit.space import register_space
from supernet.model.dit import SubDiT
from supernet.model.dit import redraw_

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


def two_encoder_space() -> SearchSpace:
    """`digits` with a second text encoder, as a user's own space."""
    digits, name = get_space("digits"), "digits-of-two-encoders"
    texts = (*digits.text_inputs, TextInput("more", width=16, tokens=6))
    named = {point: replace(spec, space=name) for point, spec in digits.named.items()}
    return register_space(replace(digits, name=name, text_inputs=texts, named=named))
