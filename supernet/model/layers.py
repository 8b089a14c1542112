"""Layers of a `SubDiT` other than attention: the feed-forward branch, the layers between stages, the block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from supernet.model.attention import CrossAttention
from supernet.model.attention import Modulated
from supernet.model.attention import SelfAttention
from supernet.model.linear import Linear


class FeedForward(Modulated):
    """Two linears with a tanh GELU between them (PixArt-alpha)."""

    def __init__(self, *, width: int, ratio: int) -> None:
        super().__init__(width)
        self.fc1 = Linear(width, ratio * width)
        self.fc2 = Linear(ratio * width, width)

    def forward(self, hidden_states: Tensor, modulation: Tensor) -> Tensor:
        """Tokens (batch, tokens, width) and modulation (batch, 3, width) to tokens."""
        h, gate = self.modulated(hidden_states, modulation)
        return hidden_states + gate * self.fc2(F.gelu(self.fc1(h), approximate="tanh"))


class Downsample(nn.Module):
    """Tokens of a grid to tokens of half the grid: space-to-depth and a bias-free linear, as one convolution."""

    def __init__(self, *, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.proj = nn.Conv2d(width, width, 2, stride=2, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        image = hidden_states.transpose(1, 2).unflatten(-1, (self.grid, self.grid))
        return self.proj(image).flatten(2).transpose(1, 2)


class Upsample(nn.Module):
    """Tokens of a grid to tokens of twice the grid: a bias-free linear and depth-to-space, as one convolution.

    With `down_up_skip` the tokens that left Down are mixed in by a learned factor (Hourglass DiT).
    """

    def __init__(self, *, width: int, grid: int, down_up_skip: bool) -> None:
        super().__init__()
        self.grid = grid
        self.proj = nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)
        self.skip_factor = nn.Parameter(torch.full((1,), 0.5)) if down_up_skip else None

    def forward(self, hidden_states: Tensor, skip: Tensor | None = None) -> Tensor:
        image = hidden_states.transpose(1, 2).unflatten(-1, (self.grid, self.grid))
        tokens = self.proj(image).flatten(2).transpose(1, 2)
        if self.skip_factor is None or skip is None:
            return tokens
        return skip + self.skip_factor * (tokens - skip)


class SkipFusion(nn.Module):
    """U-ViT's long skip: concatenation, then a linear, initialised to let the main path through unchanged."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.proj = Linear(2 * width, width)

    def forward(self, hidden_states: Tensor, skip: Tensor) -> Tensor:
        return self.proj(torch.cat([hidden_states, skip], dim=-1))


class FinalLayer(nn.Module):
    """Tokens (batch, tokens, width) and modulation (batch, 2, width) to the velocity (batch, channels, size, size)."""

    def __init__(self, *, width: int, grid: int, channels: int, patch_size: int) -> None:
        super().__init__()
        self.grid = grid
        self.patch_size = patch_size
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.scale_shift_table = nn.Parameter(torch.zeros(2, width))
        self.proj = Linear(width, patch_size**2 * channels)

    def forward(self, hidden_states: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table + modulation).chunk(2, dim=1)
        patches = self.proj(self.norm(hidden_states) * (1 + scale) + shift)
        image = patches.transpose(1, 2).unflatten(-1, (self.grid, self.grid))
        return F.pixel_shuffle(image, self.patch_size) if self.patch_size > 1 else image


class Block(nn.Module):
    """Self-attention (full or ASSA), cross-attention to text, feed-forward; optionally a long skip before them."""

    def __init__(
        self, *, attn: SelfAttention, cross_attn: CrossAttention, ffn: FeedForward, skip: SkipFusion | None
    ) -> None:
        super().__init__()
        self.skip = skip
        self.attn = attn
        self.cross_attn = cross_attn
        self.ffn = ffn

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        text: Tensor,
        text_mask: Tensor | None = None,
        skip: Tensor | None = None,
    ) -> Tensor:
        if self.skip is not None:
            x = self.skip(x, skip)
        x = self.attn(x, modulation[:, 0:3])
        x = self.cross_attn(x, text, text_mask)
        return self.ffn(x, modulation[:, 3:6])

    def within(self, work: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """`work(self, *inputs)`: another forward pass, around which FSDP2 gathers the block as around its own."""
        return work(self, *inputs)
