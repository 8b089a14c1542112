"""The paper's ablation from a PixArt-like baseline to its model, as configs (SnapGen++, arXiv 2601.08303, Fig. 3).

The paper gives the steps, the layer counts that they imply, MQA in A to C and GQA with 8 heads in D, FFN ratios,
B = 16, r = 1, CLIP-L and Flux's latent. This module chooses the rest, once for all four steps. Width, text and time
widths and the 32 heads of 32 are those of this project's `small` (`mobile-1k` at half width), so that D is `small` with
one text encoder. MQA is taken to mean self-attention alone: cross-attention is PixArt's full one (a key-value head per
query head) until D, where both are grouped. Nothing is tuned for a single step. B to D come within 2 % of the published
sizes, A stays 6 % below. At one width no choice reproduces all four, because three stages add two resampling layers
while the published size falls by 18 million.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from supernet.model.dit import SubDiT
from supernet.model.dit import drawn_inputs


@dataclass(frozen=True)
class AblationStep:
    """One step of the ablation; latency on an iPhone 16 Pro Max, validation loss on ImageNet at 256 pixels.

    Attributes:
        name: "A" to "D".
        change: difference from the step before.
        config: keyword arguments of `SubDiT`.
        published_params_m: millions of parameters in the paper.
        published_latency_ms: one forward pass, in the paper.
        published_validation_loss: validation loss in the paper.
    """

    name: str
    change: str
    config: Mapping[str, Any]
    published_params_m: float
    published_latency_ms: float
    published_validation_loss: float

    def build(self) -> SubDiT:
        """The model, freshly initialised, on torch's default device: meta is enough for sizes and FLOPs."""
        return SubDiT(**self.config)

    def example_inputs(self, *, batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
        """Inputs by name, in the order of `SubDiT.forward`."""
        return drawn_inputs(self.config, batch=batch, seed=seed)


_PIXART: dict[str, Any] = {
    "space": "ablation",
    "latent_size": 128,
    "latent_channels": 16,
    "patch_size": 2,
    "width": 1088,
    "depth": (0, 28, 0),
    "ffn_ratio": (3, 3, 3),
    "bna_blocks": (16, 16),
    "bna_radius": (1, 1),
    "kv_compression": 2,
    "heads": 32,
    "kv_heads": 1,
    "cross_kv_heads": 32,
    "head_dim": 32,
    "text_inputs": (("clip_l", 768, 77),),
    "text_width": 1024,
    "time_width": 1024,
    "rope_theta": 10_000.0,
    "down_up_skip": False,
    "attention": ("full", "full", "full"),
    "middle_skips": False,
    "three_stages": False,
}
_THREE_STAGES = {**_PIXART, "three_stages": True, "depth": (6, 14, 8)}
_ASSA = {**_THREE_STAGES, "attention": ("assa", "full", "assa")}
_ENHANCED = {
    **_ASSA,
    "depth": (8, 10, 10),
    "ffn_ratio": (4, 3, 4),
    "kv_heads": 8,
    "cross_kv_heads": 8,
    "middle_skips": True,
}

ABLATION = (
    AblationStep("A", "PixArt-alpha with MQA and FFN ratio 3", _PIXART, 424, 2000, 0.5060),
    AblationStep("B", "three stages of 6, 14 and 8 layers", _THREE_STAGES, 406, 550, 0.5130),
    AblationStep("C", "ASSA in Down and Up", _ASSA, 408, 293, 0.5130),
    AblationStep("D", "skips in Middle, GQA-8, FFN 4 in Down and Up, 8/10/10 layers", _ENHANCED, 429, 360, 0.5090),
)
"""The steps in order; the paper's reference, SnapGen's U-Net, has 372 M, 274 ms and 0.5131."""
