"""Adaptive sparse self-attention (SnapGen++, arXiv 2601.08303, section 3.2 and Fig. 2).

Two sparse branches share q, k and v. The global branch attends from every token to keys and values that a strided
convolution has compressed; the local branch, blockwise neighbourhood attention (BNA), cuts the raster sequence into B
strips and attends from each to the strips within r of it. A gate of one number per head and token, computed from the
input, mixes them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch import nn

from subdit.core.errors import SpecError
from supernet.model.attention import SelfAttention
from supernet.model.attention import group_queries
from supernet.model.attention import grouped_attention
from supernet.model.attention import is_exporting
from supernet.model.attention import ungroup_queries
from supernet.model.attention_kernel import MOST_KEYS
from supernet.model.attention_kernel import attention
from supernet.model.linear import Linear
from supernet.model.linear import trains


def check_grid(grid: int, *, blocks: int, kv_compression: int) -> None:
    """Raise `SpecError` if a grid x grid map cannot be cut into `blocks` strips or compressed by that stride."""
    if (grid * grid) % blocks:
        raise SpecError(
            f"A grid of {grid}x{grid} tokens does not cut into {blocks} equal strips; choose a divisor of {grid**2}."
        )
    if grid % kv_compression:
        raise SpecError(
            f"A grid of {grid}x{grid} tokens cannot be compressed by {kv_compression}; choose a divisor of {grid}."
        )


def blockwise_neighborhood_attention(q: Tensor, k: Tensor, v: Tensor, *, blocks: int, radius: int) -> Tensor:
    """BNA: query strip b attends to key and value strips max(0, b - r) to min(B - 1, b + r).

    A static loop over strips, as the paper deploys it: plain slices, no mask, no N x N matrix. Where the tokens are so
    few that a call costs more than what it computes, there is one call with a mask instead.

    Args:
        q: (batch, kv_heads, tokens * group, head_dim), see `group_queries`.
        k: (batch, kv_heads, tokens, head_dim).
        v: as `k`.
        blocks: number of strips B; divides the tokens.
        radius: r, in strips; r >= B - 1 is full attention.

    Returns:
        The shape of `q`.

    Raises:
        SpecError: the tokens do not cut into B equal strips.
    """
    tokens = k.shape[2]
    if tokens % blocks:
        raise SpecError(f"A sequence of {tokens} tokens does not cut into {blocks} equal strips; choose a divisor.")
    if not is_exporting() and tokens <= MOST_KEYS and trains(q, k, v):
        return attention(q, k, v, _seen(tokens, q.shape[2] // tokens, blocks, radius))
    return torch.cat([_nearby(q, k, v, block, blocks, radius) for block in range(blocks)], dim=2)


@lru_cache(maxsize=64)
def _seen(tokens: int, group: int, blocks: int, radius: int) -> Tensor | None:
    """What each of `group` queries per token sees, as `attention` takes it."""
    if radius >= blocks - 1:
        return None
    strip = torch.arange(tokens) // (tokens // blocks)
    near = (strip[:, None] - strip.repeat_interleave(group)).abs() <= radius
    return torch.zeros(near.shape).masked_fill(~near, -torch.inf)


def _nearby(q: Tensor, k: Tensor, v: Tensor, block: int, blocks: int, radius: int) -> Tensor:
    """Attention of one query strip to the strips around it."""
    strip = k.shape[2] // blocks
    near = slice(max(0, block - radius) * strip, min(blocks, block + radius + 1) * strip)
    return grouped_attention(strip_of(q, block, blocks), k[:, :, near], v[:, :, near])


def strip_of(x: Tensor, block: int, blocks: int) -> Tensor:
    """Rows of one strip of grouped queries, or of another tensor in their layout."""
    rows = x.shape[2] // blocks
    return x[:, :, block * rows : (block + 1) * rows]


class KVCompression(nn.Module):
    """Depthwise strided convolution over the token grid, initialised as an average (PixArt-Sigma)."""

    def __init__(self, *, channels: int, grid: int, stride: int) -> None:
        super().__init__()
        self.grid = grid
        self.conv = nn.Conv2d(channels, channels, stride, stride=stride, groups=channels)
        nn.init.constant_(self.conv.weight, 1 / stride**2)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, kv_heads, grid * grid, head_dim) to (batch, kv_heads, (grid / stride)^2, head_dim)."""
        image = x.transpose(2, 3).flatten(1, 2).unflatten(-1, (self.grid, self.grid))
        compressed = self.conv(image).flatten(2).unflatten(1, (x.shape[1], -1))
        # Torch's CPU attention takes a slow path unless the last dimension is contiguous.
        return compressed.transpose(2, 3).contiguous()


class AdaptiveSparseSelfAttention(SelfAttention):
    """ASSA: h = g * global + (1 - g) * local per head, in place of full self-attention in Down and Up."""

    def __init__(self, *, grid: int, blocks: int, radius: int, kv_compression: int, **attention: Any) -> None:
        """Other arguments as `SelfAttention`; raises `SpecError` if the grid does not fit B or the stride."""
        check_grid(grid, blocks=blocks, kv_compression=kv_compression)
        super().__init__(grid=grid, **attention)
        self.blocks = blocks
        self.radius = radius
        channels = self.to_k.out_features
        self.compress_k = KVCompression(channels=channels, grid=grid, stride=kv_compression)
        self.compress_v = KVCompression(channels=channels, grid=grid, stride=kv_compression)
        self.branch_gate = Linear(self.to_q.in_features, self.heads)
        self.reset_gate()

    def reset_gate(self) -> None:
        """Start the gate at one half, so that both branches take part; `SubDiT.initialize_weights` calls it, too."""
        nn.init.zeros_(self.branch_gate.weight)
        nn.init.zeros_(self.branch_gate.bias)

    def attend(self, h: Tensor) -> Tensor:
        return self.attend_sparsely(*self.project(h), self.branch_gate(h).sigmoid())

    def attend_sparsely(self, q: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
        """Both branches and the gate between them.

        Args:
            q: grouped queries (batch, kv_heads, tokens * group, head_dim).
            k: (batch, kv_heads, tokens, head_dim).
            v: as `k`.
            gate: share of the global branch, (batch, tokens, heads).

        Returns:
            Concatenated heads, (batch, tokens, heads * head_dim).
        """
        k_everywhere, v_everywhere = self.compress_k(k), self.compress_v(v)
        gate = group_queries(gate.unsqueeze(-1), self.kv_heads)
        if not is_exporting():
            everywhere = grouped_attention(q, k_everywhere, v_everywhere)
            nearby = blockwise_neighborhood_attention(q, k, v, blocks=self.blocks, radius=self.radius)
            return ungroup_queries(torch.lerp(nearby, everywhere, gate), k.shape[2])
        # An exported graph holds all attention scores of a product at once, unlike torch's kernels: strip by strip.
        mixed = []
        for block in range(self.blocks):
            nearby = _nearby(q, k, v, block, self.blocks, self.radius)
            far = grouped_attention(strip_of(q, block, self.blocks), k_everywhere, v_everywhere)
            both = nearby + strip_of(gate, block, self.blocks) * (far - nearby)
            mixed.append(ungroup_queries(both, k.shape[2] // self.blocks))
        return torch.cat(mixed, dim=1)


__all__ = [
    "AdaptiveSparseSelfAttention",
    "KVCompression",
    "blockwise_neighborhood_attention",
    "check_grid",
]
