"""Two-dimensional axial rotary position embedding, aligned between the stages' grids."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def rope_angles(grid: int, head_dim: int, *, theta: float, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of every token's rotation, each of shape (grid * grid, 1, head_dim), float32.

    Half of the frequencies turn with the row, half with the column. A coarse token stands at the centre of the
    `stride` x `stride` fine tokens that it replaces, so that positions mean the same in every stage.
    """
    positions = np.arange(grid) * stride + (stride - 1) / 2
    frequencies = theta ** (-np.arange(head_dim // 4) / (head_dim // 4))
    turns = positions[:, None] * frequencies
    rows = np.broadcast_to(turns[:, None], (grid, grid, turns.shape[1]))
    columns = np.broadcast_to(turns[None], (grid, grid, turns.shape[1]))
    angles = np.concatenate([rows, columns], axis=-1).reshape(grid * grid, head_dim // 2)
    both = np.concatenate([angles, angles], axis=-1)[:, None]
    # The rotation takes the second half from the first: its sine carries that sign.
    sines = np.sin(both) * np.repeat([-1.0, 1.0], head_dim // 2)
    return torch.from_numpy(np.cos(both).astype(np.float32)), torch.from_numpy(sines.astype(np.float32))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads of shape (batch, tokens, heads, head_dim) by angles of shape (tokens, 1, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat([second, first], dim=-1), sin)
